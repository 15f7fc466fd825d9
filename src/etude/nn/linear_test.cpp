// N rows, I inputs, O outputs, R rank.

#include "etude/nn/linear.h"

#include "etude/nn/testing.h"

namespace etude {
namespace {

using test::distance;
using test::random;

std::shared_ptr<Linear> layer(int64_t I, int64_t O) {
  auto linear = std::make_shared<Linear>("head", I, O);
  linear->to(at::kDouble);
  at::NoGradGuard no_grad;
  linear->weight.copy_(random({O, I}, "weight"));
  return linear;
}

TEST(Linear, IsTheProductWithTheTransposedWeight) {
  auto linear = layer(3, 4);
  const Tensor x_NI = random({2, 5, 3}, "x");
  Ctx ctx;
  const Tensor y_NO = linear->forward(x_NI, ctx);
  double y = 0;
  for (int i = 0; i < 3; ++i) y += x_NI[1][2][i].item<double>() * linear->weight[3][i].item<double>();
  EXPECT_NEAR(y_NO[1][2][3].item<double>(), y, 1e-14);
  EXPECT_EQ(linear->named_parameters().keys(), std::vector<std::string>{"weight"});
  EXPECT_EQ(linear->flops_per_row(), 24);
}

TEST(Linear, ABiasIsAddedToWhateverMadeTheProduct) {
  auto linear = std::make_shared<Linear>("head", 3, 4, true);
  linear->to(at::kDouble);
  {
    at::NoGradGuard no_grad;
    EXPECT_EQ(linear->bias.abs().max().item<double>(), 0);
    for (const auto& p : linear->named_parameters()) p.value().copy_(random(p.value().sizes(), p.key()));
  }
  const Tensor x_NI = random({2, 3}, "x");
  const Tensor expected = x_NI.mm(linear->weight.t()) + linear->bias.unsqueeze(0);
  Ctx ctx;
  EXPECT_LT(distance(linear->forward(x_NI, ctx), expected), 1e-14);
  linear->slots().quantise = [](const Operands& in, Ctx&) { return Operands{2 * in.x_NI, in.weight_OI}; };
  EXPECT_LT(distance(linear->forward(x_NI, ctx), expected + x_NI.mm(linear->weight.t())), 1e-14);
  linear->slots().quantise = nullptr;
  linear->slots().codec = ActivationCodec{[](const Tensor& x) -> torch::autograd::variable_list { return {x.clone()}; },
                                          [](const torch::autograd::variable_list& kept) { return kept.at(0); }};
  EXPECT_LT(distance(linear->forward(x_NI, ctx), expected), 1e-14);
  linear->slots().product = [](const Operands& in, const ActivationCodec*, Ctx&) {
    return at::linear(in.x_NI, in.weight_OI);
  };
  const Tensor y_NO = linear->forward(x_NI, ctx);
  EXPECT_LT(distance(y_NO, expected), 1e-14);
  y_NO.sum().backward();
  EXPECT_LT(distance(linear->bias.grad(), at::full({4}, 2, at::kDouble)), 1e-14);
}

TEST(Linear, SlotsActInTheirOrder) {
  auto linear = layer(3, 4);
  const Tensor x_NI = random({2, 2}, "x");
  const Tensor down_RI = random({1, 2}, "down"), up_OR = random({3, 1}, "up");
  std::string order;
  LinearSlots& s = linear->slots();
  s.codec = ActivationCodec{};
  s.product = [&](const Operands& in, const ActivationCodec* codec, Ctx&) {
    order += " product";
    EXPECT_NE(codec, nullptr);
    return at::linear(in.x_NI, in.weight_OI);
  };
  s.quantise = [&](const Operands& in, Ctx&) {
    order += " quantise";
    return Operands{in.x_NI, in.weight_OI.round()};
  };
  s.low_rank = [&](Ctx&) {
    order += " low_rank";
    return LowRank{down_RI, up_OR, 0.5, true};
  };
  s.slice = [&](const Tensor& w, Ctx&) {
    order += " slice";
    return w.narrow(0, 0, 3).narrow(1, 0, 2);
  };
  s.weight = [&](const Tensor& w, Ctx&) {
    order += "weight";
    return 3 * w;
  };
  Ctx ctx;
  const Tensor sum = (3 * linear->weight).narrow(0, 0, 3).narrow(1, 0, 2) + 0.5 * up_OR.mm(down_RI);
  EXPECT_LT(distance(linear->forward(x_NI, ctx), x_NI.mm(sum.round().t())), 1e-14);
  EXPECT_EQ(order, "weight slice low_rank quantise product");
}

TEST(Linear, DropoutOfALowRankPathIsOfWhatItReads) {
  auto linear = layer(32, 4);
  const Tensor x_NI = random({2, 32}, "x"), down_RI = random({2, 32}, "down"), up_OR = random({4, 2}, "up");
  linear->slots().low_rank = [&](Ctx&) { return LowRank{down_RI, up_OR, 2, false, 0.5}; };
  Ctx ctx;
  const Tensor product_NO = x_NI.mm(linear->weight.t());
  EXPECT_LT(distance(linear->forward(x_NI, ctx), product_NO + 2 * x_NI.mm(up_OR.mm(down_RI).t())), 1e-13);
  ctx.train = true;
  ctx.id_B = at::arange(2);
  const Tensor read_NI = dropout(x_NI, 0.5, ctx, "head.low_rank");
  EXPECT_GT(distance(read_NI, x_NI), 0);
  EXPECT_LT(distance(linear->forward(x_NI, ctx), product_NO + 2 * read_NI.mm(up_OR.mm(down_RI).t())), 1e-13);
}

TEST(Linear, ALowRankPathPassesTheQuantiserBy) {
  auto linear = layer(3, 4);
  const Tensor x_NI = random({2, 3}, "x"), down_RI = random({2, 3}, "down"), up_OR = random({4, 2}, "up");
  linear->slots().low_rank = [&](Ctx&) { return LowRank{down_RI, up_OR, 2, false}; };
  linear->slots().quantise = [](const Operands& in, Ctx&) { return Operands{in.x_NI.round(), in.weight_OI.round()}; };
  Ctx ctx;
  const Tensor expected = x_NI.round().mm(linear->weight.round().t()) + 2 * x_NI.mm(up_OR.mm(down_RI).t());
  EXPECT_LT(distance(linear->forward(x_NI, ctx), expected), 1e-14);
}

TEST(Linear, BackwardSeesWhatTheCodecKept) {
  auto linear = layer(3, 4);
  int encoded = 0;
  linear->slots().codec =
      ActivationCodec{[&](const Tensor& x) -> torch::autograd::variable_list {
                        ++encoded;
                        return {x.round().to(at::kChar)};
                      },
                      [](const torch::autograd::variable_list& kept) { return kept.at(0).to(at::kDouble); }};
  const Tensor x_NI = random({2, 5, 3}, "x", 10).requires_grad_(true), g_NO = random({2, 5, 4}, "gradient");
  Ctx ctx;
  const Tensor y_NO = linear->forward(x_NI, ctx);
  EXPECT_EQ(distance(y_NO, at::linear(x_NI, linear->weight)), 0);
  y_NO.backward(g_NO);
  EXPECT_EQ(encoded, 1);
  EXPECT_LT(distance(x_NI.grad(), g_NO.matmul(linear->weight)), 1e-13);
  const Tensor expected = g_NO.reshape({10, 4}).t().mm(x_NI.detach().round().reshape({10, 3}));
  EXPECT_LT(distance(linear->weight.grad(), expected), 1e-12);
}

TEST(Linear, AnExactCodecGivesExactGradients) {
  const Tensor x = random({2, 3}, "x"), w = random({4, 3}, "w");
  const ActivationCodec exact{[](const Tensor& t) -> torch::autograd::variable_list { return {t.clone()}; },
                              [](const torch::autograd::variable_list& kept) { return kept.at(0); }};
  test::expect_gradients([&] { return linear_with_codec(x, w, exact); }, {x, w});
}

TEST(Linear, OffersItsOutput) {
  auto linear = layer(3, 4);
  Taps taps;
  taps.wanted = {"head.output"};
  Ctx ctx;
  ctx.taps = &taps;
  const Tensor y = linear->forward(random({2, 3}, "x"), ctx);
  EXPECT_EQ(distance(taps.got.at("head.output"), y), 0);
}

}  // namespace
}  // namespace etude
