// B batch, T time, V vocabulary.

#include "etude/nn/net.h"

#include "etude/nn/decoder.h"
#include "etude/nn/gpt2.h"
#include "etude/nn/testing.h"
#include "etude/tensor/paths.h"

namespace etude {
namespace {

using test::distance;
using test::error_of;

constexpr int64_t kVocabulary = 70;

std::shared_ptr<LanguageModel> small_decoder(bool tied) {
  DecoderOptions o;
  o.vocab = kVocabulary;
  o.dim = 16;
  o.layers = 1;
  o.heads = 2;
  o.length = 12;
  o.init_std = 0.3;
  o.tied = tied;
  auto net = make_decoder(o);
  net->initialise(3);
  return net;
}

std::shared_ptr<LanguageModel> small_gpt2(bool tied) {
  Gpt2Options o;
  o.vocab = kVocabulary;
  o.dim = 16;
  o.layers = 1;
  o.heads = 2;
  o.length = 12;
  o.init_std = 0.3;
  o.tied = tied;
  auto net = std::make_shared<Gpt2>(o);
  net->initialise(3);
  return net;
}

struct LabelledIds {
  Tensor ids_BT, labels_BT;
};

LabelledIds labelled_ids() {
  const LabelledIds ids{at::empty({3, 12}, at::kLong), at::empty({3, 12}, at::kLong)};
  Rng rng(Key{.seed = 4, .purpose = Purpose::test});
  for (int64_t i = 0; i < 36; ++i) {
    ids.ids_BT.data_ptr<int64_t>()[i] = rng.below(kVocabulary);
    ids.labels_BT.data_ptr<int64_t>()[i] = i % 5 == 0 ? -1 : rng.below(kVocabulary);
  }
  return ids;
}

std::vector<Tensor> gradients_of(LanguageModel& net, const Tensor& item_BT) {
  std::vector<Tensor> parameters;
  for (const Tensor& p : net.parameters()) parameters.push_back(p);
  return torch::autograd::grad({item_BT.sum()}, parameters);
}

/// The way that `net` takes with a head of its own, and what the logits say.
void expect_losses_of_logits(LanguageModel& net, const char* path, Taps* taps = nullptr) {
  const LabelledIds in = labelled_ids();
  Ctx ctx;
  ctx.taps = taps;
  watch_paths(true);
  const Tensor item_BT = net.token_losses(in.ids_BT, {}, {}, in.labels_BT, ctx);
  const auto paths = paths_taken();
  watch_paths(false);
  const auto found = paths.find("cross_entropy");
  EXPECT_EQ(found == paths.end() ? "" : found->second.begin()->first, path);
  const Tensor expected_BT = net.LanguageModel::token_losses(in.ids_BT, {}, {}, in.labels_BT, ctx);
  EXPECT_EQ(item_BT.scalar_type(), at::kFloat);
  EXPECT_LT(distance(item_BT, expected_BT), 1e-5);
  const auto got = gradients_of(net, item_BT), expected = gradients_of(net, expected_BT);
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_LT(distance(got[i], expected[i]), 2e-5 * std::max(1.0, expected[i].abs().max().item<double>()));
}

TEST(TokenLosses, AreThoseOfTheLogitsWithoutThem) {
  for (const bool tied : {false, true}) {
    expect_losses_of_logits(*small_decoder(tied), "own: float32");
    expect_losses_of_logits(*small_gpt2(tied), "own: float32");
  }
}

TEST(TokenLosses, GoThroughTheHeadsSlotsAndTaps) {
  const auto net = small_decoder(false);
  Taps taps;
  taps.wanted = {"lm_head.output"};
  expect_losses_of_logits(*net, "", &taps);
  EXPECT_EQ(taps.got.at("lm_head.output").size(-1), kVocabulary);
  dynamic_cast<Decoder&>(*net).linear("lm_head").slots().weight = [](const Tensor& w, Ctx&) { return w * 2; };
  expect_losses_of_logits(*net, "");
}

TEST(TokenLosses, InBfloat16AreNearThoseOfFloat32) {
  const LabelledIds in = labelled_ids();
  const auto net = small_decoder(true);
  Ctx wide, narrow;
  narrow.format = Format::bfloat16;
  const Tensor expected_BT = net->token_losses(in.ids_BT, {}, {}, in.labels_BT, wide);
  const Tensor item_BT = net->token_losses(in.ids_BT, {}, {}, in.labels_BT, narrow);
  EXPECT_EQ(item_BT.scalar_type(), at::kFloat);
  EXPECT_LT(distance(item_BT, expected_BT), 0.1);
}

TEST(TokenLosses, RefuseLabelsOutsideTheVocabulary) {
  LabelledIds in = labelled_ids();
  in.labels_BT[1][2] = kVocabulary;
  Ctx ctx;
  const auto net = small_gpt2(false);
  const auto both = {error_of([&] { net->token_losses(in.ids_BT, {}, {}, in.labels_BT, ctx); }),
                     error_of([&] { net->LanguageModel::token_losses(in.ids_BT, {}, {}, in.labels_BT, ctx); })};
  for (const Error& e : both) {
    EXPECT_EQ(e.code(), Code::data);
    EXPECT_EQ(e.where(), "labels[1, 2]");
  }
}

}  // namespace
}  // namespace etude
