#include "etude/train/device.h"

#include <gtest/gtest.h>

#include "etude/base/testing.h"
#include "etude/data/masking.h"
#include "etude/nn/decoder.h"
#include "etude/nn/encoder.h"
#include "etude/nn/gpt2.h"
#include "etude/optim/optimizer.h"
#include "etude/train/testing.h"

namespace etude::device_test {
namespace {

using namespace etude::test;

const at::Device kMeta(at::kMeta);

TEST(Device, NamesAreThoseOfLibTorch) {
  EXPECT_TRUE(open_device("cpu").is_cpu());
  EXPECT_TRUE(open_device("meta").is_meta());
  expect_error([] { open_device("gpu"); }, Code::config, "there is no device 'gpu'", "device", "'cuda:1'");
  expect_error([] { open_device("mkldnn"); }, Code::config, "device 'mkldnn' is not supported", "device", "'cpu'");
  expect_error([] { open_device(""); }, Code::config, "device ''", "device", "'cpu'");
}

TEST(Device, WhatIsMissingForCudaIsSaidInOneLine) {
  try {
    EXPECT_TRUE(open_device("cuda").is_cuda());
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::device);
    EXPECT_NE(error.message().find("device 'cuda' is not to be had: "), std::string::npos) << error.message();
    EXPECT_EQ(error.message().find('\n'), std::string::npos) << error.message();
    const bool named = error.message().find(".so") != std::string::npos ||
                       error.message().find("this machine has no CUDA device") != std::string::npos;
    EXPECT_TRUE(named) << error.message();
  }
  TrainStage stage = regression();
  stage.device = "cuda:200";
  expect_error([&] { fit(stage); }, Code::device, "device 'cuda:200' is not to be had", "device", "cpu");
}

TEST(Device, SampleIdsStayWhereRandomnessIsDrawn) {
  Batch batch;
  batch.id_B = at::arange(2);
  batch.x["ids_BT"] = at::zeros({2, 3}, at::kLong);
  batch.part["views"] = batch;
  const Batch there = on_device(batch, kMeta);
  EXPECT_TRUE(there.x.at("ids_BT").is_meta());
  EXPECT_TRUE(there.part.at("views").x.at("ids_BT").is_meta());
  EXPECT_TRUE(there.id_B.is_cpu());
  EXPECT_TRUE(on_device(batch, at::kCPU).x.at("ids_BT").is_same(batch.x.at("ids_BT")));
}

/// A step of a net on the device without values: whatever reads one, or a copy on the CPU, throws.
void take_meta_step(Net& net, const std::string& optimizer, const std::function<Tensor(Ctx&)>& items) {
  net.initialise(1);
  move_net(net, kMeta);
  Parameters parameters;
  std::vector<Tensor> values;
  for (const auto& p : net.named_parameters()) {
    ASSERT_TRUE(p.value().is_meta()) << p.key();
    ASSERT_TRUE(p.value().requires_grad()) << p.key();
    parameters.push_back({"model." + p.key(), p.value(), net.tags(p.key())});
    values.push_back(p.value());
  }
  const auto updates = make_optimizer(learner("model", {"model"}, optimizer).optimizer, parameters);
  Ctx ctx{.train = true, .id_B = at::arange(2)};
  const Tensor loss = items(ctx).sum() / 7;
  ASSERT_TRUE(loss.is_meta());
  const auto gradients = torch::autograd::grad({loss}, values);
  for (size_t i = 0; i < values.size(); ++i) EXPECT_EQ(gradients[i].sizes(), values[i].sizes());
  updates->step({}, gradients);
}

class OnMeta : public testing::TestWithParam<std::string> {
 protected:
  Tensor ids_BT_ = at::zeros({2, 8}, at::TensorOptions().dtype(at::kLong).device(kMeta));
};

TEST_P(OnMeta, ADecoderTakesAStep) {
  DecoderOptions o;
  o.vocab = 11, o.dim = 8, o.length = 8, o.dropout = 0.1;
  Decoder net(o);
  take_meta_step(net, GetParam(), [&](Ctx& ctx) { return net.token_losses(ids_BT_, {}, ids_BT_, ids_BT_, ctx); });
}

TEST_P(OnMeta, AGpt2TakesAStep) {
  Gpt2Options o;
  o.vocab = 11, o.dim = 8, o.length = 8, o.dropout = 0.1;
  Gpt2 net(o);
  take_meta_step(net, GetParam(), [&](Ctx& ctx) { return net.token_losses(ids_BT_, ids_BT_, ids_BT_, ids_BT_, ctx); });
}

TEST_P(OnMeta, AnEncoderFillsGaps) {
  EncoderOptions o;
  o.vocab = 11, o.dim = 8, o.length = 8, o.dropout = 0.1;
  Encoder net(o);
  Masking masking;
  masking.mask_id = 10;
  masking.special = at::zeros({2}, ids_BT_.options());
  masking.ordinary_O = at::zeros({9}, ids_BT_.options());
  const EncoderRows given{.ids_BT = ids_BT_,
                          .length_B = ids_BT_.select(1, 0),
                          .type_BT = ids_BT_,
                          .position_BT = ids_BT_,
                          .segment_BT = ids_BT_};
  take_meta_step(net, GetParam(), [&](Ctx& ctx) {
    const MaskedRows gaps = mask_rows(given.ids_BT, given.length_B, ctx.id_B, masking,
                                      [](int64_t sample) { return Rng(Key{.item = sample}); });
    EncoderRows rows = given;
    rows.ids_BT = gaps.ids_BT;
    return net.place_losses(rows, gaps.place_BK, gaps.labels_BK, ctx);
  });
}

INSTANTIATE_TEST_SUITE_P(Optimizers, OnMeta, testing::Values("sgd", "adam", "adamw"),
                         [](const auto& kind) { return kind.param; });

}  // namespace
}  // namespace etude::device_test
