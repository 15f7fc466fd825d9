#include "etude/train/stream_source.h"

#include "etude/base/error.h"
#include "etude/data/stream.h"
#include "etude/train/step.h"

namespace etude {
namespace {

std::unique_ptr<Plan> plan_of(const SourceOptions& options, const Dataset& data) {
  if (const std::vector<Share> shares = data.shares(); !shares.empty()) {
    if (options.shards > 1)
      throw Error(Code::config, "data that are mixed by weight can't be cut into shards", "source.shards",
                  "leave out shards, or give one text in place of data.mix");
    return mixed_plan(options.shuffle, shares);
  }
  return options.shards > 1 ? sharded_plan(options.shuffle, static_cast<int>(options.shards))
                            : epoch_plan(options.shuffle);
}

class StreamSource : public Source {
 public:
  StreamSource(const std::string& name, std::shared_ptr<Dataset> data, const SourceOptions& options, uint64_t seed)
      : name_(name),
        taken_key_("source/" + name + "/taken"),
        position_key_("source/" + name + "/position"),
        options_(options),
        card_(data->card()),
        records_(data->size()),
        seed_(seed),
        stream_(data, plan_of(options, *data), seed) {}

  Kind kind() const override { return Kind::pure; }

  Batch next(Step& step, int64_t rows) override {
    const int64_t batch = rows >= 0 ? rows : options_.batch;
    int64_t& taken = step.store().integer(taken_key_);
    const PlanPoint here = point(step, position(step) + taken * step.replicas(), batch);
    taken += batch;
    if (step.replica() == step.hosted().first) read_ahead(step, here);
    return stream_.take(here);
  }

  void advance(Step& step) override {
    const int64_t taken = step.store().integer(taken_key_);
    const auto [first, last] = step.hosted();
    for (int r = first; r < last; ++r) {
      int64_t& other = step.other(r).store().integer(taken_key_);
      if (other != taken)
        throw Error(Code::config,
                    "replica " + std::to_string(first) + " drew " + std::to_string(taken) +
                        " samples in a step and replica " + std::to_string(r) + " drew " + std::to_string(other),
                    "source " + name_, "a plan's owner must ask for the same number on every replica");
      other = 0;
    }
    position(step) += taken * step.replicas();
    draws_expected_ = draws_;
    draws_ = 0;
  }

  double waited_seconds() const override { return stream_.waited_seconds(); }
  double epochs(Step& step) const override {
    return static_cast<double>(position(step)) / static_cast<double>(records_);
  }
  std::optional<DataCard> card() const override { return card_; }

 private:
  /// Samples that all replicas took in earlier steps.
  int64_t& position(Step& step) const { return step.shared().integer(position_key_); }

  PlanPoint point(const Step& step, int64_t position, int64_t batch) const {
    return {seed_, step.number(), position, step.replica(), step.replicas(), records_, batch};
  }

  /// Expects the other replicas of this rank to draw as this one does, and the next draw to be like this one: in this
  /// step if the last step had more draws than there were so far, else in the next.
  void read_ahead(const Step& step, const PlanPoint& here) {
    ++draws_;
    PlanPoint next = here;
    next.position += here.batch * here.replicas;
    if (draws_ >= draws_expected_) next.step += 1;
    std::vector<PlanPoint> ahead;
    const auto [first, last] = step.hosted();
    for (PlanPoint p : {here, next})
      for (p.replica = p == here ? first + 1 : first; p.replica < last; ++p.replica) ahead.push_back(p);
    stream_.expect(ahead);
  }

  std::string name_, taken_key_, position_key_;
  SourceOptions options_;
  DataCard card_;
  int64_t records_;
  uint64_t seed_;
  Stream stream_;
  int64_t draws_ = 0,
          draws_expected_ =
              1;  ///< of the first replica here in this step and in the last; they only guide reading ahead
};

}  // namespace

std::shared_ptr<Source> stream_source(const std::string& name, std::shared_ptr<Dataset> data,
                                      const SourceOptions& options, uint64_t seed) {
  return std::make_shared<StreamSource>(name, std::move(data), options, seed);
}

}  // namespace etude
