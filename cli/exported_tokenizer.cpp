#include "cli/exported_tokenizer.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "etude/base/error.h"
#include "etude/data/tokenizers/byte_characters.h"

namespace etude::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kEnd = "<|endoftext|>";

/// The characters that stand for bytes in byte-level vocabularies (GPT-2's), each with its byte as id.
Json byte_vocabulary() {
  Json vocabulary = Json::object();
  for (int byte = 0; byte < 256; ++byte) vocabulary[byte_character(static_cast<unsigned char>(byte))] = byte;
  vocabulary[kEnd] = 256;
  return vocabulary;
}

Tokenizer::File byte_tokenizer_json() {
  const Json byte_level = {
      {"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", false}, {"use_regex", false}};
  const Json end = {{"id", 256},       {"content", kEnd},     {"single_word", false}, {"lstrip", false},
                    {"rstrip", false}, {"normalized", false}, {"special", true}};
  const Json model = {{"type", "BPE"},
                      {"dropout", nullptr},
                      {"unk_token", nullptr},
                      {"continuing_subword_prefix", nullptr},
                      {"end_of_word_suffix", nullptr},
                      {"fuse_unk", false},
                      {"byte_fallback", false},
                      {"ignore_merges", false},
                      {"vocab", byte_vocabulary()},
                      {"merges", Json::array()}};
  const Json whole = {{"version", "1.0"},
                      {"truncation", nullptr},
                      {"padding", nullptr},
                      {"added_tokens", Json::array({end})},
                      {"normalizer", nullptr},
                      {"pre_tokenizer", byte_level},
                      {"post_processor", nullptr},
                      {"decoder", byte_level},
                      {"model", model}};
  return {"tokenizer.json", whole.dump(1) + "\n"};
}

/// The text of the token that ends a document; null where a tokenizer has none.
Json end_token(const Tokenizer& tokenizer) {
  const std::optional<int64_t> end = tokenizer.document_end_if_any();
  return end ? Json(tokenizer.token(*end)) : Json(nullptr);
}

bool holds(const std::vector<Tokenizer::File>& files, std::string_view name) {
  return std::any_of(files.begin(), files.end(), [&](const auto& file) { return file.name == name; });
}

}  // namespace

std::vector<Tokenizer::File> exported_tokenizer(const Tokenizer& tokenizer, int64_t length) {
  std::vector<Tokenizer::File> files = tokenizer.files();
  const bool bytes = tokenizer.hash() == byte_tokenizer()->hash();
  if (bytes) files.push_back(byte_tokenizer_json());
  if (files.empty()) return {};
  if (holds(files, "tokenizer_config.json")) return files;
  Json config = {{"model_max_length", length}, {"eos_token", bytes ? Json(kEnd) : end_token(tokenizer)}};
  config["tokenizer_class"] = holds(files, "tokenizer.model") ? "LlamaTokenizer"
                              : holds(files, "vocab.txt")     ? "BertTokenizer"
                                                              : "PreTrainedTokenizerFast";
  config["clean_up_tokenization_spaces"] = false;
  files.push_back({"tokenizer_config.json", config.dump(2) + "\n"});
  return files;
}

}  // namespace etude::cli
