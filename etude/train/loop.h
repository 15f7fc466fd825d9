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
  void move_weights_in();
  Technique* owner(Slot slot) const;

  // the loop (loop.cpp)
  void take_step();
  void take_pass(Step& step, const Pass& pass, std::map<std::string, Batch>& drawn);
  double default_execute(Step& step, const Batch& batch);
  void gradients(Step& step);
  void update(Step& step);
  void exchange();
  void fire(Event event, Step& step);
  void log(const std::string& name, double value);
  void count_traffic();

  // evaluation (evaluate.cpp)
  void evaluate();
  std::map<std::string, double> evaluate_nets(const EvalSpec& spec, Replica& replica, std::map<int64_t, Row>* rows);
  void write_line(const std::string& kind, std::map<std::string, double> values);
  void write_training_line();

  // state (snapshot.cpp)
  void save(bool milestone);
  bool restore();
  NamedTensors tensors();
  Artifact artifact() const;
  void open_metrics(int64_t keep_bytes);
  void check_milestones(const Counters& before);
  void show_progress(double step_seconds);

  const TrainStage& stage_;
  const Surroundings& around_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  std::map<std::string, std::shared_ptr<Net>> frozen_;
  std::vector<Contract> contracts_;  ///< of stage_.with
  Store shared_;
  Store books_;  ///< sums of logged values since the last line
  Counters counters_;
  Mailbox mailbox_;
  Traffic counted_;  ///< traffic that the counters hold already
  std::optional<Checkpoints> checkpoints_;
  std::unique_ptr<file::Writer> metrics_;
  std::map<std::string, std::vector<Batch>> evaluation_batches_;
  std::map<std::string, Norms> evaluation_norms_;
  Fit fit_;
  int64_t evaluated_at_ = -1, saved_at_ = -1;
  double mean_step_seconds_ = 0, shown_at_ = 0;
  int64_t steps_here_ = 0;
  bool resumed_ = false;
};

/// Seconds of a steady clock.
inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace etude
