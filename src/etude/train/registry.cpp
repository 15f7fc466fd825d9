#include "etude/train/registry.h"

#include "etude/data/text.h"
#include "etude/nn/decoder.h"
#include "etude/train/data_parallel.h"
#include "etude/train/ema.h"
#include "etude/train/next_token.h"

namespace etude {

std::string Registry::join(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : ", ") + word;
  return all.empty() ? "none" : all;
}

void register_frame(Registry& registry) {
  registry.net("decoder", Registry::maker<std::shared_ptr<Net>, DecoderOptions>(
                              "net decoder", "Llama-style decoder under Hugging Face tensor names",
                              [](const Part& part) -> std::shared_ptr<Net> { return make_decoder(part); }));
  registry.data("text", Registry::maker<DataPair, TextOptions>(
                            "data text", "rows of byte tokens from .txt files", [](const Part& part) {
                              const auto options = Registry::read_part<TextOptions>(part, "data text");
                              return DataPair{open_text(options, TextDataset::Split::train),
                                              open_text(options, TextDataset::Split::validation)};
                            }));
  registry.objective<NextToken, NextTokenOptions>("next_token", "cross-entropy of the next token");
  registry.technique<DataParallel, DataParallelOptions>(
      "data_parallel", "synchronous data parallel within a replica: gradients averaged in every step");
  registry.technique<Ema, EmaOptions>("ema", "an exponential moving average of the weights, evaluated and kept beside");
}

}  // namespace etude
