#pragma once
// The loop's inside: what fit() makes, runs and throws away. Only the train ring includes this.

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "etude/base/file.h"
#include "etude/comm/mailbox.h"
#include "etude/train/trainer.h"

namespace etude {

class Trainer {
 public:
  Trainer(const TrainStage& stage, const Surroundings& around);
  Fit run();

 private:
  friend class Step;
  friend class Evaluation;

  // building (fit.cpp)
  void make_replica(int index);
  std::shared_ptr<Net> make_net(const NetSpec& spec);
  void move_weights_in();
  Technique* owner(Slot slot) const;

  // the loop (loop.cpp)
  void take_step();
  void take_pass(std::vector<Step>& steps, const Pass& pass);
  void begin_pass(Step& step, const Pass& pass);
  void draw(Step& step);
  void check_inputs(const Step& step) const;
  double compute(Step& step, const Batch& batch);
  Tensor sum_of_terms(Step& step, const Terms& terms, std::map<std::string, double>& values);
  void gradients(Step& step);
  void clip(Step& step, Learner& learner);
  void update(Step& step);
  void exchange();
  void fire(Event event, Step& step);
  void count_traffic();
  void check_that_it_ends() const;

  // evaluation (evaluate.cpp)
  void evaluate();
  struct EvaluationData {
    std::vector<Batch> kept;  ///< the first batches, as many as fit
    Norms norms;              ///< of all
  };
  using Rows = std::map<int64_t, Row>;  ///< by sample id
  const EvaluationData& evaluation_data(const EvalSpec& spec);
  double evaluate_replica(const EvalSpec& spec, Replica& replica, Rows* rows);
  void write_line(const std::string& kind, std::map<std::string, double> values);
  void write_training_line();

  // state (snapshot.cpp)
  enum class Saving { periodic, milestone, leaving };
  /// Errors: Code::io; but a periodic one that fails is a warning, and the next one is due at its own time.
  void save(Saving why);
  Snapshot snapshot();
  bool restore();
  void check_origin(const Snapshot& found) const;
  void take_over(Snapshot& found);
  void take_over_tensors(Snapshot& found);
  /// The store that keeps what a checkpoint calls `name`, and its name there; null if there is none.
  std::pair<Store*, std::string> owner_of(const std::string& name, const std::string& middle);
  NamedTensors tensors();
  Artifact artifact() const;
  void open_metrics(int64_t keep_bytes);
  void check_milestones(const Counters& before);

  // the live line (progress.cpp)
  void show_progress(double step_seconds);
  double latest(const std::string& metric);

  const TrainStage& stage_;
  const Surroundings& around_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  size_t trainable_ = 0;  ///< parameters of one replica that require gradients, of all its nets
  std::map<std::string, std::shared_ptr<Net>> frozen_;
  std::vector<Contract> contracts_;  ///< of stage_.with
  Store shared_;
  Counters counters_;
  Counters counting_;  ///< of the step that is being taken: counters_ are those before it, for every replica alike
  Mailbox mailbox_;
  Traffic counted_;  ///< traffic that the counters hold already
  std::optional<Checkpoints> checkpoints_;
  std::unique_ptr<file::Writer> metrics_;
  std::map<std::string, EvaluationData> evaluation_data_;
  Fit fit_;
  int64_t evaluated_at_ = -1, saved_at_ = -1;
  double recent_seconds_ = 0, shown_at_ = 0;      ///< a step's of late; when the line was shown last
  double steady_seconds_ = 0, steady_steps_ = 0;  ///< all steps but the first of a process
  double restored_step_seconds_ = 0;              ///< spent in earlier processes
  int64_t steps_here_ = 0;
  bool resumed_ = false;
};

/// Seconds of a steady clock.
inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace etude
