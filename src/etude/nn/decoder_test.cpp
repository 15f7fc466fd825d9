// B batch, T time, D model width, H query heads, G key/value heads, E head width, V vocabulary.

#include "etude/nn/decoder.h"

#include <cmath>
#include <complex>
#include <map>

#include "etude/nn/testing.h"

namespace etude {
namespace {

using test::distance;
using test::error_of;
using test::random;

DecoderOptions tiny(bool tied = false) {
  DecoderOptions o;
  o.vocab = 11;
  o.dim = 8;
  o.layers = 2;
  o.heads = 4;
  o.kv_heads = 2;
  o.ffn = 6;
  o.length = 8;
  o.tied = tied;
  return o;
}

std::shared_ptr<Decoder> wide(const DecoderOptions& options, double init_std = 0.3) {
  DecoderOptions o = options;
  o.init_std = init_std;
  auto net = make_decoder(o);
  net->to(at::kDouble);
  net->initialise(5);
  at::NoGradGuard no_grad;  // norms of other than ones, so that a forgotten one shows
  for (const auto& p : net->named_parameters())
    if (p.key().ends_with("norm.weight")) p.value().add_(random(p.value().sizes(), p.key(), 0.2));
  return net;
}

Tensor some_ids(int64_t B, int64_t T, int64_t V) {
  const Tensor ids = at::empty({B, T}, at::kLong);
  Rng rng(Key{.seed = 1, .purpose = Purpose::test});
  for (int64_t i = 0; i < ids.numel(); ++i) ids.data_ptr<int64_t>()[i] = rng.below(V);
  return ids;
}

/// The model written once more from Llama's description, with explicit softmax, rotation by complex numbers
/// and weights by name.
Tensor reference(const DecoderOptions& o, const std::map<std::string, Tensor>& w, const Tensor& ids_BT) {
  const int64_t B = ids_BT.size(0), T = ids_BT.size(1), H = o.heads, G = o.kv_heads_or_default(), E = o.dim / H;
  const auto norm = [&](const Tensor& x, const std::string& name) {
    return x / (x.pow(2).mean(-1, true) + o.norm_eps).sqrt() * w.at(name + ".weight");
  };
  const auto linear = [&](const Tensor& x, const std::string& name) { return x.matmul(w.at(name + ".weight").t()); };
  const Tensor frequency = at::pow(o.rope_theta, -at::arange(0, E, 2, at::kDouble) / E);
  const Tensor angle = at::arange(T, at::kDouble).view({T, 1, 1}) * frequency;
  const auto turn = [&](const Tensor& x) {
    const Tensor z = at::complex(x.narrow(3, 0, E / 2).contiguous(), x.narrow(3, E / 2, E / 2).contiguous()) *
                     at::polar(at::ones_like(angle), angle);
    return at::cat({at::real(z), at::imag(z)}, 3);
  };
  const Tensor future = at::ones({T, T}, at::kBool).triu(1);
  Tensor x = w.at("model.embed_tokens.weight").index({ids_BT});
  for (int64_t l = 0; l < o.layers; ++l) {
    const std::string at = "model.layers." + std::to_string(l) + ".";
    const Tensor a = norm(x, at + "input_layernorm");
    const Tensor q = turn(linear(a, at + "self_attn.q_proj").view({B, T, H, E}));
    const Tensor k = turn(linear(a, at + "self_attn.k_proj").view({B, T, G, E}));
    const Tensor v = linear(a, at + "self_attn.v_proj").view({B, T, G, E});
    std::vector<Tensor> heads;
    for (int64_t h = 0; h < H; ++h) {
      const int64_t g = h / (H / G);
      const Tensor score = q.select(2, h).matmul(k.select(2, g).transpose(1, 2)) / std::sqrt(static_cast<double>(E));
      heads.push_back(at::softmax(score.masked_fill(future, -INFINITY), -1).matmul(v.select(2, g)));
    }
    x = x + linear(at::cat(heads, -1), at + "self_attn.o_proj");
    const Tensor m = norm(x, at + "post_attention_layernorm");
    const Tensor gate = linear(m, at + "mlp.gate_proj");
    x = x + linear(gate * at::sigmoid(gate) * linear(m, at + "mlp.up_proj"), at + "mlp.down_proj");
  }
  return linear(norm(x, "model.norm"), o.tied ? "model.embed_tokens" : "lm_head");
}

std::map<std::string, Tensor> weights(const Decoder& net) {
  std::map<std::string, Tensor> all;
  for (const auto& p : net.named_parameters()) all[p.key()] = p.value().detach();
  return all;
}

TEST(Decoder, HasTheNamesOfHuggingFace) {
  DecoderOptions o = tiny();
  o.layers = 1;
  const std::vector<std::string> names = make_decoder(o)->named_parameters().keys();
  EXPECT_EQ(names, (std::vector<std::string>{
                       "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight",
                       "model.layers.0.self_attn.q_proj.weight", "model.layers.0.self_attn.k_proj.weight",
                       "model.layers.0.self_attn.v_proj.weight", "model.layers.0.self_attn.o_proj.weight",
                       "model.layers.0.post_attention_layernorm.weight", "model.layers.0.mlp.gate_proj.weight",
                       "model.layers.0.mlp.up_proj.weight", "model.layers.0.mlp.down_proj.weight", "model.norm.weight",
                       "lm_head.weight"}));
  o.tied = true;
  EXPECT_EQ(make_decoder(o)->named_parameters().keys().back(), "model.norm.weight");
}

TEST(Decoder, AgreesWithAnIndependentReference) {
  for (const bool tied : {false, true}) {
    const auto net = wide(tiny(tied));
    const Tensor ids = some_ids(3, 7, 11);
    Ctx ctx;
    EXPECT_LT(distance(net->logits(ids, {}, {}, ctx), reference(net->options(), weights(*net), ids)), 1e-11);
  }
}

TEST(Decoder, GradientsAreThoseOfFiniteDifferences) {
  for (const bool tied : {false, true}) {
    const auto net = wide(tiny(tied));
    const Tensor ids = some_ids(2, 5, 11);
    const Tensor segment = at::tensor({0, 0, 1, 1, 1, 0, 0, 0, 0, 0}, at::kLong).view({2, 5});
    Ctx ctx;
    test::expect_gradients([&] { return net->logits(ids, {}, segment, ctx); }, net->parameters(), 1e-7);
  }
}

TEST(Decoder, NothingIsSeenOfTheFuture) {
  const auto net = wide(tiny());
  const Tensor ids = some_ids(1, 6, 11), other = ids.clone();
  other[0][4] = (other[0][4] + 1) % 11;
  Ctx ctx;
  const Tensor a = net->logits(ids, {}, {}, ctx), b = net->logits(other, {}, {}, ctx);
  EXPECT_EQ(distance(a.narrow(1, 0, 4), b.narrow(1, 0, 4)), 0);
  EXPECT_GT(distance(a[0][4], b[0][4]), 1e-3);
  EXPECT_GT(distance(a[0][5], b[0][5]), 1e-6);
}

TEST(Decoder, APackedDocumentReadsAsAlone) {
  const auto net = wide(tiny());
  const Tensor first = some_ids(1, 3, 11), second = some_ids(1, 5, 11).flip(1);
  const Tensor packed = at::cat({first, second}, 1);
  const Tensor segment = at::tensor({0, 0, 0, 1, 1, 1, 1, 1}, at::kLong).view({1, 8});
  const Tensor position = at::tensor({0, 1, 2, 0, 1, 2, 3, 4}, at::kLong).view({1, 8});
  Ctx ctx;
  const Tensor together = net->logits(packed, position, segment, ctx);
  EXPECT_LT(distance(together.narrow(1, 0, 3), net->logits(first, {}, {}, ctx)), 1e-12);
  EXPECT_LT(distance(together.narrow(1, 3, 5), net->logits(second, {}, {}, ctx)), 1e-12);
  EXPECT_GT(distance(together, net->logits(packed, position, {}, ctx)), 1e-3);
  EXPECT_GT(distance(net->logits(packed, position, {}, ctx), net->logits(packed, {}, {}, ctx)), 1e-3);
}

TEST(Decoder, PositionsFromZeroAreTheDefault) {
  const auto net = wide(tiny());
  const Tensor ids = some_ids(2, 5, 11), position = at::arange(5, at::kLong).expand({2, 5});
  Ctx ctx;
  const Tensor expected = net->logits(ids, {}, {}, ctx);
  EXPECT_EQ(distance(net->logits(ids, position, {}, ctx), expected), 0);
  EXPECT_EQ(distance(net->logits(ids, position.contiguous(), {}, ctx), expected), 0);
}

TEST(Decoder, InitialWeightsDependOnSeedAndNameOnly) {
  DecoderOptions o = tiny(), deeper = tiny();
  deeper.layers = 3;
  auto a = make_decoder(o), b = make_decoder(deeper);
  a->initialise(7);
  b->initialise(7);
  const auto wa = weights(*a), wb = weights(*b);
  for (const auto& [name, w] : wa) {
    const bool residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    EXPECT_EQ(distance(w, wb.at(name)) == 0, !residual) << name;
  }
  EXPECT_LT(distance(wa.at("model.layers.0.mlp.down_proj.weight") * std::sqrt(4),
                     wb.at("model.layers.0.mlp.down_proj.weight") * std::sqrt(6)),
            1e-7);
  EXPECT_GT(distance(wa.at("model.layers.0.mlp.up_proj.weight"), wa.at("model.layers.1.mlp.up_proj.weight")), 1e-3);
  b = make_decoder(o);
  b->initialise(8);
  EXPECT_GT(distance(wa.at("lm_head.weight"), weights(*b).at("lm_head.weight")), 1e-3);
  Rng rng = Rng(Key{.seed = 7, .purpose = Purpose::init}).fork("lm_head.weight");
  const Tensor expected = at::empty({11, 8});
  fill_normal_(expected, rng, 0, 0.02);
  EXPECT_TRUE(at::equal(wa.at("lm_head.weight"), expected));
}

TEST(Decoder, InitialDeviations) {
  DecoderOptions o;
  o.dim = 256;
  o.layers = 8;
  o.init_std = 0.05;
  o.tied = false;
  auto net = make_decoder(o);
  net->initialise(1);
  for (const auto& [name, w] : weights(*net)) {
    const double deviation = w.std(false).item<double>();
    const bool residual = name.ends_with("o_proj.weight") || name.ends_with("down_proj.weight");
    if (name.ends_with("norm.weight")) {
      EXPECT_EQ(distance(w, at::ones_like(w)), 0) << name;
    } else {
      EXPECT_NEAR(deviation / (residual ? 0.05 / 4 : 0.05), 1, 0.02) << name;
    }
  }
}

TEST(Decoder, CountsItsProducts) {
  DecoderOptions o = tiny();
  const auto net = make_decoder(o);
  Batch batch;
  batch.x["ids_BT"] = some_ids(3, 5, 11);
  const double projections = 8 * 8 + 2 * 8 * 4 + 8 * 8 + 3 * 8 * 6, head = 8 * 11;
  double pairs = 0;
  for (int t = 0; t < 5; ++t) pairs += t + 1;
  const double scores_and_values = 2 * 4 * 2 * pairs;  // products of two head-wide vectors, 4 heads of width 2
  EXPECT_EQ(net->flops(batch), 2 * 3 * (5 * (2 * projections + head) + 2 * scores_and_values));
  EXPECT_EQ(net->flops(Batch{}), 0);
}

TEST(Decoder, NormsAndEmbeddingsAreNotDecayed) {
  const auto net = make_decoder(tiny());
  const std::set<std::string> tagged = {"no_decay"};
  for (const std::string& name : net->named_parameters().keys()) {
    const bool expected = name.find("norm") != std::string::npos || name.find("embed") != std::string::npos;
    EXPECT_EQ(net->tags(name) == tagged, expected) << name;
  }
}

TEST(Decoder, OffersTaps) {
  const auto net = wide(tiny());
  Taps taps;
  taps.wanted = {"model.embed_tokens.output",
                 "model.layers.0.output",
                 "model.layers.1.output",
                 "model.norm.output",
                 "model.layers.1.mlp.down_proj.input",
                 "lm_head.output",
                 "no such tap"};
  Ctx ctx;
  ctx.taps = &taps;
  const Tensor ids = some_ids(2, 4, 11), logits = net->logits(ids, {}, {}, ctx);
  EXPECT_EQ(taps.got.size(), 6u);
  EXPECT_EQ(distance(taps.got.at("lm_head.output"), logits), 0);
  EXPECT_EQ(distance(rms_norm(taps.got.at("model.layers.1.output"), net->named_parameters()["model.norm.weight"], 1e-5),
                     taps.got.at("model.norm.output")),
            0);
  EXPECT_EQ(taps.got.at("model.layers.1.mlp.down_proj.input").size(2), 6);
}

TEST(Decoder, DropoutReachesEveryBranchAndRepeats) {
  DecoderOptions o = tiny();
  o.dropout = 0.25;
  const auto net = wide(o), plain = wide(tiny());
  const Tensor ids = some_ids(4, 6, 11);
  Ctx ctx;
  ctx.train = true;
  ctx.id_B = at::tensor({5, 6, 7, 8}, at::kLong);
  const Tensor whole = net->logits(ids, {}, {}, ctx);
  EXPECT_EQ(distance(net->logits(ids, {}, {}, ctx), whole), 0);
  EXPECT_GT(distance(plain->logits(ids, {}, {}, ctx), whole), 1e-3);
  Ctx half = ctx;
  half.id_B = ctx.id_B.narrow(0, 2, 2);
  EXPECT_LT(distance(net->logits(ids.narrow(0, 2, 2), {}, {}, half), whole.narrow(0, 2, 2)), 1e-12);
  ctx.train = false;
  EXPECT_EQ(distance(net->logits(ids, {}, {}, ctx), plain->logits(ids, {}, {}, ctx)), 0);
}

TEST(Decoder, AnEmptyBatchGivesEmptyLogits) {
  const auto net = wide(tiny());
  Ctx ctx;
  EXPECT_EQ(net->logits(at::empty({0, 4}, at::kLong), {}, at::empty({0, 4}, at::kLong), ctx).sizes(),
            (std::vector<int64_t>{0, 4, 11}));
}

Batch packed(int64_t B, int64_t T, int64_t V) {
  Batch batch;
  batch.id_B = at::arange(B, at::kLong);
  batch.x["ids_BT"] = some_ids(B, T, V);
  // Two documents in every row, the second from place 2 on.
  const Tensor t = at::arange(T, at::kLong);
  batch.x["segment_BT"] = t.ge(2).to(at::kLong).expand({B, T}).contiguous();
  batch.x["position_BT"] = at::where(t.ge(2), t - 2, t).expand({B, T}).contiguous();
  return batch;
}

TEST(Decoder, StagesOneAfterTheOtherAreTheNetToTheBit) {
  DecoderOptions o = tiny();
  o.layers = 5;
  o.dropout = 0.25;
  const auto net = wide(o), whole = wide(o);
  Batch batch = packed(3, 6, 11);
  Ctx ctx;
  ctx.train = true;
  ctx.id_B = batch.id_B;
  const Tensor expected = whole->logits(batch.x["ids_BT"], batch.x["position_BT"], batch.x["segment_BT"], ctx);
  expected.square().sum().backward();
  for (const int64_t count : {1, 2, 3, 5}) {
    // Each stage by itself: what it gives, and the gradient that comes back, without their history.
    net->zero_grad();
    std::vector<Tensor> x(1), y;
    for (int64_t s = 0; s < count; ++s) {
      y.push_back(net->run_stage({s, count}, batch, x.back(), ctx));
      x.push_back(y.back().detach().requires_grad_());
    }
    EXPECT_TRUE(at::equal(y.back(), expected)) << count;
    Tensor gradient = 2 * y.back().detach();
    for (int64_t s = count; s-- > 0;) {
      y[static_cast<size_t>(s)].backward(gradient);
      if (s > 0) gradient = x[static_cast<size_t>(s)].grad();
    }
    for (const auto& p : net->named_parameters())
      EXPECT_TRUE(at::equal(p.value().grad(), whole->named_parameters()[p.key()].grad())) << count << ' ' << p.key();
  }
}

TEST(Decoder, AStageUsesItsOwnParameters) {
  DecoderOptions o = tiny();
  o.layers = 5;
  const auto net = wide(o);
  const Batch batch = packed(2, 4, 11);
  Ctx ctx;
  for (const int64_t count : {1, 2, 3, 5}) {
    std::vector<std::string> all;
    Tensor x;
    for (int64_t s = 0; s < count; ++s) {
      net->zero_grad();
      const Tensor y = net->run_stage({s, count}, batch, x, ctx);
      y.sum().backward();
      x = y.detach();
      std::vector<std::string> used;
      for (const auto& p : net->named_parameters())
        if (p.value().grad().defined()) used.push_back(p.key());
      EXPECT_EQ(net->stage_parameters({s, count}), used) << s << " of " << count;
      all.insert(all.end(), used.begin(), used.end());
    }
    EXPECT_EQ(all, net->named_parameters().keys()) << "every parameter once, in the order of the stages";
  }
  // Five layers in three stages: 1, 2 and 2.
  const auto layers = [&](int64_t s) {
    std::set<char> found;
    for (const std::string& name : net->stage_parameters({s, 3}))
      if (name.starts_with("model.layers.")) found.insert(name[std::string("model.layers.").size()]);
    return found;
  };
  EXPECT_EQ(layers(0), (std::set<char>{'0'}));
  EXPECT_EQ(layers(1), (std::set<char>{'1', '2'}));
  EXPECT_EQ(layers(2), (std::set<char>{'3', '4'}));
}

TEST(Decoder, RefusesStagesThatItCannotBeCutInto) {
  const Error many = error_of([] { make_decoder(tiny())->check_stages(3); });
  EXPECT_EQ(many.code(), Code::config);
  EXPECT_NE(many.message().find("3 stages: it has 2 layers"), std::string::npos) << many.what();
  EXPECT_NE(many.hint().find("fewer stages"), std::string::npos);
  const Error tied = error_of([] { make_decoder(tiny(true))->check_stages(2); });
  EXPECT_EQ(tied.code(), Code::config);
  EXPECT_NE(tied.where().find("tied"), std::string::npos);
  EXPECT_NE(tied.hint().find("tied = false"), std::string::npos);
  EXPECT_NO_THROW(make_decoder(tiny(true))->check_stages(1));
  EXPECT_NO_THROW(make_decoder(tiny())->check_stages(2));
}

TEST(Decoder, SlotsOfALayerAreFoundByItsName) {
  const auto net = wide(tiny());
  Ctx ctx;
  const Tensor ids = some_ids(1, 4, 11), before = net->logits(ids, {}, {}, ctx);
  net->linear("model.layers.1.self_attn.v_proj").slots().weight = [](const Tensor& w, Ctx&) { return 2 * w; };
  EXPECT_GT(distance(net->logits(ids, {}, {}, ctx), before), 1e-4);
  const Error e = error_of([&] { net->linear("model.layers.1.self_attn.v_porj"); });
  EXPECT_NE(e.hint().find("v_proj"), std::string::npos);
}

TEST(Decoder, RefusesWhatCannotBeBuilt) {
  const auto code_and_words = [](const char* toml, const char* what, const char* where, const char* hint) {
    Part part;
    part.config = parse_toml(toml, "my.toml");
    const Error e = error_of([&] { make_decoder(part); });
    EXPECT_EQ(e.code(), Code::config) << toml;
    EXPECT_NE(e.message().find(what), std::string::npos) << e.what();
    EXPECT_NE(e.where().find(where), std::string::npos) << e.what();
    EXPECT_NE(e.hint().find(hint), std::string::npos) << e.what();
  };
  code_and_words("kind = 'decoder'\ndim = 64\nheads = 5", "heads = 5 does not divide dim = 64", "my.toml:3",
                 "divisor of 64");
  code_and_words("dim = 64\nheads = 4\nkv_heads = 3", "kv_heads = 3 does not divide heads = 4", "my.toml:3",
                 "divisor of 4");
  code_and_words("dim = 12\nheads = 4", "3 wide, which is odd", "my.toml:2", "even");
  code_and_words("dim = 6", "3 wide, which is odd", "net decoder, heads", "even");
  code_and_words("vocb = 5", "vocb", "my.toml:1", "vocab");
  code_and_words("dropout = 1.0", "1.0", "my.toml:1", "");
  code_and_words("layers = 0", "0", "my.toml:1", "");
}

TEST(Decoder, RefusesRowsThatItCannotRead) {
  const auto net = wide(tiny());
  Ctx ctx;
  const auto refused = [&](const Tensor& ids, const Tensor& position, const char* what, const char* where,
                           const char* hint) {
    const Error e = error_of([&] { net->logits(ids, position, {}, ctx); });
    EXPECT_EQ(e.code(), Code::data);
    EXPECT_NE(e.message().find(what), std::string::npos) << e.what();
    EXPECT_NE(e.where().find(where), std::string::npos) << e.what();
    EXPECT_NE(e.hint().find(hint), std::string::npos) << e.what();
  };
  Tensor ids = some_ids(2, 4, 11);
  ids[1][2] = 11;
  refused(ids, {}, "holds 11, outside 0 to 10", "ids[1, 2]", "vocab");
  ids[1][2] = -1;
  refused(ids, {}, "holds -1, outside 0 to 10", "ids[1, 2]", "vocab");
  refused(some_ids(1, 9, 11), {}, "9 tokens is longer than the net's length of 8", "ids_BT", "length");
  Tensor position = at::zeros({2, 4}, at::kLong);
  position[0][3] = 8;
  refused(some_ids(2, 4, 11), position, "holds 8, outside 0 to 7", "position_BT[0, 3]", "length");
}

TEST(Decoder, WorksInNarrowTypes) {
  DecoderOptions o = tiny();
  auto net = make_decoder(o);
  net->initialise(3);
  Ctx ctx;
  const Tensor ids = some_ids(2, 6, 11), expected = net->logits(ids, {}, {}, ctx);
  const Tensor segment = at::tensor({0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0}, at::kLong).view({2, 6});
  net->to(at::kBFloat16);
  EXPECT_LT(distance(net->logits(ids, {}, {}, ctx).to(at::kFloat), expected), 0.01);
  EXPECT_TRUE(net->logits(ids, {}, segment, ctx).isfinite().all().item<bool>());
}

}  // namespace
}  // namespace etude
