// The suite's own tests: what is broken on purpose must be found.

#include <gtest/gtest.h>

#include <cmath>

#include "etude/data/text.h"
#include "etude/train/next_token.h"
#include "tests/conformance/checks.h"

namespace etude::conformance {
namespace controls {

struct None {
  template <class V>
  void fields(V&) {}
};

/// Shrinks the weights in every second step, by a counter that no checkpoint holds.
class Forgetful : public Technique {
 public:
  explicit Forgetful(const None&) {}
  Contract contract() const override { return {.name = "forgetful", .acts = {Event::follow}}; }
  void on(Event, Step& step) override {
    if (++calls_ % 2 == 0)
      for (const Parameter& p : step.all_parameters()) p.value.mul_(0.999);
  }

 private:
  int64_t calls_ = 0;
};

/// Adds noise from LibTorch's default generator.
class Gambler : public Technique {
 public:
  explicit Gambler(const None&) {}
  Contract contract() const override { return {.name = "gambler", .acts = {Event::follow}}; }
  void on(Event, Step& step) override {
    for (const Parameter& p : step.all_parameters()) p.value.add_(torch::randn_like(p.value), 1e-4);
  }
};

/// Changes weights while the loss is computed.
class Meddler : public Technique {
 public:
  explicit Meddler(const None&) {}
  Contract contract() const override { return {.name = "meddler"}; }
  void terms(Step& step, const Batch&, Terms&) override {
    for (const Parameter& p : step.all_parameters()) p.value.variable_data().mul_(0.999);  // unseen by autograd
  }
};

/// Hides gradients that are not finite.
class Forgiving : public Technique {
 public:
  explicit Forgiving(const None&) {}
  Contract contract() const override { return {.name = "forgiving", .acts = {Event::clip}}; }
  void on(Event, Step& step) override {
    for (const Parameter& p : step.parameters()) p.value.mutable_grad().nan_to_num_(0);
  }
};

class Idle : public Technique {
 public:
  Contract contract() const override { return {.name = "idle"}; }
};

/// Divides by the items of the micro-batch instead of those of the batch.
class Shortsighted : public NextToken {
 public:
  using NextToken::NextToken;
  Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
    Terms terms = NextToken::loss(step, batch, ctx);
    for (Term& term : terms) term.norm = static_cast<double>(batch.size());
    return terms;
  }
};

/// Gives other terms each time.
class Moody : public NextToken {
 public:
  using NextToken::NextToken;
  Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
    Terms terms = NextToken::loss(step, batch, ctx);
    for (Term& term : terms) term.item = term.item * (1 + 0.1 * static_cast<double>(++calls_));
    return terms;
  }

 private:
  int64_t calls_ = 0;
};

/// Ten samples under the ids of seven, whatever the path.
class Repeating : public Dataset {
 public:
  explicit Repeating(std::shared_ptr<Dataset> inner) : inner_(std::move(inner)) {}
  DataCard card() const override { return inner_->card(); }
  int64_t size() const override { return 10; }
  Batch get(const std::vector<int64_t>& ids, const Rng& rng) const override {
    std::vector<int64_t> others;
    for (const int64_t id : ids) others.push_back(id % 7);
    return inner_->get(others, rng);
  }

 private:
  std::shared_ptr<Dataset> inner_;
};

Part part(const std::string& kind) { return Part{parse_toml("kind = '" + kind + "'", "controls")}; }

const Registry& broken() {
  static const Registry all = [] {
    Registry r = everything();
    r.technique<Forgetful, None>("forgetful", "keeps a counter to itself");
    r.technique<Gambler, None>("gambler", "draws from the default generator");
    r.technique<Meddler, None>("meddler", "moves weights in the loss");
    r.technique<Forgiving, None>("forgiving", "hides what is not finite");
    r.technique("careless", TechniqueMaker{"reads no options",
                                           {},
                                           [](const Part&) { return std::make_shared<Idle>(); },
                                           [](const Part& part) { return part; }});
    r.objective<Shortsighted, NextTokenOptions>("shortsighted", "normalises by the micro-batch");
    r.objective<Moody, NextTokenOptions>("moody", "counts its calls");
    r.data("repeating",
           Registry::maker<DataPair, TextOptions>("data repeating", "the same samples again", [](const Part&) {
             Part text = part("text");
             text.config.set("length", Config(32));
             const DataPair pair = everything().data(text).make(text);
             return DataPair{std::make_shared<Repeating>(pair.train), pair.validation};
           }));
    return r;
  }();
  return all;
}

Subject with_technique(const std::string& kind) {
  Subject s = representatives().front();
  s.registry = &broken();
  if (!kind.empty()) s.recipe.options.with.push_back(part(kind));
  return s;
}

Subject with_objective(const std::string& kind) {
  Subject s = with_technique("");
  s.recipe.options.pass.front().objective = part(kind);
  return s;
}

void expect_found(const std::string& check, const Subject& s, const std::string& said) {
  const Problems problems = run_check(check, s);
  ASSERT_FALSE(problems.empty()) << check << " finds nothing";
  EXPECT_NE(problems.front().find(said), std::string::npos) << problems.front();
}

TEST(Controls, StateOutsideOfTheRunState) {
  expect_found("resume", with_technique("forgetful"), "stopped after step 1");
  expect_found("kill", with_technique("forgetful"), "differs");
  Subject two = with_technique("forgetful");
  two.recipe.options.replicas = 2;
  expect_found("over_ranks", two, "over 2 ranks");
}

TEST(Controls, TheDefaultGenerator) {
  expect_found("generator", with_technique("gambler"), "default generator");
  expect_found("same_bits", with_technique("gambler"), "differs");
}

TEST(Controls, ALossThatChangesSomething) {
  expect_found("pure_loss", with_technique("meddler"), "meddler changes weights");
  expect_found("pure_loss", with_objective("moody"), "gives other terms");
}

TEST(Controls, ALossOfTheMicroBatch) { expect_found("microbatch", with_objective("shortsighted"), "in two"); }

TEST(Controls, HiddenNaN) { expect_found("nonfinite", with_technique("forgiving"), "goes on with a NaN gradient"); }

TEST(Controls, NoProgress) {
  Subject s = with_technique("");
  s.recipe.options.learner.front().optimizer.config.set("lr", Config(0.0));
  expect_found("progress", s, "valid/loss is");
}

TEST(Controls, SamplesThatComeTwice) {
  Subject s = with_technique("");
  s.recipe.options.data = part("repeating");
  expect_found("epoch", s, "comes twice");
  expect_found("data", s, "is taken for data");
}

TEST(Controls, AMetricThatIsNotMeasured) {
  Subject s = with_technique("");
  s.metric = "valid/accuracy";
  expect_found("smoke", s, "valid/accuracy");
}

TEST(Controls, OptionsThatNobodyReads) {
  const auto no_sibling = [](const std::string&) { return std::string(); };
  Subject s = with_technique("");
  EXPECT_TRUE(run_check("unknown_keys", s).empty());
  Config wrong = s.recipe.resolved;
  wrong.set("with", Config(Config::List{part("careless").config}));
  s.recipe = read_recipe(to_toml(wrong), "controls.toml", no_sibling, "", {}, broken());
  expect_found("unknown_keys", s, "in the table 'with.0' is not refused");
}

TEST(Controls, Cards) {
  const Papers good = papers(methods().front());
  const auto broken_by = [&](const std::string& check, const std::string& from, const std::string& to) {
    Papers bad = good;
    for (std::string* text : {&bad.card, &bad.claims})
      if (const size_t at = text->find(from); at != std::string::npos) text->replace(at, from.size(), to);
    EXPECT_TRUE(run_method_check(check, good).empty()) << check;
    EXPECT_FALSE(run_method_check(check, bad).empty()) << check << " finds nothing";
  };
  broken_by("card", "## Your data", "## Data");
  broken_by("card", "# ", "");
  broken_by("paper", "arxiv.org/abs/", "arxiv.org/abs/9");
  broken_by("results", "<!-- results -->\n", "<!-- results -->\n| invented | 0.1 |\n<!-- /results -->\n");
  broken_by("card_options", "| >= 1 |", "| >= 2 |");
  broken_by("commands", "etude run ", "etude rum ");
  broken_by("claims", "headline = [", "headline = [\"nobody\", ");
  const auto experiment = [&](const std::string& arm, const std::string& inject, const std::string& set) {
    Papers with = good;
    with.claims += "\n[[experiment]]\nid = 'control'\nabout = 'a control'\narms = ['" + arm + "']\ninject = '" +
                   inject + "'\nset = ['" + set + "']\n";
    return run_method_check("claims", with).size();
  };
  EXPECT_EQ(experiment(good.arms[0], "rank:1:slow=2", "stop=\"2 steps\""), 0u);
  EXPECT_EQ(experiment("nobody", "rank:1:slow=2", "stop=\"2 steps\""), 1u);
  EXPECT_EQ(experiment(good.arms[0], "rank:2:slow=2", "stop=\"2 steps\""), 1u) << "of two ranks";
  EXPECT_EQ(experiment(good.arms[0], "rank:1:slow=2", "stopp=\"2 steps\""), 1u);
}

TEST(Controls, ExcusesMustBeNeeded) {
  const Excuses some("card = 'late'\n[arm]\nresume = 'why'", "x.toml");
  EXPECT_EQ(some.count(), 2u);
  EXPECT_TRUE(some.judge("arm", "resume", {"a problem"}).empty());
  EXPECT_EQ(some.judge("arm", "resume", {}).size(), 1u) << "an idle excuse is a failure";
  EXPECT_EQ(some.judge("other", "resume", {"a problem"}).size(), 1u) << "of another arm";
  EXPECT_EQ(some.judge("arm", "card", {"a problem"}).size(), 1u) << "of the method, not of the arm";
  EXPECT_TRUE(some.judge("", "card", {"a problem"}).empty());
  EXPECT_TRUE(some.unknown({"card", "arm/resume"}).empty());
  EXPECT_EQ(some.unknown({"card", "arm/resum"}).size(), 1u);
  EXPECT_THROW(Excuses("card = ''", "x.toml"), Error) << "a reason must be given";
}

TEST(Controls, WrongCommandLines) {
  const auto count = [](const std::string& command) { return check_commands("    etude " + command, "text").size(); };
  EXPECT_EQ(count("run noloco/diloco --profile smoke seed=1   # a comment"), 0u);
  EXPECT_EQ(count("run noloco stop=\"20 steps\" --quiet"), 0u);
  for (const std::string wrong : {"rum noloco", "run nolocco", "run noloco/dilocco", "run noloco --profile smal",
                                  "run noloco --profil small", "run noloco sed=1", "run noloco --profile"})
    EXPECT_EQ(count(wrong), 1u) << wrong;
}

TEST(Controls, TheReadmesCommandsExist) {
  const char* source = std::getenv("ETUDE_SOURCE");
  ASSERT_TRUE(source) << "run the tests by ctest";
  for (const std::string name : {"README.md", "docs/formats.md"})
    for (const std::string& problem : check_commands(file::read(std::string(source) + "/" + name), name))
      ADD_FAILURE() << problem;
}

}  // namespace controls
}  // namespace etude::conformance
