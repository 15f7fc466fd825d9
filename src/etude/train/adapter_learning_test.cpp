// Learners of nets with an adapter: which parameters move, and which stay to the bit.

#include <gtest/gtest.h>

#include "etude/nn/adapter.h"
#include "etude/nn/decoder.h"
#include "etude/train/next_token.h"
#include "etude/train/testing.h"
#include "etude/train/weights.h"

namespace etude::adapter_learning_test {
namespace {

using namespace etude::test;

DecoderOptions small(int64_t rank) {
  DecoderOptions options;
  options.vocab = 7;
  options.dim = 8;
  options.heads = 2;
  options.layers = 1;
  options.length = 8;
  options.adapter.rank = rank;
  return options;
}

class CountingRows : public Source {
 public:
  Kind kind() const override { return Kind::pure; }
  Batch next(Step&, int64_t) override {
    Batch b;
    b.id_B = torch::tensor({0, 1}, torch::kInt64);
    b.x["ids_BT"] = torch::tensor({{0, 1, 2, 3}, {3, 4, 5, 6}}, torch::kInt64);
    b.x["labels_BT"] = torch::tensor({{1, 2, 3, 4}, {4, 5, 6, 0}}, torch::kInt64);
    return b;
  }
};

Fit trained(const std::string& selector, int64_t rank) {
  TrainStage stage;
  stage.seed = 4;
  stage.nets = {{"model", [rank] { return make_decoder(small(rank)); }}};
  stage.learners = {learner("model", {selector})};
  stage.sources = {{"train", std::make_shared<CountingRows>()}};
  stage.passes = {{.objective = std::make_shared<NextToken>(NextTokenOptions{})}};
  stage.stop = Count{3, Unit::steps};
  return fit(stage);
}

TEST(AdapterLearning, CorrectionsMoveAndWeightsStayToTheBit) {
  for (const char* selector : {"model", "model:adapter", "model.model.layers.0.self_attn"}) {
    const Fit result = trained(selector, 2);
    const auto net = make_decoder(small(2));
    net->initialise(initial_seed(4, "model"));
    const auto before = net->named_parameters();
    ASSERT_EQ(result.artifact.tensors.size(), before.size());
    for (const auto& [name, value] : result.artifact.tensors) {
      const std::string own = name.substr(std::string("model/").size());
      EXPECT_EQ(at::equal(value, before[own]), !is_adapter_parameter(own)) << selector << ": " << name;
    }
    EXPECT_EQ(result.cost.parameters, 2 * (2 * 8 + 8 * 2)) << selector;
  }
}

TEST(AdapterLearning, WithoutAnAdapterATagChoosesAmongAll) {
  const auto net = make_decoder(small(0));
  net->initialise(initial_seed(4, "model"));
  const auto before = net->named_parameters();
  for (const auto& [name, value] : trained("model:no_decay", 0).artifact.tensors) {
    const std::string own = name.substr(std::string("model/").size());
    EXPECT_EQ(at::equal(value, before[own]), !net->tags(own).contains("no_decay")) << name;
  }
}

TEST(AdapterLearning, AFrozenOrUnknownChoiceHoldsNothing) {
  for (const char* selector : {"model.model.embed_tokens", "model:no_decay", "model:adaptor"}) {
    try {
      trained(selector, 2);
      ADD_FAILURE() << selector;
    } catch (const Error& error) {
      EXPECT_EQ(error.message(), "learner 'model' holds no parameter") << selector;
    }
  }
}

TEST(AdapterLearning, SelectorsAreNamesWithTags) {
  EXPECT_TRUE(selects("model", "model.a.weight", {}));
  EXPECT_TRUE(selects("model:x", "model.a.weight", {"x", "y"}));
  EXPECT_TRUE(selects("model.a:x", "model.a.weight", {"x"}));
  EXPECT_FALSE(selects("model:x", "model.a.weight", {"y"}));
  EXPECT_FALSE(selects("model.b:x", "model.a.weight", {"x"}));
  EXPECT_FALSE(selects("model", "model.a.weight", {"frozen"}));
  EXPECT_FALSE(selects("model:x", "model.a.weight", {"x", "frozen"}));
}

}  // namespace
}  // namespace etude::adapter_learning_test
