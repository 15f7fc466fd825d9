#pragma once
// The loop's inside: what fit() makes, runs and throws away. Only the train ring includes this.

#include <array>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "etude/base/file.h"
#include "etude/comm/rank_peers.h"
#include "etude/train/gradient_sync.h"
#include "etude/train/tensorboard.h"
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
  void check_ranks() const;
  void make_replica(int index);
  std::shared_ptr<Net> make_net(const NetSpec& spec);
  void move_weights_in();
  Technique* owner(Slot slot) const;
  void complete_cost();

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
  bool clips_in_update(const Step& step) const;
  void update(Step& step);
  void begin_step(std::vector<Step>& steps);
  void exchange(std::vector<Step>& steps);
  bool sync_sees_gradients_first() const;
  Batch own_rows(const Batch& micro) const;
  void log_sum(Step& step, const std::string& name, double value) const;
  void fire(Event event, Step& step);
  void count_traffic();
  void check_that_it_ends() const;

  /// What one rank holds of one replica.
  struct Portion {
    nlohmann::json host = nlohmann::json::object();
    NamedTensors tensors = {};
  };

  // evaluation and metrics (evaluate.cpp)
  void evaluate();
  struct EvaluationData {
    std::vector<Batch> kept;  ///< the first batches, as many as fit
    Norms norms;              ///< of all
  };
  using Rows = std::map<int64_t, Row>;  ///< by sample id
  const EvaluationData& evaluation_data(const EvalSpec& spec);
  /// The loss's terms of those batches of an evaluation that are this rank's, by batch.
  using Sums = std::map<int64_t, std::vector<double>>;
  Sums evaluate_replica(const EvalSpec& spec, Replica& replica, Rows* rows, int index, int of);
  std::vector<std::string> variants() const;
  void write_line(const std::string& kind, const Counters& counters, std::map<std::string, double> values);
  void write_training_line();
  Store merged_books(const std::map<int, Portion>& by_rank) const;

  // what is written once for all replicas (together.cpp)

  enum class Saving { periodic, milestone, leaving };
  /// A line, an evaluation, a checkpoint or the result: due at some step, written by the leading rank when the parts of
  /// all ranks are there. Nobody waits for it to be written; all keep their parts until it is, as another may have to
  /// take the lead.
  struct Due {
    enum class Kind { training, evaluation, saving, closing } kind;
    Saving saving = Saving::periodic;
    std::string milestone = {};                        ///< its place
    std::map<std::string, double> values = {};         ///< of a line, where each rank knows them
    Snapshot snapshot = {};                            ///< what belongs to no replica
    Counters counters = {};                            ///< then, as this rank counts
    int64_t number = 0;                                ///< the same on all ranks
    std::map<int, std::map<int, Portion>> parts = {};  ///< by replica, by rank
    std::map<int, Counters> moved = {};                ///< what each rank has counted since it began, by rank
    std::set<int> heard = {};                          ///< ranks whose parts are here, or will not come
  };
  /// Counters of which each rank counts its own only; what is moved, not what is trained on.
  static constexpr std::array kMovedByEach = {Unit::bytes, Unit::messages, Unit::rounds, Unit::env_steps};
  static constexpr size_t kMostKept = 16;
  static constexpr int64_t kMostCheckpoints = 16;
  void announce(Due due, const std::function<Portion(Replica&)>& part_of);
  void send_parts(const Due& due);
  void take_parts(Due& due, int from, const std::vector<Tensor>& message);
  bool is_complete(Due& due, bool waits);
  /// Writes what is due, in order, as far as the parts are there.
  void settle();
  void settle_next();  ///< waits for it
  void keep_few();
  void finish_and_tell(Due& due);
  void tell_settled(int64_t number);
  void finish(Due& due);
  void finish_training(const Due& due);
  void finish_evaluation(const Due& due);
  std::map<std::string, double> measured(const Due& due, const std::string& name, const EvalSpec& spec) const;
  void finish_saving(Due& due);
  void finish_closing(const Due& due);
  void close();
  Counters counters_of_all(const Due& due) const;
  bool leads() const { return lead_ == rank(); }
  /// Takes the lead, or hands its parts to the new leader, when the old one has gone.
  void follow_the_lead();
  void take_what_is_settled();
  void take_the_lead();
  int first_in_line() const;
  std::set<std::pair<std::string, int64_t>> read_metrics_back();
  int rank() const { return links_ ? links_->rank() : 0; }
  bool is_head(const Replica& replica) const;
  void enter(const std::string& operation) const;
  static Tensor as_tensor(const nlohmann::json& value);
  nlohmann::json from_tensor(const Tensor& bytes, int from) const;
  Error unreadable(int from) const;
  bool fits(const Portion& part) const;

  // state (snapshot.cpp)
  /// Errors: Code::io; but a periodic one that fails is a warning, and the next one is due at its own time.
  void save(Saving why, const std::string& milestone = {});
  Snapshot common_state();
  Portion state_of(Replica& replica, bool whole) const;
  Portion nets_of(const Replica& replica) const;
  Portion published_of(const Replica& replica) const;
  Portion books_of(Replica& replica) const;
  bool restore();
  bool rejoin();
  void welcome_those_that_return();
  std::optional<Snapshot> load();
  void send_begin(int other, const std::optional<Snapshot>& found, const std::string& tag) const;
  bool receive_begin(std::optional<Snapshot>& found, const std::string& tag) const;
  std::string identity() const;
  void revive(Snapshot& found) const;
  void check_origin(const Snapshot& found) const;
  void take_over(Snapshot& found);
  void take_over_tensors(Snapshot& found);
  /// The store that keeps what a checkpoint calls `name`, and its name there; null if there is none.
  std::pair<Store*, std::string> owner_of(const std::string& name, const std::string& middle);
  bool is_of_others(const std::string& name) const;
  NamedTensors tensors();
  Artifact artifact_of(const std::map<int, std::map<int, Portion>>& parts) const;
  void open_metrics(int64_t keep_bytes);
  void check_milestones(const Counters& before);

  // the live line (progress.cpp)
  void show_progress(double step_seconds);
  double latest(const std::string& metric);

  const TrainStage& stage_;
  const Surroundings& around_;
  Links* links_;  ///< null: one process
  Layout layout_;
  std::optional<RankGroup> group_;                  ///< several ranks share the one replica that is here
  std::optional<Error> held_;                       ///< what stops this rank when the others have been told
  std::optional<GradientSync> gradient_sync_;       ///< of that one, where no technique owns Slot::sync
  std::vector<std::unique_ptr<Replica>> replicas_;  ///< those that are here
  size_t trainable_ = 0;  ///< parameters of one replica that require gradients, of all its nets
  std::map<std::string, std::shared_ptr<Net>> frozen_;
  std::vector<Contract> contracts_;  ///< of stage_.with
  bool sync_may_begin_ = false;      ///< within a backward: see sync_sees_gradients_first()
  at::Device device_ = at::kCPU;     ///< of nets, optimizers, stores and what is computed; batches are drawn on the CPU
  Format format_ = Format::float32;  ///< of the owner of Slot::precision
  Store shared_;
  Counters counters_;
  Counters counting_;  ///< of the step that is being taken: counters_ are those before it, for every replica alike
  RankPeers peers_;
  Traffic counted_;                         ///< traffic that the counters hold already
  Counters begun_with_;                     ///< at the start of this process
  int lead_ = 0;                            ///< the rank that writes
  std::set<std::pair<int, int>> welcomed_;  ///< ranks that have returned, and how often
  int64_t announced_ = 0;
  std::deque<Due> pending_;  ///< announced and, as far as this rank knows, not written yet
  std::optional<Checkpoints> checkpoints_;
  std::unique_ptr<file::Writer> metrics_;
  std::unique_ptr<EventFile> events_;
  std::map<std::string, EvaluationData> evaluation_data_;
  Fit fit_;
  int64_t evaluated_at_ = -1, saved_at_ = -1;
  double recent_seconds_ = 0, shown_at_ = 0;      ///< a step's of late; when the line was shown last
  double steady_seconds_ = 0, steady_steps_ = 0;  ///< all steps but the first of a process
  double restored_step_seconds_ = 0;              ///< spent in earlier processes
  int64_t steps_here_ = 0;
  bool resumed_ = false, closing_ = false;
};

/// What the names of a replica's tensors begin with in checkpoints and artifacts.
inline std::string replica_prefix(int index) { return "replica-" + std::to_string(index) + "/"; }

/// Seconds of a steady clock.
inline double now_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace etude
