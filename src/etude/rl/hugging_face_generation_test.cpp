// Greedy continuations of models that transformers made, by tests/interop/make_model_fixtures.py.

#include <gtest/gtest.h>

#include <cstdlib>

#include "etude/base/file.h"
#include "etude/base/torch_pch.h"
#include "etude/nn/hugging_face.h"
#include "etude/rl/generation.h"
#include "etude/tensor/tensor_files.h"

namespace etude {
namespace {

class GreedyContinuation : public ::testing::TestWithParam<std::string> {};

TEST_P(GreedyContinuation, IsThatOfTransformers) {
  const std::string models = std::string(std::getenv("ETUDE_SOURCE")) + "/tests/interop/fixtures/models";
  const auto expected = open_tensors(models + "/expected/" + GetParam() + ".safetensors");
  const auto ids = [&](const std::string& name) {
    const Tensor value = expected->get(name).contiguous();
    return std::vector<int64_t>(value.const_data_ptr<int64_t>(), value.const_data_ptr<int64_t>() + value.numel());
  };
  HuggingFaceOptions options;
  options.path = models + "/" + GetParam();
  const auto net = std::dynamic_pointer_cast<LanguageModel>(make_hugging_face(options));
  net->initialise(0);
  const auto bytes = byte_tokenizer();
  Generator generator(*net, *bytes, 3);
  for (const int64_t tokens : {64, 10}) {
    Request request{ids("prompt_T")};
    request.sampling.temperature = 0;
    request.sampling.tokens = tokens;
    generator.submit(request);
  }
  const std::vector<Result> results = generator.run();
  const std::vector<int64_t> greedy = ids("greedy_T");
  ASSERT_EQ(greedy.size(), 64u);
  EXPECT_EQ(results[0].ids, greedy);
  EXPECT_EQ(results[1].ids, std::vector<int64_t>(greedy.begin(), greedy.begin() + 10));
}

INSTANTIATE_TEST_SUITE_P(All, GreedyContinuation, ::testing::Values("llama", "llama_tied", "qwen2", "mistral", "gpt2"),
                         [](const auto& example) { return example.param; });

}  // namespace
}  // namespace etude
