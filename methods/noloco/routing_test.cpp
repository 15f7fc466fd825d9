// N replicas, S stages, u micro-batch, pi permutation between two stages.

#include "methods/noloco/routing.h"

#include "etude/base/torch_pch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <thread>

#include "etude/base/testing.h"
#include "etude/nn/decoder.h"
#include "etude/train/next_token.h"
#include "etude/train/registry.h"
#include "etude/train/testing.h"
#include "methods/noloco/carrier.h"
#include "methods/noloco/noloco.h"

namespace etude::noloco::routing_test {
namespace {

// ---- the permutations ----

TEST(Route, IsAPermutationThatEverybodyComputes) {
  for (int N = 1; N <= 9; ++N)
    for (int64_t u : {int64_t{0}, int64_t{1}, int64_t{1} << 40})
      for (int64_t s : {0, 1, 2}) {
        std::vector<int> pi = route(5, u, s, N);
        EXPECT_EQ(route(5, u, s, N), pi);
        std::sort(pi.begin(), pi.end());
        for (int r = 0; r < N; ++r) EXPECT_EQ(pi.at(static_cast<size_t>(r)), r);
      }
  EXPECT_NE(route(5, 7, 0, 64), route(5, 8, 0, 64));
  EXPECT_NE(route(5, 7, 0, 64), route(5, 7, 1, 64));
  EXPECT_NE(route(5, 7, 0, 64), route(6, 7, 0, 64));
  std::vector<int> paired;
  for (const auto& group : pairing(5, 64, 1, 7)) paired.push_back(group.front());
  EXPECT_NE(route(5, 7, 0, 64), paired) << "paths and pairs must be independent";
}

TEST(Route, TakesEveryPermutationEquallyOften) {
  // Of 120000 draws each of the 24 gets 5000, with a standard deviation of 1.4 %.
  std::map<std::vector<int>, int> taken;
  for (int64_t u = 0; u < 120000; ++u) taken[route(1, u, 0, 4)] += 1;
  EXPECT_EQ(taken.size(), 24u);
  for (const auto& [pi, times] : taken) EXPECT_NEAR(times / 5000.0, 1, 0.06);
  // Two boundaries are independent: four cases of two replicas, a quarter each.
  std::map<std::pair<int, int>, int> both;
  for (int64_t u = 0; u < 40000; ++u) both[{route(1, u, 0, 2)[0], route(1, u, 1, 2)[0]}] += 1;
  for (const auto& [to, times] : both) EXPECT_NEAR(times / 10000.0, 1, 0.05);
}

// ---- stages to train ----

constexpr int64_t kLength = 6, kVocabulary = 11, kWidth = 8;

DecoderOptions tiny(int64_t layers) {
  DecoderOptions o;
  o.vocab = kVocabulary;
  o.dim = kWidth;
  o.layers = layers;
  o.heads = 2;
  o.ffn = 12;
  o.length = kLength;
  o.tied = false;
  o.dropout = 0.1;
  o.init_std = 0.3;
  return o;
}

/// Rows of random tokens, of which every sample has another number of labels.
Batch rows(const std::vector<int64_t>& ids) {
  const auto B = static_cast<int64_t>(ids.size());
  Batch batch;
  batch.id_B = torch::tensor(ids, torch::kInt64);
  const Tensor tokens = torch::empty({B, kLength + 1}, torch::kInt64);
  for (int64_t b = 0; b < B; ++b) {
    Rng rng(Key{3, Purpose::test, 0, ids[static_cast<size_t>(b)]});
    for (int64_t t = 0; t <= kLength; ++t) tokens[b][t] = rng.below(kVocabulary);
  }
  batch.x["ids_BT"] = tokens.narrow(1, 0, kLength).contiguous();
  batch.x["labels_BT"] = tokens.narrow(1, 1, kLength).contiguous();
  for (int64_t b = 0; b < B; ++b) batch.x["labels_BT"][b].narrow(0, 0, ids[static_cast<size_t>(b)] % kLength).fill_(-1);
  return batch;
}

class Text : public Source {
 public:
  explicit Text(int64_t batch, bool unequal = false) : batch_(batch), unequal_(unequal) {}
  Kind kind() const override { return Kind::pure; }
  Batch next(Step& step, int64_t asked) override {
    const int64_t B = asked >= 0 ? asked : batch_ + (unequal_ ? step.replica() : 0);
    std::vector<int64_t> ids;
    for (int64_t b = 0; b < B; ++b) ids.push_back((step.number() * step.replicas() + step.replica()) * B + b);
    return rows(ids);
  }

 private:
  int64_t batch_;
  bool unequal_;
};

std::shared_ptr<Technique> technique(const std::string& toml) {
  Registry registry;
  register_noloco(registry);
  const Part part{parse_toml(toml, "test.toml")};
  return registry.technique(part).make(part);
}

struct Trained {
  int replicas = 4;
  std::string pipeline = "";  ///< the technique's options; "-" for none
  int64_t batch = 4, layers = 3, steps = 3;
  at::ScalarType type = torch::kFloat64;
  std::string also = "";  ///< another technique
};

TrainStage stage(const Trained& setup) {
  TrainStage s;
  s.seed = 1;
  s.replicas = setup.replicas;
  s.nets = {{"model", [setup] {
               auto net = make_decoder(tiny(setup.layers));
               net->to(setup.type);
               return net;
             }}};
  s.learners = {test::learner("model", {"model"}, "adam", 0.05)};
  s.sources = {{"train", std::make_shared<Text>(setup.batch)}};
  s.passes = {{.objective = std::make_shared<NextToken>(NextTokenOptions{})}};
  if (!setup.also.empty()) s.with.push_back(technique(setup.also));
  if (setup.pipeline != "-") s.with.push_back(technique("kind = 'pipeline'\n" + setup.pipeline));
  s.stop = {static_cast<double>(setup.steps), Unit::steps};
  s.log = {1, Unit::steps};
  return s;
}

/// Notes weights, batches and gradients of one step.
class Witness : public Technique {
 public:
  explicit Witness(int64_t at) : at_(at) {}
  Contract contract() const override { return {.name = "witness", .acts = {Event::batch, Event::unscale}}; }
  void on(Event event, Step& step) override {
    if (step.number() != at_) return;
    if (event == Event::batch) batches.push_back(step.batch);
    for (const Parameter& p : step.parameters()) {
      if (event == Event::batch) weights[step.replica()][p.name] = p.value.detach().clone();
      if (event == Event::unscale) gradients[step.replica()][p.name] = p.value.grad().clone();
    }
  }
  std::vector<Batch> batches;
  std::map<int, std::map<std::string, Tensor>> weights, gradients;

 private:
  int64_t at_;
};

std::shared_ptr<Witness> witnessed(TrainStage s, int64_t at) {
  auto witness = std::make_shared<Witness>(at);
  s.with.push_back(witness);
  fit(s);
  return witness;
}

void expect_same_bits(const Fit& a, const Fit& b, const std::string& what) {
  ASSERT_EQ(a.artifact.tensors.size(), b.artifact.tensors.size()) << what;
  auto other = b.artifact.tensors.begin();
  for (const auto& [name, value] : a.artifact.tensors) {
    EXPECT_EQ(name, other->first);
    EXPECT_TRUE(torch::equal(value, other->second)) << what << ": " << name;
    ++other;
  }
}

// ---- routing is what the specification says ----

TEST(Pipeline, AloneOrStraightIsThePlainNetToTheBit) {
  for (const at::ScalarType type : {torch::kFloat32, torch::kFloat64})
    for (const int replicas : {1, 3})
      for (const int64_t micro : {1, 2}) {
        TrainStage plain = stage({.replicas = replicas, .pipeline = "-", .type = type});
        plain.accumulate = 4 / micro;
        std::vector<double> losses, expected;
        const auto listen = [](std::vector<double>& to) {
          Surroundings around;
          around.metric = [&to](const MetricLine& line) {
            if (line.values.count("train/loss")) to.push_back(line.values.at("train/loss"));
          };
          return around;
        };
        const Fit whole = fit(plain, listen(expected));
        for (const int64_t stages : {1, 2, 3}) {
          losses.clear();
          const std::string options = "stages = " + std::to_string(stages) + "\nmicro = " + std::to_string(micro) +
                                      "\nrouting = '" + (replicas == 1 ? "random" : "fixed") + "'";
          const Fit cut = fit(stage({.replicas = replicas, .pipeline = options, .type = type}), listen(losses));
          expect_same_bits(cut, whole, options);
          EXPECT_EQ(losses, expected);
          EXPECT_EQ(losses.size(), 3u);
          EXPECT_EQ(cut.counters[Unit::flops], whole.counters[Unit::flops]);
          EXPECT_EQ(cut.counters[Unit::bytes], 0);
          EXPECT_EQ(cut.counters[Unit::rounds], 0);
        }
      }
}

TEST(Pipeline, EqualReplicasGiveTheSameSumOfGradientsOnAnyPaths) {
  const auto sum = [](const Witness& of) {
    std::map<std::string, Tensor> sums;
    for (const auto& [replica, gradients] : of.gradients)
      for (const auto& [name, value] : gradients) sums[name] = sums.count(name) ? sums[name] + value : value;
    return sums;
  };
  // Before step one all replicas are equal.
  const auto plain = witnessed(stage({.pipeline = "-"}), 0),
             fixed = witnessed(stage({.pipeline = "routing = 'fixed'"}), 0), random = witnessed(stage({}), 0);
  const auto expected = sum(*plain), straight = sum(*fixed), routed = sum(*random);
  ASSERT_EQ(expected.size(), make_decoder(tiny(3))->parameters().size());
  for (const auto& [name, value] : expected) {
    EXPECT_TRUE(torch::allclose(straight.at(name), value, 0, 1e-14)) << name;
    EXPECT_TRUE(torch::allclose(routed.at(name), value, 0, 1e-14)) << name;
    const bool first_stage = name.find("embed") != std::string::npos || name.find("layers.0") != std::string::npos;
    const Tensor a = random->gradients[0][name], b = fixed->gradients[0][name];
    EXPECT_EQ(torch::allclose(a, b, 0, 1e-14), first_stage)
        << name << ": with equal replicas the first stage can't tell, the others get samples of other replicas";
  }
}

TEST(Pipeline, EachSampleTakesItsPathWithTheDenominatorOfItsOwnBatch) {
  // Written down from the definition, without cutting anything: in step two, where all replicas differ, each sample
  // goes through a net that is put together from the stages that its path leads through.
  const int N = 3;
  const int64_t S = 3, B = 4, micro = 2, M = 2, step = 1;
  const auto seen = witnessed(stage({.replicas = N, .pipeline = "stages = 3\nmicro = 2"}), step);
  std::vector<std::shared_ptr<Decoder>> nets;
  for (int r = 0; r < N; ++r) {
    nets.push_back(make_decoder(tiny(3)));
    nets.back()->to(torch::kFloat64);
    torch::NoGradGuard no_grad;
    for (const auto& p : nets.back()->named_parameters()) p.value().copy_(seen->weights[r].at("model." + p.key()));
  }
  Tensor loss = torch::zeros({}, torch::kFloat64);
  int moves = 0;
  for (int r = 0; r < N; ++r) {
    const Batch& batch = seen->batches.at(static_cast<size_t>(r));
    const double labels = batch.at("labels_BT").ge(0).sum().item<double>();
    for (int64_t k = 0; k < M; ++k) {
      const Batch part = batch.rows(k * micro, (k + 1) * micro);
      Ctx ctx;
      ctx.seed = 1;
      ctx.step = step;
      ctx.train = true;
      ctx.id_B = part.id_B;
      Tensor x;
      int at = r;
      for (int64_t s = 0; s < S; ++s) {
        x = nets[static_cast<size_t>(at)]->run_stage({s, S}, part, x, ctx);
        if (s + 1 == S) break;
        const int next = route(1, step * M + k, s, N)[static_cast<size_t>(at)];
        moves += next != at;
        at = next;
      }
      const Tensor log_p = torch::log_softmax(x, -1), label = part.at("labels_BT");
      loss = loss - (log_p.gather(-1, label.clamp_min(0).unsqueeze(-1)).squeeze(-1) * label.ge(0)).sum() / labels;
    }
  }
  ASSERT_GT(moves, 0);
  ASSERT_EQ(seen->batches.front().size(), B);
  loss.backward();
  for (int r = 0; r < N; ++r)
    for (const auto& p : nets[static_cast<size_t>(r)]->named_parameters())
      EXPECT_TRUE(torch::allclose(seen->gradients[r].at("model." + p.key()), p.value().grad(), 0, 1e-13))
          << r << ' ' << p.key();
}

TEST(Pipeline, RecomputationChangesNoBit) {
  const Fit kept = fit(stage({.pipeline = "stages = 3"}));
  const Fit again = fit(stage({.pipeline = "stages = 3\nrecompute = true"}));
  expect_same_bits(again, kept, "recompute");
  for (const Unit unit : {Unit::flops, Unit::bytes, Unit::messages, Unit::rounds})
    EXPECT_EQ(again.counters[unit], kept.counters[unit]);
}

TEST(Pipeline, CountsWhatPassesBetweenReplicas) {
  const int N = 4;
  const int64_t B = 4, steps = 3, S = 3;
  const Fit done = fit(stage({.replicas = N, .pipeline = "stages = 3", .batch = B, .steps = steps}));
  int64_t crossings = 0;
  for (int64_t u = 0; u < steps * B; ++u)
    for (int64_t s = 0; s + 1 < S; ++s) {
      const std::vector<int> pi = route(1, u, s, N);
      for (int r = 0; r < N; ++r) crossings += pi[static_cast<size_t>(r)] != r;
    }
  EXPECT_EQ(done.counters[Unit::messages], 2 * crossings);
  EXPECT_EQ(done.counters[Unit::rounds], 2 * (S - 1) * steps);
  // There: ids, labels, the sample's id, the activation, and what says which is which. Back: the gradient.
  const int64_t activation = kLength * kWidth * 8, batch = 2 * kLength * 8 + 8;
  const Tensor x = torch::zeros({1, kLength, kWidth}, torch::kFloat64);
  const int64_t head = packed({rows({0}), {{{"tokens", 5}}, B}, x}).front().numel();
  EXPECT_LT(head, 100);
  EXPECT_EQ(done.counters[Unit::bytes], crossings * (2 * activation + batch + head));
}

TEST(Pipeline, MixesReplicasFurther) {
  const auto spread = [](const std::string& routing) {
    const Fit done = fit(stage({.pipeline = "routing = '" + routing + "'", .steps = 20}));
    std::vector<std::vector<Tensor>> weights(4);
    for (const auto& [name, value] : done.artifact.tensors)
      weights[name.starts_with("replica-") ? static_cast<size_t>(name[8] - '0') : 0].push_back(value);
    return weight_spread(weights);
  };
  const double random = spread("random"), fixed = spread("fixed");
  EXPECT_GT(random, 0);
  EXPECT_LT(random, fixed);
}

TEST(Pipeline, ALossThatIsNotFiniteIsSkippedByAllThatItReaches) {
  class Poison : public Technique {
   public:
    Contract contract() const override { return {.name = "poison", .acts = {Event::batch}}; }
    void on(Event, Step& step) override {
      torch::NoGradGuard no_grad;
      if (step.number() == 1 && step.replica() == 0) step.parameters().front().value.fill_(NAN);
    }
  };
  TrainStage s = stage({});
  s.learners.front().on_nonfinite = "skip_step";
  s.with.push_back(std::make_shared<Poison>());
  for (const auto& [name, value] : fit(s).artifact.tensors)
    if (name.starts_with("replica-")) {
      EXPECT_TRUE(torch::isfinite(value).all().item<bool>()) << name;
    }
  s = stage({});
  s.with.push_back(std::make_shared<Poison>());
  expect_error([&] { fit(s); }, Code::numeric, "the loss is nan in step 2", "next_token", "nothing was updated");
}

TEST(Pipeline, AnEmptyBatchGivesGradientsOfZero) {
  TrainStage s = stage({.batch = 0});
  const auto seen = witnessed(s, 0);
  for (const auto& [name, value] : seen->gradients.at(3)) EXPECT_EQ(value.abs().sum().item<double>(), 0) << name;
}

// ---- over ranks ----

TEST(Pipeline, OverRanksItGivesTheSameBits) {
  const Trained setup{.pipeline = "stages = 3", .also = "kind = 'noloco'\nevery = 2"};
  const Fit here = fit(stage(setup));
  for (const int ranks : {2, 3, 4}) {
    auto links = links_in_memory(ranks, 60);
    std::vector<Fit> fits(static_cast<size_t>(ranks));
    std::vector<std::string> errors(static_cast<size_t>(ranks));
    std::vector<std::thread> threads;
    for (size_t r = 0; r < fits.size(); ++r)
      threads.emplace_back([&, r] {
        Surroundings around;
        around.links = links[r].get();
        try {
          fits[r] = fit(stage(setup), around);
        } catch (const std::exception& e) {
          errors[r] = e.what();
        }
        links[r].reset();
      });
    for (std::thread& thread : threads) thread.join();
    for (const std::string& error : errors) EXPECT_EQ(error, "");
    expect_same_bits(fits[0], here, std::to_string(ranks) + " ranks");
    for (const Unit unit : {Unit::flops, Unit::bytes, Unit::messages})
      EXPECT_EQ(fits[0].counters[unit], here.counters[unit]) << ranks << ' ' << unit_name(unit);
  }
}

TEST(Pipeline, RefusesRanksThatShareAReplica) {
  auto links = links_in_memory(2, 60);
  std::vector<std::thread> threads;
  for (auto& link : links)
    threads.emplace_back([&] {
      Surroundings around;
      around.links = link.get();
      expect_error([&] { fit(stage({.replicas = 1}), around); }, Code::config, "2 ranks for 1 replicas", "pipeline",
                   "whole replicas");
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(Carrier, NamesTheRankThatIsGone) {
  auto links = links_in_memory(2, 60);
  const Layout layout(2, 2);
  Carrier carrier(links[0].get(), layout);
  links[1].reset();
  try {
    carrier.receive(1, "pipeline/0/0/0/0/f/0");
    ADD_FAILURE() << "nothing can come from there";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::comms);
    EXPECT_THAT(e.what(), testing::HasSubstr("rank 1 is gone"));
  }
}

TEST(Carrier, AParcelArrivesAsItWasSent) {
  Parcel parcel;
  parcel.batch = rows({4, 9});
  parcel.batch.part["crops"] = rows({7, 8, 9, 10});
  parcel.batch.text["prompt"] = {"a\n\"b\"", "ö"};
  parcel.of_whole = {{{"tokens", 1.0 / 3}, {"items", 2}}, 5};
  parcel.x = torch::full({2, 3}, 0.1f);
  const Parcel got = unpacked(packed(parcel), "here");
  EXPECT_EQ(got.of_whole.norms, parcel.of_whole.norms);
  EXPECT_EQ(got.of_whole.samples, 5);
  EXPECT_TRUE(torch::equal(got.x, parcel.x));
  EXPECT_EQ(got.batch.text, parcel.batch.text);
  const auto expect_same = [](const Batch& a, const Batch& b) {
    EXPECT_TRUE(torch::equal(a.id_B, b.id_B));
    ASSERT_EQ(a.x.size(), b.x.size());
    for (const auto& [name, value] : b.x) EXPECT_TRUE(torch::equal(a.at(name), value)) << name;
  };
  expect_same(got.batch, parcel.batch);
  expect_same(got.batch.part.at("crops"), parcel.batch.part.at("crops"));

  auto garbled = packed(parcel);
  garbled.pop_back();
  auto longer = packed(parcel);
  longer.push_back(parcel.x);
  auto short_x = packed(parcel);
  short_x[1] = short_x[1].narrow(0, 0, 1);
  auto other_type = packed(parcel);
  other_type[0] = other_type[0].to(torch::kFloat32);
  auto cut_head = packed(parcel);
  cut_head[0] = cut_head[0].narrow(0, 0, 5);
  for (const auto& bad : {garbled, longer, short_x, other_type, cut_head, std::vector<Tensor>()})
    expect_error([&] { unpacked(bad, "from afar"); }, Code::comms, "no micro-batch", "from afar", "same program");
}

// ---- bad input ----

TEST(Pipeline, RefusesWhatCannotBe) {
  for (const std::string bad : {"micro = 0", "stages = 0", "routing = 'circular'", "recompute = 2", "micros = 1"})
    expect_error([&] { technique("kind = 'pipeline'\n" + bad); }, Code::config, "", "test.toml:2");
  expect_error([] { fit(stage({.pipeline = "stages = 4"})); }, Code::config, "into 4 stages: it has 3 layers", "layers",
               "fewer stages");
  TrainStage tied = stage({});
  tied.nets.front().make = [] {
    DecoderOptions o = tiny(3);
    o.tied = true;
    return make_decoder(o);
  };
  expect_error([&] { fit(tied); }, Code::config, "share the weights of embedding and head", "tied", "tied = false");
  TrainStage accumulated = stage({});
  accumulated.accumulate = 2;
  expect_error([&] { fit(accumulated); }, Code::config, "'pipeline' refuses a stage that is 'accumulate'", "stage",
               "micro");
  expect_error([] { fit(stage({.pipeline = "net = 'modle'"})); }, Code::config, "there is no net 'modle'", "", "model");
  TrainStage whole = test::regression();
  whole.with = {technique("kind = 'pipeline'")};
  expect_error([&] { fit(whole); }, Code::config, "net 'model' is not of the kind", "net.model", "another kind");
  TrainStage unequal = stage({});
  unequal.sources = {{"train", std::make_shared<Text>(2, true)}};
  expect_error([&] { fit(unequal); }, Code::config, "replica 1 drew 3 samples and another one 2", "pipeline",
               "replica");
}

/// Reads the net with rows of its own making, or not at all.
class Stubborn : public Objective {
 public:
  explicit Stubborn(bool reads) : reads_(reads) {}
  Terms loss(Step& step, const Batch& batch, Ctx& ctx) override {
    if (!reads_) return {{"nothing", step.parameters().front().value.sum(), {}, 1.0, 1.0}};
    return {{"other", step.net<LanguageModel>("model").logits(batch.at("ids_BT").flip(1), {}, {}, ctx), {}, 1.0, 1.0}};
  }

 private:
  bool reads_;
};

/// A net of two stages whose first adds a term to the loss.
class Balanced : public LanguageModel, public Staged {
 public:
  Balanced() : weight_(register_parameter("weight", torch::ones({kVocabulary, kVocabulary}))) {}
  void check_stages(int64_t) const override {}
  Tensor run_stage(const PipelineStage& stage, const Batch& batch, const Tensor& x, Ctx& ctx) override {
    if (!stage.first()) return x.matmul(weight_);
    if (ctx.aux) ctx.aux->push_back({"balance", weight_.sum(), {}, 1.0, 1.0});
    return torch::one_hot(batch.at("ids_BT"), kVocabulary).to(torch::kFloat32);
  }
  std::vector<std::string> stage_parameters(const PipelineStage&) const override { return {}; }
  Tensor logits(const Tensor&, const Tensor&, const Tensor&, Ctx&) override { return {}; }
  int64_t vocabulary() const override { return kVocabulary; }
  int64_t longest() const override { return kLength; }
  void initialise(uint64_t) override {}

 private:
  Tensor weight_;
};

TEST(Pipeline, RefusesLossesThatItCannotCut) {
  TrainStage other = stage({});
  other.passes.front().objective = std::make_shared<Stubborn>(true);
  expect_error([&] { fit(other); }, Code::config, "other rows than those of its batch", "pipeline", "objective");
  TrainStage none = stage({});
  none.passes.front().objective = std::make_shared<Stubborn>(false);
  expect_error([&] { fit(none); }, Code::config, "pass 'train' does not read net 'model'", "pipeline", "set net");
  TrainStage layers = stage({});
  layers.nets.front().make = [] { return std::make_shared<Balanced>(); };
  expect_error([&] { fit(layers); }, Code::config, "layers of net 'model' add 'balance'", "pipeline", "without");
}

}  // namespace
}  // namespace etude::noloco::routing_test
