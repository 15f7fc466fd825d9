// B batch, T time, K places of a row, D model width, V vocabulary.

#include "etude/nn/encoder.h"

#include <cmath>
#include <map>

#include "etude/base/testing.h"
#include "etude/nn/testing.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/processor.h"

namespace etude::encoder_test {
namespace {

namespace hf = etude::test;

EncoderOptions tiny_encoder() {
  EncoderOptions o;
  o.vocab = 11, o.dim = 6, o.layers = 2, o.heads = 2, o.ffn = 5, o.length = 9, o.types = 3;
  return o;
}

std::shared_ptr<Encoder> random_encoder(const EncoderOptions& o, at::ScalarType type = at::kDouble) {
  const auto net = std::make_shared<Encoder>(o);
  net->to(type);
  const torch::NoGradGuard no_grad;
  for (const auto& p : net->named_parameters()) p.value().copy_(hf::random(p.value().sizes(), p.key(), 0.5));
  return net;
}

Tensor drawn(at::IntArrayRef sizes, int64_t below, uint64_t seed) {
  const Tensor t = at::empty(sizes, at::kLong);
  Rng rng(Key{.seed = seed, .purpose = Purpose::test});
  for (int64_t i = 0; i < t.numel(); ++i) t.data_ptr<int64_t>()[i] = rng.below(below);
  return t;
}

/// The net once more, from the equations of the papers: BERT's sums, its post-normalised blocks, its head.
class ByHand {
 public:
  explicit ByHand(const Encoder& net) : o_(net.options()) {
    for (const auto& p : net.named_parameters()) weights_[p.key()] = p.value().detach().to(at::kDouble);
  }
  Tensor logits_TV(const Tensor& ids_T, const Tensor& type_T) const {
    Tensor x_TD = w("bert.embeddings.word_embeddings.weight").index({ids_T}) +
                  w("bert.embeddings.position_embeddings.weight").narrow(0, 0, ids_T.size(0)) +
                  w("bert.embeddings.token_type_embeddings.weight").index({type_T});
    x_TD = normed(x_TD, "bert.embeddings.LayerNorm");
    for (int64_t i = 0; i < o_.layers; ++i) x_TD = block(x_TD, "bert.encoder.layer." + std::to_string(i) + ".");
    const Tensor t_TD =
        normed(gelu(affine(x_TD, "cls.predictions.transform.dense")), "cls.predictions.transform.LayerNorm");
    return t_TD.mm(w("bert.embeddings.word_embeddings.weight").t()) + w("cls.predictions.bias");
  }

 private:
  const Tensor& w(const std::string& name) const { return weights_.at(name); }
  Tensor affine(const Tensor& x, const std::string& name) const {
    return x.mm(w(name + ".weight").t()) + w(name + ".bias");
  }
  Tensor normed(const Tensor& x, const std::string& name) const {
    const Tensor centred = x - x.mean(-1, true);
    return centred / (centred.square().mean(-1, true) + o_.norm_eps).sqrt() * w(name + ".weight") + w(name + ".bias");
  }
  static Tensor gelu(const Tensor& x) { return x * (1 + at::erf(x / std::sqrt(2.0))) / 2; }
  Tensor block(const Tensor& x_TD, const std::string& name) const {
    const Tensor q = affine(x_TD, name + "attention.self.query"), k = affine(x_TD, name + "attention.self.key"),
                 v = affine(x_TD, name + "attention.self.value");
    const int64_t E = o_.dim / o_.heads;
    std::vector<Tensor> heads;
    for (int64_t h = 0; h < o_.heads; ++h) {
      const auto part = [&](const Tensor& of) { return of.narrow(1, h * E, E); };
      const Tensor scores_TT = part(q).mm(part(k).t()) / std::sqrt(static_cast<double>(E));
      heads.push_back(at::softmax(scores_TT, -1).mm(part(v)));
    }
    const Tensor a_TD = affine(at::cat(heads, 1), name + "attention.output.dense");
    const Tensor h_TD = normed(x_TD + a_TD, name + "attention.output.LayerNorm");
    const Tensor m_TD = affine(gelu(affine(h_TD, name + "intermediate.dense")), name + "output.dense");
    return normed(h_TD + m_TD, name + "output.LayerNorm");
  }

  EncoderOptions o_;
  std::map<std::string, Tensor> weights_;
};

TEST(Encoder, LogitsAreThoseOfTheEquations) {
  const torch::NoGradGuard no_grad;
  for (const uint64_t seed : {1, 2}) {
    for (const auto& [type, tolerance] : {std::pair(at::kDouble, 1e-12), std::pair(at::kFloat, 2e-5)}) {
      const auto net = random_encoder(tiny_encoder(), type);
      const Tensor ids_BT = drawn({3, 7}, 11, seed), type_BT = drawn({3, 7}, 3, seed + 10);
      Ctx ctx;
      const Tensor logits_BTV = net->logits({.ids_BT = ids_BT, .type_BT = type_BT}, ctx);
      const Tensor without_types_BTV = net->logits({.ids_BT = ids_BT}, ctx);
      for (int64_t b = 0; b < 3; ++b) {
        EXPECT_LT(hf::distance(logits_BTV[b], ByHand(*net).logits_TV(ids_BT[b], type_BT[b])), tolerance);
        EXPECT_LT(hf::distance(without_types_BTV[b], ByHand(*net).logits_TV(ids_BT[b], at::zeros({7}, at::kLong))),
                  tolerance);
      }
    }
  }
}

TEST(Encoder, PaddingAndOtherDocumentsAreNotSeen) {
  const auto net = random_encoder(tiny_encoder());
  const torch::NoGradGuard no_grad;
  Ctx ctx;
  const Tensor ids_BT = drawn({3, 6}, 11, 5);
  const Tensor length_B = at::tensor({4, 6, 0}, at::kLong);
  const Tensor padded_BTD = net->hidden({.ids_BT = ids_BT, .length_B = length_B}, ctx);
  EXPECT_TRUE(at::isfinite(padded_BTD).all().item<bool>()) << "a row without tokens too";
  for (int64_t b = 0; b < 2; ++b) {
    const int64_t T = length_B[b].item<int64_t>();
    const Tensor alone_1TD = net->hidden({.ids_BT = ids_BT.narrow(0, b, 1).narrow(1, 0, T)}, ctx);
    EXPECT_LT(hf::distance(padded_BTD[b].narrow(0, 0, T), alone_1TD[0]), 1e-12);
  }

  const Tensor segment_BT = at::tensor({0, 0, 1, 1, 1, 1}, at::kLong).expand({3, 6});
  const Tensor position_BT = at::tensor({0, 1, 0, 1, 2, 3}, at::kLong).expand({3, 6});
  const EncoderRows packed{
      .ids_BT = ids_BT, .length_B = at::full({3}, 5, at::kLong), .position_BT = position_BT, .segment_BT = segment_BT};
  const Tensor packed_BTD = net->hidden(packed, ctx);
  const Tensor first = net->hidden({.ids_BT = ids_BT.narrow(1, 0, 2)}, ctx);
  const Tensor second = net->hidden({.ids_BT = ids_BT.narrow(1, 2, 3)}, ctx);
  EXPECT_LT(hf::distance(packed_BTD.narrow(1, 0, 2), first), 1e-12);
  EXPECT_LT(hf::distance(packed_BTD.narrow(1, 2, 3), second), 1e-12);
  EXPECT_GT(hf::distance(packed_BTD, net->hidden({.ids_BT = ids_BT}, ctx)), 1e-3);
}

TEST(Encoder, LossesAtPlacesAreThoseOfTheLogitsThere) {
  const auto net = random_encoder(tiny_encoder());
  const torch::NoGradGuard no_grad;
  Ctx ctx;
  const EncoderRows rows{.ids_BT = drawn({2, 5}, 11, 3)};
  const Tensor place_BK = at::tensor({4, 0, 2, 1, 3, 3}, at::kLong).view({2, 3});
  const Tensor labels_BK = at::tensor({7, -1, 10, 0, 3, -1}, at::kLong).view({2, 3});
  const Tensor losses_BK = net->place_losses(rows, place_BK, labels_BK, ctx);
  const Tensor log_BTV = at::log_softmax(net->logits(rows, ctx), -1);
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t k = 0; k < 3; ++k) {
      const int64_t label = labels_BK[b][k].item<int64_t>(), place = place_BK[b][k].item<int64_t>();
      const double expected = label < 0 ? 0 : -log_BTV[b][place][label].item<double>();
      EXPECT_NEAR(losses_BK[b][k].item<double>(), expected, 1e-6) << b << ' ' << k;
    }
  const Tensor none = at::empty({2, 0}, at::kLong);
  EXPECT_EQ(net->place_losses(rows, none, none, ctx).sizes(), (std::vector<int64_t>{2, 0}));
}

TEST(Encoder, GradientsAreThoseOfFiniteDifferences) {
  EncoderOptions o = tiny_encoder();
  o.layers = 1;
  const auto net = random_encoder(o);
  const EncoderRows rows{.ids_BT = drawn({2, 4}, 11, 8),
                         .length_B = at::tensor({3, 4}, at::kLong),
                         .type_BT = drawn({2, 4}, 3, 9),
                         .position_BT = drawn({2, 4}, 9, 10)};
  const Tensor place_BK = at::tensor({0, 2, 3, 1}, at::kLong).view({2, 2});
  Ctx ctx;
  hf::expect_gradients([&] { return net->head(at_places(net->hidden(rows, ctx), place_BK), ctx); }, net->parameters());
}

TEST(Encoder, DropoutDependsOnTheSampleAlone) {
  EncoderOptions o = tiny_encoder();
  o.dropout = 0.5;
  const auto net = random_encoder(o);
  const torch::NoGradGuard no_grad;
  Ctx ctx{.seed = 3, .step = 2, .train = true, .id_B = at::tensor({40, 41}, at::kLong)};
  const Tensor ids_BT = drawn({2, 5}, 11, 4);
  const Tensor both = net->hidden({.ids_BT = ids_BT}, ctx);
  EXPECT_TRUE(at::equal(both, net->hidden({.ids_BT = ids_BT}, ctx)));
  ctx.id_B = at::tensor({41}, at::kLong);
  EXPECT_LT(hf::distance(both[1], net->hidden({.ids_BT = ids_BT.narrow(0, 1, 1)}, ctx)[0]), 1e-12);
  ctx.train = false;
  EXPECT_GT(hf::distance(both[1], net->hidden({.ids_BT = ids_BT.narrow(0, 1, 1)}, ctx)[0]), 1e-3);
}

TEST(Encoder, RowsThatDoNotFitAreRefused) {
  const auto net = random_encoder(tiny_encoder());
  Ctx ctx;
  const Tensor ids_BT = at::zeros({1, 4}, at::kLong);
  const auto read = [&](const EncoderRows& rows) { return [&net, &ctx, rows] { net->hidden(rows, ctx); }; };
  expect_error(read({.ids_BT = at::zeros({1, 10}, at::kLong)}), Code::data, "10 tokens", "ids_BT", "length");
  expect_error(read({.ids_BT = ids_BT + 11}), Code::data, "11", "ids[0, 0]", "vocab");
  expect_error(read({.ids_BT = ids_BT, .type_BT = ids_BT + 3}), Code::data, "outside 0 to 2", "type_BT", "types");
  expect_error(read({.ids_BT = ids_BT, .position_BT = ids_BT + 9}), Code::data, "outside 0 to 8", "position_BT",
               "length");
  EncoderOptions odd = tiny_encoder();
  odd.heads = 4;
  expect_error([&] { Encoder made(odd); }, Code::config, "heads = 4 does not divide dim = 6", "net encoder");
}

TEST(Encoder, TakesTheOwnKernelsAndGivesTheSameBitsWhenItRecomputes) {
  if (isa() < Isa::avx512) GTEST_SKIP() << "this processor has no kernels for all of it";
  EncoderOptions o;
  o.vocab = 8192, o.dim = 256, o.layers = 1, o.heads = 4, o.length = 128;
  const auto net = std::make_shared<Encoder>(o);
  net->initialise(1);
  const Tensor place_BK = at::arange(19).expand({4, 19});
  const EncoderRows rows{.ids_BT = drawn({4, 128}, 8192, 2), .length_B = at::tensor({128, 100, 128, 7}, at::kLong)};
  const Tensor labels_BK = drawn({4, 19}, 8192, 3);
  for (const Format format : {Format::float32, Format::bfloat16}) {
    std::vector<std::vector<Tensor>> gradients;
    for (const bool again : {false, true}) {
      Ctx ctx{.train = true, .id_B = at::arange(4), .format = format, .recompute = again};
      watch_paths(true);
      const Tensor loss = net->place_losses(rows, place_BK, labels_BK, ctx).mean();
      gradients.push_back(torch::autograd::grad({loss}, net->parameters()));
      const auto taken = paths_taken();
      watch_paths(false);
      EXPECT_NEAR(loss.item<double>(), std::log(8192.0), 0.3);
      for (const char* op : {"attention", "linear", "cross_entropy"}) EXPECT_TRUE(taken.count(op)) << op;
      for (const auto& [op, ways] : taken)
        for (const auto& [way, calls] : ways) EXPECT_TRUE(way.starts_with("own")) << op << ": " << way;
    }
    for (size_t i = 0; i < gradients[0].size(); ++i) EXPECT_TRUE(at::equal(gradients[0][i], gradients[1][i])) << i;
  }
}

TEST(Encoder, InitialValuesTagsAndProducts) {
  EncoderOptions o;
  o.dim = 64, o.layers = 2, o.types = 100;
  const auto net = std::make_shared<Encoder>(o);
  net->initialise(3);
  for (const auto& p : net->named_parameters()) {
    const std::string& name = p.key();
    const bool plain = name.ends_with("bias") || name.find("LayerNorm") != std::string::npos;
    EXPECT_EQ(net->tags(name).count("no_decay"), plain) << name;
    if (plain) {
      EXPECT_TRUE(at::equal(p.value(), at::full_like(p.value(), name.ends_with("weight")))) << name;
    } else {
      EXPECT_NEAR(p.value().std().item<double>(), 0.02, 0.001) << name;
    }
  }
  Batch batch;
  batch.x["ids_BT"] = at::zeros({3, 5}, at::kLong);
  EXPECT_EQ(net->flops(batch), 3 * (5 * 2 * 2.0 * (12 * 64 * 64) + 2 * 4 * 64.0 * 25));
  EXPECT_EQ(net->head_flops(), 2.0 * (64 * 64 + 64 * 258));
}

TEST(Encoder, AdaptersCorrectQueriesAndValues) {
  EncoderOptions o = tiny_encoder();
  o.adapter.rank = 2;
  const auto net = make_encoder(Part{[&] {
    Config config = write_options(o);
    config.set("kind", Config("encoder"));
    return config;
  }()});
  std::set<std::string> corrected;
  for (const auto& p : net->named_parameters())
    if (p.key().ends_with("lora_A.weight")) corrected.insert(p.key());
  EXPECT_EQ(corrected, (std::set<std::string>{"bert.encoder.layer.0.attention.self.query.lora_A.weight",
                                              "bert.encoder.layer.0.attention.self.value.lora_A.weight",
                                              "bert.encoder.layer.1.attention.self.query.lora_A.weight",
                                              "bert.encoder.layer.1.attention.self.value.lora_A.weight"}));
}

}  // namespace
}  // namespace etude::encoder_test
