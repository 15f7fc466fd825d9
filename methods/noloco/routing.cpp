#include "methods/noloco/routing.h"

#include "etude/base/torch_pch.h"

#include <algorithm>
#include <numeric>

#include "etude/base/log.h"
#include "etude/nn/staged.h"
#include "etude/train/step.h"
#include "methods/noloco/carrier.h"

namespace etude::noloco {

std::vector<int> route(uint64_t seed, int64_t u, int64_t s, int replicas) {
  const std::vector<int64_t> pi = Rng(Key{seed, purpose_of("noloco routing"), u, s}).permutation(replicas);
  return {pi.begin(), pi.end()};
}

namespace {

/// The last stage in the place of the whole net, for an objective.
class LastStage : public LanguageModel {
 public:
  LastStage(LanguageModel& whole, Staged& cut, const PipelineStage& stage, const Parcel& given)
      : whole_(whole), cut_(cut), stage_(stage), given_(given) {}
  Tensor logits(const Tensor& ids_BT, const Tensor&, const Tensor&, Ctx& ctx) override {
    read(ids_BT);
    return cut_.run_stage(stage_, given_.batch, given_.x, ctx);
  }
  Tensor token_losses(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT,
                      const Tensor& labels_BT, Ctx& ctx) override {
    read(ids_BT);
    const Tensor losses_BT = cut_.stage_losses(stage_, given_.batch, given_.x, labels_BT, ctx);
    return losses_BT.defined() ? losses_BT
                               : LanguageModel::token_losses(ids_BT, position_BT, segment_BT, labels_BT, ctx);
  }
  int64_t vocabulary() const override { return whole_.vocabulary(); }
  int64_t longest() const override { return whole_.longest(); }
  void initialise(uint64_t) override {}
  bool was_read() const { return read_; }

 private:
  void read(const Tensor& ids_BT) {
    if (!ids_BT.is_same(given_.batch.at("ids_BT")))
      throw Error(Code::config, "the objective gives the net other rows than those of its batch", "technique pipeline",
                  "earlier stages have read the batch only: train with another objective, or without the pipeline");
    read_ = true;
  }

  LanguageModel& whole_;
  Staged& cut_;
  PipelineStage stage_;
  const Parcel& given_;
  bool read_ = false;
};

/// One pass of the replicas that are here.
class GPipe {
 public:
  GPipe(const PipelineOptions& o, std::vector<Step>& steps, int64_t pass)
      : o_(o), N_(steps.front().replicas()), S_(o.stages), carrier_(steps.front().links(), steps.front().layout()) {
    const Step& any = steps.front();
    const int64_t samples = any.batch.size();
    M_ = (samples + o.micro - 1) / o.micro;
    first_u_ = any.number() * M_;
    tag_ = "pipeline/" + std::to_string(any.number()) + "/" + std::to_string(pass) + "/";
    for (Step& step : steps) {
      step.net<Staged>(o.net).check_stages(S_);
      require_samples(step.batch.size(), samples, step.replica());
      here_.emplace_back(step, step.net<LanguageModel>(o.net), step.net<Staged>(o.net));
    }
  }

  void run() {
    if (M_ > 0)
      for (Here& here : here_) here.of_whole = here.step.denominators(here.step.batch);
    for (int64_t s = 0; s + 1 < S_; ++s) each([&](Here& here, int64_t k) { forward(here, s, k); });
    each([&](Here& here, int64_t k) { turn(here, k); });
    for (int64_t s = S_ - 2; s >= 0; --s) each([&](Here& here, int64_t k) { backward(here, s, k); });
    for (Here& here : here_) {
      if (routed()) here.step.count(Unit::rounds, 2.0 * static_cast<double>(S_ - 1) / N_);
      here.step.finish(here.step.batch, here.values);
    }
  }

 private:
  /// A micro-batch in a stage before the last, from its forward to its backward.
  struct Visit {
    Parcel given;
    int from = 0;  ///< the replica that sent it
    Tensor y;      ///< what the stage gave, with its history; undefined if that is taken again
  };
  struct Here {
    Here(Step& of, LanguageModel& whole_net, Staged& staged) : step(of), whole(whole_net), cut(staged) {
      for (const Parameter& p : of.parameters()) moving.push_back(p.value);
    }
    Step& step;
    LanguageModel& whole;
    Staged& cut;
    std::vector<Tensor> moving;
    Denominators of_whole;
    std::map<std::pair<int64_t, int64_t>, Visit> visits;  ///< by stage and micro-batch
    std::map<std::string, double> values;                 ///< of the loss's terms
  };

  template <class Act>
  void each(const Act& act) {
    for (int64_t k = 0; k < M_; ++k)
      for (Here& here : here_) act(here, k);
  }

  bool routed() const { return o_.routing == "random" && N_ > 1; }

  void forward(Here& here, int64_t s, int64_t k) {
    Visit visit = arrive(here, s, k);
    Tensor y;
    {
      const torch::AutoGradMode mode(!o_.recompute);
      y = run_stage(here, s, visit);
    }
    const int to = paths(s, k)[static_cast<size_t>(here.step.replica())];
    carrier_.send(here.step, to, tag("f", s, k, to), packed({visit.given.batch, visit.given.of_whole, y.detach()}));
    if (!o_.recompute) visit.y = y;
    here.visits.emplace(std::pair(s, k), std::move(visit));
  }

  /// The last stage: the loss, and at once its backward.
  void turn(Here& here, int64_t k) {
    const Visit visit = arrive(here, S_ - 1, k);
    const auto stage = std::make_shared<LastStage>(here.whole, here.cut, PipelineStage{S_ - 1, S_}, visit.given);
    const Tensor loss = here.step.loss_of_part(visit.given.batch, visit.given.of_whole, o_.net, stage, here.values);
    if (!stage->was_read())
      throw Error(Code::config, "the objective of pass '" + here.step.pass() + "' does not read net '" + o_.net + "'",
                  "technique pipeline", "set net to the one that is trained");
    send_back(here, S_ - 1, k, visit, loss, {});
  }

  void backward(Here& here, int64_t s, int64_t k) {
    Visit visit = std::move(here.visits.extract({s, k}).mapped());
    const int to = here.step.replica();
    const std::string name = tag("b", s, k, to);
    const std::vector<Tensor> message = carrier_.receive(paths(s, k)[static_cast<size_t>(to)], name);
    if (o_.recompute) visit.y = run_stage(here, s, visit);
    if (message.size() != 1 || message[0].sizes() != visit.y.sizes() || message[0].dtype() != visit.y.dtype())
      throw Error(Code::comms, "a message is no gradient of what was sent", name,
                  "all ranks must run the same program and recipe");
    send_back(here, s, k, visit, visit.y, message[0]);
  }

  Visit arrive(Here& here, int64_t s, int64_t k) {
    const int me = here.step.replica();
    Visit visit;
    if (s == 0) {
      const Batch& batch = here.step.batch;
      visit.given = {batch.rows(k * o_.micro, std::min((k + 1) * o_.micro, batch.size())), here.of_whole, {}};
      return visit;
    }
    const std::vector<int> pi = paths(s - 1, k);
    visit.from = static_cast<int>(std::find(pi.begin(), pi.end(), me) - pi.begin());
    const std::string name = tag("f", s - 1, k, me);
    visit.given = unpacked(carrier_.receive(visit.from, name), name);
    require_samples(visit.given.of_whole.samples, here.of_whole.samples, visit.from);
    visit.given.x = visit.given.x.detach().requires_grad_();
    return visit;
  }

  Tensor run_stage(Here& here, int64_t s, const Visit& visit) const {
    Ctx ctx = here.step.context(visit.given.batch);
    Terms of_layers;
    ctx.aux = &of_layers;
    const Tensor y = here.cut.run_stage({s, S_}, visit.given.batch, visit.given.x, ctx);
    if (!of_layers.empty())
      throw Error(Code::config, "layers of net '" + o_.net + "' add '" + of_layers.front().name + "' to the loss",
                  "technique pipeline", "only the last stage knows the loss: train this net without the pipeline");
    return y;
  }

  /// Backward of a stage from what it gave; the gradient of what it was given goes where that came from.
  void send_back(Here& here, int64_t s, int64_t k, const Visit& visit, const Tensor& y, const Tensor& gradient) {
    std::vector<Tensor> inputs = here.moving;
    if (s > 0) inputs.push_back(visit.given.x);
    if (y.requires_grad()) torch::autograd::backward({y}, {gradient}, std::nullopt, false, inputs);
    if (s > 0) carrier_.send(here.step, visit.from, tag("b", s - 1, k, visit.from), {visit.given.x.grad()});
  }

  /// Where each replica sends micro-batch k of this step from stage s.
  std::vector<int> paths(int64_t s, int64_t k) const {
    if (routed()) return route(here_.front().step.seed(), first_u_ + k, s, N_);
    std::vector<int> straight(static_cast<size_t>(N_));
    std::iota(straight.begin(), straight.end(), 0);
    return straight;
  }

  /// `s`: the stage before the boundary.
  std::string tag(const char* direction, int64_t s, int64_t k, int to) const {
    return tag_ + std::to_string(first_u_ + k) + "/" + std::to_string(s) + "/" + direction + "/" + std::to_string(to);
  }

  void require_samples(int64_t found, int64_t expected, int replica) const {
    if (found != expected)
      throw Error(Code::config,
                  "replica " + std::to_string(replica) + " drew " + std::to_string(found) +
                      " samples and another one " + std::to_string(expected),
                  "technique pipeline", "a plan's owner must ask for the same number on every replica");
  }

  const PipelineOptions& o_;
  int N_;
  int64_t S_, M_ = 0, first_u_ = 0;
  std::string tag_;
  Carrier carrier_;
  std::vector<Here> here_;
};

}  // namespace

Contract Pipeline::contract() const {
  return {.name = "pipeline",
          .owns = {Slot::executor},
          .acts = {Event::begin},
          .requires_ = {},
          .refuses = {"accumulate", "micro_coupled", "batch_coupled"},
          .why = "a pipeline cuts batches into micro-batches itself (option micro), and needs independent samples"};
}

void Pipeline::on(Event, Step& step) {
  const Net& net = step.net(o_.net);
  const auto& cut = step.net<Staged>(o_.net);
  cut.check_stages(o_.stages);
  if (step.replica() != 0) return;
  const auto parameters = net.named_parameters();
  std::string sizes;
  for (int64_t s = 0; s < o_.stages; ++s) {
    int64_t size = 0;
    for (const std::string& name : cut.stage_parameters({s, o_.stages})) size += parameters[name].numel();
    sizes += (s > 0 ? ", " : "") + std::to_string(size);
  }
  inform("pipeline: parameters of the stages: " + sizes);
}

void Pipeline::execute_all(std::vector<Step>& steps) {
  const Step& any = steps.front();
  if (any.group())
    throw Error(Code::config,
                std::to_string(any.layout().ranks()) + " ranks for " + std::to_string(any.replicas()) + " replicas",
                "technique pipeline", "a rank hosts whole replicas in it: start at most as many ranks as replicas");
  if (any.number() != step_) passes_ = 0;
  step_ = any.number();
  GPipe(o_, steps, passes_++).run();
}

}  // namespace etude::noloco
