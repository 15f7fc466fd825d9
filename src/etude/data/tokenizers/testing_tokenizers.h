#pragma once
// Fixtures of tests/interop/fixtures/tokenizers, made by make_tokenizer_fixtures.py there.

#include <zlib.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <vector>

#include "etude/data/tokenizers/json_view.h"
#include "etude/data/tokenizers/sentencepiece_tokenizer.h"
#include "etude/data/tokenizers/tokenizer_readers.h"

namespace etude {

inline std::string tokenizer_fixture(const std::string& name) {
  const char* source = std::getenv("ETUDE_SOURCE");
  const std::string path = std::string(source ? source : ".") + "/tests/interop/fixtures/tokenizers/" + name + ".gz";
  const gzFile file = gzopen(path.c_str(), "rb");
  if (!file) throw std::runtime_error(path + " is missing");
  std::string content;
  char buffer[1 << 16];
  for (int size = 0; (size = gzread(file, buffer, sizeof(buffer))) > 0;) {
    content.append(buffer, static_cast<size_t>(size));
  }
  gzclose(file);
  return content;
}

inline std::vector<std::string> tokenizer_strings() {
  const std::string lines = tokenizer_fixture("strings.jsonl");
  std::vector<std::string> strings;
  for (size_t at = 0; at < lines.size();) {
    const size_t end = lines.find('\n', at);
    strings.push_back(JsonView::parse(std::string_view(lines).substr(at, end - at), "strings").as_string("string"));
    at = end + 1;
  }
  return strings;
}

inline const std::vector<std::string>& tokenizer_fixture_names() {
  static const std::vector<std::string> names{"gpt2",         "roberta",    "llama3", "qwen2",  "llama2",
                                              "bert_uncased", "bert_cased", "clip",   "falcon", "unigram",
                                              "words",        "sp_unigram", "sp_bpe"};
  return names;
}

inline std::shared_ptr<Tokenizer> fixture_tokenizer(const std::string& name) {
  std::string content = tokenizer_fixture(name);
  if (name.substr(0, 3) == "sp_") return parse_sentencepiece(std::move(content), name);
  return parse_tokenizer_json(std::move(content), name);
}

}  // namespace etude
