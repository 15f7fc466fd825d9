#include "etude/optim/optimizer.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>
#include <torch/optim/adam.h>
#include <torch/optim/adamw.h>
#include <torch/optim/sgd.h>

#include <cmath>
#include <limits>

#include "etude/base/error.h"
#include "etude/base/rng.h"
#include "etude/optim/adam.h"
#include "etude/optim/groups.h"
#include "etude/optim/sgd.h"
#include "etude/tensor/fill.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/processor.h"

namespace etude {
namespace {

Part spec(const std::string& toml) {
  Part part;
  part.config = parse_toml(toml, "my.toml");
  return part;
}

Position at_step(int64_t steps, double stop = 100) {
  Position position{{}, {stop, Unit::steps}};
  position.now[Unit::steps] = static_cast<double>(steps);
  return position;
}

Tensor random(at::IntArrayRef sizes, const std::string& name, at::ScalarType type = at::kDouble) {
  const Tensor t = at::empty(sizes, type);
  Rng rng = Rng(Key{.seed = 2, .purpose = Purpose::test}).fork(name);
  fill_normal_(t, rng);
  return t;
}

/// A matrix, a vector and a scalar.
Parameters three(at::ScalarType type = at::kDouble) {
  return {{"model.a.weight", random({3, 4}, "a", type), {}},
          {"model.a.norm", random({5}, "b", type), {"no_decay"}},
          {"model.b.weight", random({}, "c", type), {}}};
}

std::vector<Tensor> gradients_of(const Parameters& parameters, int64_t step) {
  std::vector<Tensor> all;
  for (const Parameter& p : parameters)
    all.push_back(random(p.value.sizes(), p.name + std::to_string(step), p.value.scalar_type()));
  return all;
}

double distance(const Tensor& a, const Tensor& b) { return (a - b).abs().max().item<double>(); }

Error error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const Error& e) {
    return e;
  }
  ADD_FAILURE() << "no Error was thrown";
  return Error(Code::internal, "");
}

// ---- two steps by hand ------------------------------------------------------------------------------

struct ByHand {
  const char* kind;
  double first, second;  ///< theta after the updates with g = 0.5 and g = -0.25 from theta = 2
};

class TwoSteps : public ::testing::TestWithParam<ByHand> {};

TEST_P(TwoSteps, AreThoseOfTheAlgorithm) {
  const Tensor theta = at::full({1}, 2.0, at::kDouble);
  const auto optimizer = make_optimizer(spec(std::string("kind = ") + GetParam().kind), {{"w", theta, {}}});
  optimizer->step(at_step(0), {at::full({1}, 0.5, at::kDouble)});
  EXPECT_NEAR(theta.item<double>(), GetParam().first, 1e-12);
  optimizer->step(at_step(1), {at::full({1}, -0.25, at::kDouble)});
  EXPECT_NEAR(theta.item<double>(), GetParam().second, 1e-12);
}

// sgd            2 - .1*.5 = 1.95; 1.95 + .1*.25 = 1.975
// momentum .9    b: .5, .45-.25 = .2;           theta: 1.95, 1.93
// nesterov       g + .9 b: .95, -.25+.18 = -.07; theta: 1.905, 1.912
// decay .1       g: .7, -.25+.193 = -.057;       theta: 1.93, 1.9357
// adam, lr .1, betas .9 .99, eps .1 (so that a misplaced epsilon shows):
//   m: .05, .02; unbiased .5, .02/.19          v: .0025, .0031; unbiased .25, .0031/.0199
//   theta: 2 - .1*.5/(.5 + .1) = 1.91666..., then - .1*(.02/.19)/(sqrt(.0031/.0199) + .1)
// adam decay .1  g: .7, -.25 + .1 theta1;        adamw decay .1: theta <- .99 theta first
constexpr double kAdam1 = 2 - 0.1 * 0.5 / 0.6;
double adam_second() { return kAdam1 - 0.1 * (0.02 / 0.19) / (std::sqrt(0.0031 / 0.0199) + 0.1); }
constexpr double kL2First = 2 - 0.1 * 0.7 / 0.8;
double l2_second() {
  const double g = -0.25 + 0.1 * kL2First;
  const double m = (0.9 * 0.07 + 0.1 * g) / 0.19, v = (0.99 * 0.0049 + 0.01 * g * g) / 0.0199;
  return kL2First - 0.1 * m / (std::sqrt(v) + 0.1);
}
constexpr double kDecoupledFirst = 2 * 0.99 - 0.1 * 0.5 / 0.6;
double decoupled_second() { return kDecoupledFirst * 0.99 - 0.1 * (0.02 / 0.19) / (std::sqrt(0.0031 / 0.0199) + 0.1); }

#define ADAM_BY_HAND "lr = 0.1\nbeta1 = 0.9\nbeta2 = 0.99\neps = 0.1\n"
INSTANTIATE_TEST_SUITE_P(
    All, TwoSteps,
    ::testing::Values(ByHand{"'sgd'\nlr = 0.1", 1.95, 1.975}, ByHand{"'sgd'\nlr = 0.1\nmomentum = 0.9", 1.95, 1.93},
                      ByHand{"'sgd'\nlr = 0.1\nmomentum = 0.9\nnesterov = true", 1.905, 1.912},
                      ByHand{"'sgd'\nlr = 0.1\nweight_decay = 0.1", 1.93, 1.9357},
                      ByHand{"'adam'\n" ADAM_BY_HAND, kAdam1, adam_second()},
                      ByHand{"'adam'\n" ADAM_BY_HAND "weight_decay = 0.1", kL2First, l2_second()},
                      ByHand{"'adamw'\n" ADAM_BY_HAND "weight_decay = 0.1", kDecoupledFirst, decoupled_second()},
                      ByHand{"'adamw'\n" ADAM_BY_HAND "weight_decay = 0", kAdam1, adam_second()}));

// ---- LibTorch's optimizers --------------------------------------------------------------------------

struct Peer {
  std::string options;
  std::function<std::unique_ptr<torch::optim::Optimizer>(std::vector<Tensor>)> make;
};

std::vector<Peer> peers() {
  using Values = std::vector<Tensor>;
  namespace optim = torch::optim;
  return {
      {"kind = 'sgd'\nlr = 0.1", [](Values v) { return std::make_unique<optim::SGD>(v, optim::SGDOptions(0.1)); }},
      {"kind = 'sgd'\nlr = 0.1\nmomentum = 0.9\nweight_decay = 0.01",
       [](Values v) {
         return std::make_unique<optim::SGD>(v, optim::SGDOptions(0.1).momentum(0.9).weight_decay(0.01));
       }},
      {"kind = 'sgd'\nlr = 0.1\nmomentum = 0.9\nnesterov = true",
       [](Values v) { return std::make_unique<optim::SGD>(v, optim::SGDOptions(0.1).momentum(0.9).nesterov(true)); }},
      {"kind = 'adam'\nlr = 0.02", [](Values v) { return std::make_unique<optim::Adam>(v, optim::AdamOptions(0.02)); }},
      {"kind = 'adam'\nlr = 0.02\nbeta1 = 0.8\nbeta2 = 0.95\neps = 1e-3\nweight_decay = 0.1",
       [](Values v) {
         return std::make_unique<optim::Adam>(v,
                                              optim::AdamOptions(0.02).betas({0.8, 0.95}).eps(1e-3).weight_decay(0.1));
       }},
      {"kind = 'adamw'\nlr = 0.02",
       [](Values v) { return std::make_unique<optim::AdamW>(v, optim::AdamWOptions(0.02)); }},
      {"kind = 'adamw'\nlr = 0.02\nweight_decay = 0.3",
       [](Values v) { return std::make_unique<optim::AdamW>(v, optim::AdamWOptions(0.02).weight_decay(0.3)); }},
  };
}

TEST(Optimizers, AgreeWithLibTorchOverTwentySteps) {
  for (const auto type : {at::kDouble, at::kFloat}) {
    for (const Peer& peer : peers()) {
      Parameters ours = three(type);
      std::vector<Tensor> theirs;
      for (Parameter& p : ours) {
        p.tags.clear();
        theirs.push_back(p.value.clone().requires_grad_(true));
      }
      const auto optimizer = make_optimizer(spec(peer.options), ours);
      const auto reference = peer.make(theirs);
      for (int64_t step = 0; step < 20; ++step) {
        const auto gradients = gradients_of(ours, step);
        optimizer->step(at_step(step), gradients);
        for (size_t i = 0; i < theirs.size(); ++i) theirs[i].mutable_grad() = gradients[i].clone();
        reference->step();
        for (size_t i = 0; i < theirs.size(); ++i) {
          ASSERT_LT(distance(ours[i].value, theirs[i].detach()), type == at::kDouble ? 1e-13 : 2e-6)
              << peer.options << ", step " << step;
        }
      }
    }
  }
}

// ---- fused and plain --------------------------------------------------------------------------------

TEST(Optimizers, FusedAndPlainUpdatesAgree) {
  for (const bool decoupled : {false, true}) {
    const AdamValues with{0.02, 0.9, 0.99, 1e-8, 0.1, decoupled};
    std::vector<Tensor> fused{random({3, 5}, "x")}, m{at::zeros({3, 5}, at::kDouble)}, v{m[0].clone()};
    const std::vector<Tensor> count{at::zeros({})};
    const Tensor plain = fused[0].clone(), m_plain = m[0].clone(), v_plain = v[0].clone();
    for (int t = 1; t <= 5; ++t) {
      const Tensor g = random({3, 5}, "g" + std::to_string(t));
      count[0].add_(1);
      ASSERT_TRUE(fusable({fused, {g}, m, v}));
      adam_update(fused, {g}, m, v, count, with);
      adam_update_plain(plain, g, m_plain, v_plain, t, with);
      EXPECT_LT(distance(fused[0], plain), 1e-14);
      EXPECT_LT(distance(m[0], m_plain), 1e-15);
      EXPECT_LT(distance(v[0], v_plain), 1e-15);
    }
  }
  for (const bool nesterov : {false, true}) {
    const SgdValues with{0.1, 0.9, 0.1, nesterov};
    std::vector<Tensor> fused{random({3, 5}, "x")}, b{at::zeros({3, 5}, at::kDouble)};
    const Tensor plain = fused[0].clone(), b_plain = b[0].clone();
    for (int t = 1; t <= 5; ++t) {
      const Tensor g = random({3, 5}, "g" + std::to_string(t));
      sgd_update(fused, {g}, b, with);
      sgd_update_plain(plain, g, b_plain, with);
      EXPECT_LT(distance(fused[0], plain), 1e-14);
    }
  }
}

TEST(Optimizers, TypesWithoutAFusedKernelTakeThePlainOne) {
  for (const char* kind : {"sgd", "adam", "adamw"}) {
    Parameters narrow = three(at::kBFloat16), wide = three(at::kFloat);
    const std::string options = std::string("lr = 0.01\nkind = '") + kind + "'";
    const auto a = make_optimizer(spec(options), narrow), b = make_optimizer(spec(options), wide);
    for (int64_t step = 0; step < 3; ++step) {
      a->step(at_step(step), gradients_of(narrow, step));
      b->step(at_step(step), gradients_of(wide, step));
    }
    for (size_t i = 0; i < narrow.size(); ++i)
      EXPECT_LT(distance(narrow[i].value.to(at::kFloat), wide[i].value), 0.03) << kind;
  }
}

TEST(Optimizers, GradientsOfOtherLayoutAndTypeCount) {
  for (const char* kind : {"sgd", "adam", "adamw"}) {
    Parameters a{{"w", random({3, 4}, "w"), {}}}, b{{"w", random({3, 4}, "w"), {}}}, c{{"w", random({3, 4}, "w"), {}}};
    const std::string options = std::string("lr = 0.01\nkind = '") + kind + "'";
    const Tensor g = random({3, 4}, "g", at::kFloat).to(at::kDouble);
    make_optimizer(spec(options), a)->step(at_step(0), {g});
    make_optimizer(spec(options), b)->step(at_step(0), {g.t().contiguous().t()});
    make_optimizer(spec(options), c)->step(at_step(0), {g.to(at::kFloat)});
    EXPECT_EQ(distance(a[0].value, b[0].value), 0) << kind;
    EXPECT_EQ(distance(a[0].value, c[0].value), 0) << kind;
  }
}

TEST(Optimizers, TakeOnePassForFloat32OnTheProcessor) {
  if (isa() == Isa::aten) GTEST_SKIP() << "no kernels of our own here";
  for (const std::string kind : {"sgd", "adam", "adamw"}) {
    const auto optimizer = make_optimizer(spec("kind = '" + kind + "'"), three(at::kFloat));
    watch_paths(true);
    optimizer->step(at_step(0), gradients_of(optimizer->parameters(), 0));
    watch_paths(false);
    EXPECT_GT(paths_taken()[kind]["own"], 0) << kind;
    EXPECT_EQ(paths_taken()[kind].size(), 1u) << kind;
  }
}

TEST(Optimizers, OnePassAndPlainUpdatesAgreeInSteps) {
  for (const std::string& options : {std::string("kind = 'adam'\nweight_decay = 0.1"), std::string("kind = 'adamw'"),
                                     std::string("kind = 'sgd'\nmomentum = 0.9\nnesterov = true")}) {
    Parameters own = three(at::kFloat), wide = three(at::kFloat);
    for (Parameter& p : wide) p.value = p.value.to(at::kDouble);
    const auto a = make_optimizer(spec(options), own), b = make_optimizer(spec(options), wide);
    for (int64_t step = 0; step < 10; ++step) {
      auto gradients = gradients_of(own, step), in_double = gradients;
      if (step % 3 == 1) gradients[0] = in_double[0] = Tensor();  // counts of updates part
      for (Tensor& g : in_double)
        if (g.defined()) g = g.to(at::kDouble);
      a->step(at_step(step), gradients, 0.25);
      b->step(at_step(step), in_double, 0.25);
    }
    for (size_t i = 0; i < own.size(); ++i) EXPECT_LT(distance(own[i].value, wide[i].value), 2e-6) << options;
  }
}

TEST(Optimizers, ScaleGradientsAsTheyReadThem) {
  for (const auto type : {at::kFloat, at::kDouble, at::kBFloat16}) {
    for (const std::string& options : {std::string("kind = 'adam'"), std::string("kind = 'adamw'"),
                                       std::string("kind = 'sgd'"), std::string("kind = 'sgd'\nmomentum = 0.9")}) {
      Parameters folded = three(type), apart = three(type);
      const auto a = make_optimizer(spec(options), folded), b = make_optimizer(spec(options), apart);
      for (int64_t step = 0; step < 3; ++step) {
        const auto gradients = gradients_of(folded, step);
        auto kept = gradients, scaled_before = gradients;
        for (Tensor& g : kept) g = g.clone();
        for (Tensor& g : scaled_before) g = g * 0.3;
        a->step(at_step(step), gradients, 0.3);
        b->step(at_step(step), scaled_before);
        for (size_t i = 0; i < kept.size(); ++i) EXPECT_TRUE(at::equal(gradients[i], kept[i])) << options;
      }
      for (size_t i = 0; i < folded.size(); ++i) EXPECT_TRUE(at::equal(folded[i].value, apart[i].value)) << options;
    }
  }
}

TEST(Optimizers, GradientsOfBfloat16AreWidened) {
  for (const char* kind : {"sgd", "adam", "adamw"}) {
    Parameters a = three(at::kFloat), b = three(at::kFloat);
    const std::string options = std::string("lr = 0.01\nkind = '") + kind + "'";
    auto narrow = gradients_of(a, 0), wide = narrow;
    for (Tensor& g : narrow) g = g.to(at::kBFloat16);
    for (size_t i = 0; i < wide.size(); ++i) wide[i] = narrow[i].to(at::kFloat);
    make_optimizer(spec(options), a)->step(at_step(0), narrow);
    make_optimizer(spec(options), b)->step(at_step(0), wide);
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i].value, b[i].value)) << kind;
  }
}

// ---- what the loop relies on ------------------------------------------------------------------------

TEST(Optimizers, UndefinedGradientsLeaveAParameterAndItsCount) {
  for (const std::string kind : {"sgd'\nmomentum = 0.9", "adam", "adamw"}) {
    const std::string options = "kind = '" + kind + (kind.ends_with("9") ? "" : "'");
    Parameters both = three(), alone = {three()[0]};
    const auto a = make_optimizer(spec(options), both), b = make_optimizer(spec(options), alone);
    const Tensor still = both[1].value.clone();
    for (int64_t step = 0; step < 4; ++step) {
      auto gradients = gradients_of(both, step);
      gradients[1] = Tensor();
      if (step == 2) gradients[0] = Tensor();
      a->step(at_step(step), gradients);
      b->step(at_step(step), {gradients[0]});
    }
    EXPECT_EQ(distance(both[1].value, still), 0);
    EXPECT_EQ(distance(both[0].value, alone[0].value), 0);
    if (kind.starts_with("sgd")) continue;
    std::map<std::string, Tensor> state;
    for (const auto& [name, value] : a->state()) state[name] = value;
    EXPECT_EQ(state.at("step/model.a.weight").item<double>(), 3);
    EXPECT_EQ(state.at("step/model.a.norm").item<double>(), 0);
    EXPECT_EQ(state.at("step/model.b.weight").item<double>(), 4);
  }
}

TEST(Optimizers, StateHasPyTorchsNamesAndGoesRoundTrip) {
  for (const std::string kind : {"kind = 'sgd'\nmomentum = 0.9\nnesterov = true", "kind = 'adam'", "kind = 'adamw'"}) {
    Parameters a = three(), b;
    const auto first = make_optimizer(spec(kind), a);
    for (int64_t step = 0; step < 3; ++step) first->step(at_step(step), gradients_of(a, step));
    for (const Parameter& p : a) b.push_back({p.name, p.value.clone(), p.tags});
    const auto second = make_optimizer(spec(kind), b);
    const NamedTensors from = first->state(), to = second->state();
    ASSERT_EQ(from.size(), to.size());
    EXPECT_EQ(from[0].first,
              kind.find("sgd") != std::string::npos ? "momentum_buffer/model.a.weight" : "exp_avg/model.a.weight");
    for (size_t i = 0; i < from.size(); ++i) {
      ASSERT_EQ(from[i].first, to[i].first);
      to[i].second.copy_(from[i].second);
    }
    for (int64_t step = 3; step < 6; ++step) {
      first->step(at_step(step), gradients_of(a, step));
      second->step(at_step(step), gradients_of(b, step));
    }
    for (size_t i = 0; i < a.size(); ++i) EXPECT_TRUE(at::equal(a[i].value, b[i].value)) << kind;
  }
  EXPECT_TRUE(make_optimizer(spec("kind = 'sgd'"), three())->state().empty());
}

TEST(Optimizers, TheLearningRateFollowsItsSchedule) {
  Parameters p{{"w", at::zeros({1}, at::kDouble), {}}};
  const auto optimizer = make_optimizer(spec("kind = 'sgd'\nlr = 'linear(1 -> 0)'"), p);
  optimizer->step(at_step(0), {at::ones({1}, at::kDouble)});
  EXPECT_EQ(p[0].value.item<double>(), -1);
  optimizer->step(at_step(75), {at::ones({1}, at::kDouble)});
  EXPECT_EQ(p[0].value.item<double>(), -1.25);
  EXPECT_EQ(optimizer->learning_rate(at_step(50)), 0.5);
}

TEST(Optimizers, ParametersThatRequireGradientsAreUpdatedOutsideTheGraph) {
  for (const char* kind : {"sgd", "adam", "adamw"}) {
    Parameters p{{"w", at::ones({2}).requires_grad_(true), {}}};
    make_optimizer(spec(std::string("kind = '") + kind + "'"), p)->step(at_step(0), {at::ones({2})});
    EXPECT_TRUE(p[0].value.is_leaf());
    EXPECT_LT(p[0].value[0].item<double>(), 1);
  }
}

// ---- groups -----------------------------------------------------------------------------------------

/// theta after one update of plain gradient descent with lr 1 and g = 0, decay 0.5: theta - 0.5 theta.
std::vector<double> shrunk(const std::string& groups) {
  Parameters p;
  for (const auto& [name, tags] : {std::pair("model.a.weight", std::set<std::string>{}),
                                   {"model.a.norm", {"no_decay"}},
                                   {"model.b.weight", {"expert"}}}) {
    p.push_back({name, at::ones({1}, at::kDouble), tags});
  }
  const auto optimizer = make_optimizer(spec("kind = 'sgd'\nlr = 1\nweight_decay = 0.5\n" + groups), p);
  optimizer->step(at_step(0), std::vector<Tensor>(3, at::zeros({1}, at::kDouble)));
  std::vector<double> left;
  for (const Parameter& each : p) left.push_back(each.value.item<double>());
  return left;
}

TEST(Groups, TaggedParametersAreNotDecayedUnlessTheirGroupSaysSo) {
  EXPECT_EQ(shrunk(""), (std::vector<double>{0.5, 1, 0.5}));
  EXPECT_EQ(shrunk("[[groups]]\nmatch = 'tag:no_decay'\nweight_decay = 0.25"), (std::vector<double>{0.5, 0.75, 0.5}));
  EXPECT_EQ(shrunk("[[groups]]\nmatch = 'model.a'\nlr = 0.5"), (std::vector<double>{0.75, 1, 0.5}));
}

TEST(Groups, TheFirstMatchCounts) {
  EXPECT_EQ(shrunk("[[groups]]\nmatch = 'model.a'\nweight_decay = 0.25\n[[groups]]\nmatch = 'model'\nweight_decay = "
                   "0.75\nlr = 0.5"),
            (std::vector<double>{0.75, 0.75, 0.625}));
  EXPECT_EQ(shrunk("[[groups]]\nmatch = 'tag:expert'\nlr = 0\n[[groups]]\nmatch = 'model'\nweight_decay = 0"),
            (std::vector<double>{1, 1, 1}));
}

TEST(Groups, ThatSelectNothingAreRefused) {
  const Error e = error_of([] { shrunk("[[groups]]\nmatch = 'modle.a'"); });
  EXPECT_EQ(e.code(), Code::config);
  EXPECT_NE(e.message().find("'modle.a' selects no parameter"), std::string::npos);
  EXPECT_EQ(e.where(), "my.toml:5:1");
  EXPECT_EQ(e.hint(), "did you mean 'model.a'?");
  EXPECT_NE(error_of([] { shrunk("[[groups]]\nmatch = 'tag:no_decai'"); }).hint().find("tag:no_decay"),
            std::string::npos);
  EXPECT_NE(error_of([] { shrunk("[[groups]]\nmatch = 'model'\n[[groups]]\nmatch = 'model.a'"); })
                .message()
                .find("belong to groups before it"),
            std::string::npos);
}

TEST(Groups, NeedSelectNothingInAPartOfTheLearner) {
  const Parameters all{{"a", at::ones({1}, at::kDouble), {}}, {"b", at::ones({1}, at::kDouble), {}}};
  const Part with_group = spec("kind = 'adam'\nlr = 1\n[[groups]]\nmatch = 'b'\nlr = 0.5");
  const auto first = make_optimizer(with_group, {all[0]}, all), second = make_optimizer(with_group, {all[1]}, all);
  EXPECT_EQ(first->state().size(), 3u);
  EXPECT_TRUE(make_optimizer(with_group, {}, all)->state().empty());
  first->step(at_step(0), {at::ones({1}, at::kDouble)});
  second->step(at_step(0), {at::ones({1}, at::kDouble)});
  EXPECT_NEAR(all[0].value.item<double>(), 0, 1e-7);
  EXPECT_NEAR(all[1].value.item<double>(), 0.5, 1e-7);
  EXPECT_EQ(error_of([&] { make_optimizer(with_group, {all[0]}, {all[0]}); }).code(), Code::config);
}

TEST(Optimizers, RefuseUnknownKindsAndOptions) {
  const Error kind = error_of([] { make_optimizer(spec("kind = 'adamwe'"), three()); });
  EXPECT_EQ(kind.code(), Code::config);
  EXPECT_EQ(kind.where(), "my.toml:1:1");
  EXPECT_NE(kind.hint().find("adamw"), std::string::npos);
  const Error option = error_of([] { make_optimizer(spec("kind = 'adam'\nmomentun = 1"), three()); });
  EXPECT_EQ(option.code(), Code::config);
  EXPECT_NE(std::string(option.what()).find("optimizer adam"), std::string::npos) << option.what();
  EXPECT_EQ(error_of([] { make_optimizer(spec("kind = 'adam'\nbeta1 = 1.0"), three()); }).code(), Code::config);
  EXPECT_EQ(error_of([] { make_optimizer(spec("kind = 'adam'\nlr = -1"), three()); }).code(), Code::config);
  const Error nesterov = error_of([] { make_optimizer(spec("kind = 'sgd'\nnesterov = true"), three()); });
  EXPECT_NE(nesterov.message().find("momentum"), std::string::npos);
  EXPECT_EQ(nesterov.where(), "my.toml:2:1");
  for (const std::string& name : optimizer_kinds()) EXPECT_GT(describe_optimizer(name).size(), 4u);
}

// ---- clipping ---------------------------------------------------------------------------------------

TEST(Clipping, NormIsOverAllGradients) {
  EXPECT_DOUBLE_EQ(global_norm({at::full({1}, 3.0), Tensor(), at::full({2, 2}, 2.0, at::kDouble)}), 5);
  EXPECT_EQ(global_norm({}), 0);
  // Squares beyond float32's range still add up in double.
  EXPECT_NEAR(global_norm({at::full({1}, 3e30f), at::full({1}, 4e30f)}) / 5e30, 1, 1e-6);
}

TEST(Clipping, TheNormOfManyTypesIsOne) {
  std::vector<Tensor> all;
  double squares = 0;
  for (const auto type : {at::kFloat, at::kBFloat16, at::kDouble, at::kFloat})
    for (const int64_t n : {0, 1, 33, 20000}) {
      all.push_back(random({n}, "n" + std::to_string(all.size()), type));
      squares += all.back().to(at::kDouble).pow(2).sum().item<double>();
    }
  all.push_back(random({8, 9}, "some", at::kFloat).slice(1, 0, 9, 2));
  squares += all.back().to(at::kDouble).pow(2).sum().item<double>();
  EXPECT_NEAR(global_norm(all) / std::sqrt(squares), 1, 1e-7);
}

TEST(Clipping, TheFactorIsForTheUpdateToApply) {
  EXPECT_EQ(clip_factor(5, 6), 1);
  EXPECT_EQ(clip_factor(5, 5), 1);
  EXPECT_EQ(clip_factor(5, 2), 0.4);
  EXPECT_EQ(clip_factor(5, 0), 0);
  EXPECT_EQ(clip_factor(0, 0), 1);
  EXPECT_EQ(clip_factor(NAN, 1), 1);
  EXPECT_EQ(clip_factor(std::numeric_limits<double>::infinity(), 1), 1);
}

TEST(Clipping, ScalesDownToTheLimitOnly) {
  const std::vector<Tensor> g{at::full({1}, 3.0, at::kDouble), Tensor(), at::full({2, 2}, 2.0, at::kDouble)};
  EXPECT_EQ(clip_global_norm(g, 5), 5);
  EXPECT_EQ(g[0].item<double>(), 3);
  EXPECT_EQ(clip_global_norm(g, 2), 5);
  EXPECT_NEAR(g[0].item<double>(), 1.2, 1e-15);
  EXPECT_NEAR(g[2][1][1].item<double>(), 0.8, 1e-15);
  EXPECT_NEAR(global_norm(g), 2, 1e-15);
  EXPECT_NEAR(clip_global_norm(g, 0), 2, 1e-15);
  EXPECT_EQ(global_norm(g), 0);
}

TEST(Clipping, FromANormThatOthersGradientsHaveAPartIn) {
  const std::vector<Tensor> g{at::full({1}, 3.0, at::kDouble), Tensor()};
  clip_from_norm(g, 5, 6);
  EXPECT_EQ(g[0].item<double>(), 3);
  clip_from_norm(g, 5, 2);
  EXPECT_NEAR(g[0].item<double>(), 1.2, 1e-15);
}

TEST(Clipping, LeavesGradientsThatAreNotFinite) {
  const std::vector<Tensor> g{at::full({1}, 3.0), at::full({1}, std::numeric_limits<float>::infinity())};
  EXPECT_EQ(clip_global_norm(g, 1), std::numeric_limits<double>::infinity());
  EXPECT_EQ(g[0].item<double>(), 3);
  EXPECT_TRUE(std::isnan(clip_global_norm({at::full({1}, NAN)}, 1)));
}

}  // namespace
}  // namespace etude
