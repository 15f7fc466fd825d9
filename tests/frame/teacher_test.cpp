// Probe (b): an averaged teacher and a bank addressed by sample id. The student regresses on its teacher's
// answer and on what the bank remembers of each sample.

#include "tests/frame/probe.h"

namespace etude::probe {
namespace {

constexpr int64_t kRecords = 37;

class Distil : public Objective {
 public:
  Terms loss(Step& step, const Batch& batch, Ctx&) override {
    const Tensor answer = step.net<Mlp>("student").forward(batch.at("x"));
    const Tensor taught = step.net<Mlp>("teacher").forward(batch.at("x"));
    const Tensor remembered = bank(step).index_select(0, batch.id_B);
    return {{"truth", (answer - batch.at("y")).pow(2), {}, step.norm("items"), 1.0},
            {"teacher", (answer - taught).pow(2), {}, step.norm("items"), 0.5},
            {"bank", (answer - remembered).pow(2), {}, step.norm("items"), 0.1}};
  }
  /// loss() reads the bank, follow writes it: the same batch, the student as it was updated.
  void on(Event event, Step& step) override {
    if (event == Event::follow)
      bank(step).index_copy_(0, step.batch.id_B, step.net<Mlp>("student").forward(step.batch.at("x")));
  }
  static Tensor& bank(Step& step) {
    return step.store().tensor("bank", [] { return torch::zeros({kRecords, 1}, torch::kFloat64); });
  }
};

/// teacher <- 0.9 teacher + 0.1 student after each update.
class AveragedTeacher : public Technique {
 public:
  Contract contract() const override { return {.name = "averaged_teacher", .acts = {Event::begin, Event::follow}}; }
  void on(Event event, Step& step) override {
    const auto student = step.net("student").parameters(), teacher = step.net("teacher").parameters();
    for (size_t i = 0; i < student.size(); ++i) teacher[i].lerp_(student[i], event == Event::begin ? 1.0 : 0.1);
  }
};

TrainStage teaching() {
  TrainStage stage;
  stage.nets = {mlp("student", {3, 6, 1}), mlp("teacher", {3, 6, 1}, "follows")};
  stage.learners = {learner("student", {"student"})};
  stage.sources = {{"train", std::make_shared<Samples>(3, 5, kRecords)}};
  stage.passes = {{.objective = std::make_shared<Distil>(), .learners = {"student"}}};
  stage.with = {std::make_shared<AveragedTeacher>()};
  stage.stop = Count{9, Unit::steps};
  return stage;
}

TEST(Teacher, ResumeAtEveryStep) { same_wherever_stopped(teaching); }

TEST(Teacher, FollowsTheStudentByTheFormulaAndTheBankRemembersByIds) {
  const TestFolder folder;
  TrainStage stage = teaching();
  stage.stop = Count{1, Unit::steps};
  const Fit result = fit(stage, {.directory = folder.at("run")});
  const std::map<std::string, Tensor> now(result.artifact.tensors.begin(), result.artifact.tensors.end());
  torch::NoGradGuard no_grad;
  const auto student = initial_mlp("student", {3, 6, 1}, stage.seed);
  for (const auto& p : student->named_parameters()) {
    const Tensor after = now.at("student/" + p.key());
    EXPECT_TRUE(torch::allclose(now.at("teacher/" + p.key()), 0.9 * p.value() + 0.1 * after, 1e-14, 1e-14)) << p.key();
    p.value().copy_(after);
  }
  const Tensor bank = stored(folder.at("run"), "replica-0/store/bank");
  EXPECT_TRUE(torch::equal(bank.narrow(0, 0, 5), student->forward(samples({0, 1, 2, 3, 4}, 3).at("x"))));
  EXPECT_TRUE(torch::equal(bank.narrow(0, 5, kRecords - 5), torch::zeros({kRecords - 5, 1}, torch::kFloat64)));
}

}  // namespace
}  // namespace etude::probe
