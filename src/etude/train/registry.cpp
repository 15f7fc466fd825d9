#include "etude/train/registry.h"

#include "etude/data/text.h"
#include "etude/nn/decoder.h"
#include "etude/nn/encoder.h"
#include "etude/nn/gpt2.h"
#include "etude/nn/hugging_face.h"
#include "etude/train/data_parallel.h"
#include "etude/train/ema.h"
#include "etude/train/masked_token.h"
#include "etude/train/next_token.h"
#include "etude/train/precision.h"

namespace etude {

std::string Registry::join(const std::vector<std::string>& words) {
  std::string all;
  for (const std::string& word : words) all += (all.empty() ? "" : ", ") + word;
  return all.empty() ? "none" : all;
}

namespace {

constexpr const char* kHuggingFace = "net hugging_face";

NetMaker hugging_face() {
  const auto options = [](const Part& part) { return Registry::read_part<HuggingFaceOptions>(part, kHuggingFace); };
  NetMaker maker = Registry::maker<std::shared_ptr<Net>, HuggingFaceOptions>(
      kHuggingFace, "Llama, Qwen2, Mistral, GPT-2 or BERT with the weights of a folder of Hugging Face's",
      [options](const Part& part) -> std::shared_ptr<Net> { return make_hugging_face(options(part)); });
  maker.complete = [options](const Part& part) {
    Part whole{write_options(complete(options(part)))};
    whole.config.set("kind", Config(part.kind()));
    return whole;
  };
  maker.card = [options](const Part& part) {
    const std::string path = options(part).path;
    DataCard card;
    card.name = "weights";
    card.origin = path;
    card.sha256 = checkpoint_hash(path);
    return card;
  };
  return maker;
}

/// Of a sentencepiece model that is to be trained, what it will have at most.
std::optional<int64_t> vocabulary_of(const TextOptions& options) {
  if (const auto* training = options.tokenizer.get<SentencepieceChoice>()) return training->training.vocab;
  const auto* file = options.tokenizer.get<FileChoice>();
  return file && !file->path.empty() ? std::optional(open_tokenizer(file->path)->vocabulary()) : std::nullopt;
}

DataMaker text() {
  const auto options = [](const Part& part) { return Registry::read_part<TextOptions>(part, "data text"); };
  DataMaker maker = Registry::maker<DataPair, TextOptions>(
      "data text", "rows of tokens from texts, tables, JSON lines or files of token ids", [options](const Part& part) {
        const TextSplits splits = open_text(options(part));
        return DataPair{splits.train, splits.validation};
      });
  maker.vocabulary = [options](const Part& part) { return vocabulary_of(options(part)); };
  return maker;
}

}  // namespace

void register_frame(Registry& registry) {
  registry.net("decoder", Registry::maker<std::shared_ptr<Net>, DecoderOptions>(
                              "net decoder", "Llama-style decoder under Hugging Face tensor names",
                              [](const Part& part) -> std::shared_ptr<Net> { return make_decoder(part); }));
  registry.net("gpt2", Registry::maker<std::shared_ptr<Net>, Gpt2Options>(
                           "net gpt2", "GPT-2-style decoder under Hugging Face tensor names",
                           [](const Part& part) -> std::shared_ptr<Net> { return make_gpt2(part); }));
  registry.net("encoder", Registry::maker<std::shared_ptr<Net>, EncoderOptions>(
                              "net encoder", "BERT-style encoder under Hugging Face tensor names",
                              [](const Part& part) -> std::shared_ptr<Net> { return make_encoder(part); }));
  registry.net("hugging_face", hugging_face());
  registry.data("text", text());
  registry.objective<NextToken, NextTokenOptions>("next_token", "cross-entropy of the next token");
  registry.objective<MaskedToken, MaskedTokenOptions>("masked_token",
                                                      "cross-entropy of tokens that the net sees masked");
  registry.technique<DataParallel, DataParallelOptions>(
      "data_parallel", "synchronous data parallel within a replica: gradients averaged in every step");
  registry.technique<Bf16, Bf16Options>(Bf16::kName, "products of bfloat16, weights in float32: precision = \"bf16\"");
  registry.technique<Ema, EmaOptions>("ema", "an exponential moving average of the weights, evaluated and kept beside");
}

}  // namespace etude
