#include "etude/data/corpus/token_packer.h"

#include <algorithm>

#include "etude/data/corpus/errors.h"

namespace etude::corpus {

void TokenPacker::add(const Document& document) {
  if (document.tokens.empty()) {
    add_text(document);
  } else {
    add_tokens(document);
  }
  open_ = !document.ends;
}

void TokenPacker::add_text(const Document& document) {
  if (!open_ && begin_) {
    const auto begin = static_cast<int32_t>(*begin_);
    out_({&begin, 1});
  }
  out_(tokenizer_.encode(document.text));
  if (!document.ends) return;
  out_({&end_, 1});
  ++documents_;
}

void TokenPacker::add_tokens(const Document& document) {
  const auto largest = std::max_element(document.tokens.begin(), document.tokens.end());
  if (*largest >= tokenizer_.vocabulary()) {
    throw refuse(
        "id " + std::to_string(*largest) + " is not in the vocabulary of " + std::to_string(tokenizer_.vocabulary()),
        document.name, "name the tokenizer that made these ids: tokenizer = {kind = \"file\", path = \"...\"}");
  }
  out_(document.tokens);
  documents_ += std::count(document.tokens.begin(), document.tokens.end(), end_);
  if (!document.ends || document.tokens.back() == end_) return;
  out_({&end_, 1});
  ++documents_;
}

}  // namespace etude::corpus
