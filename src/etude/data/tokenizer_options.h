#pragma once
// Which tokenizer a recipe reads its text with.
//
//   tokenizer = "bytes"
//   tokenizer = {kind = "file", path = "model/tokenizer.json"}
//   tokenizer = {kind = "sentencepiece", model = "bpe", vocab = 8000}

#include <string>

#include "etude/base/options.h"

namespace etude {

/// How a sentencepiece model is trained (Kudo and Richardson, 2018).
struct SentencepieceTraining {
  std::string model = "unigram";
  int64_t vocab = 4000;
  double coverage = 0.9995;
  bool byte_fallback = true;
  int64_t sentences = 1'000'000;
  template <class V>
  void fields(V& v) {
    v("model", model, one_of({"unigram", "bpe"}), "kind of model");
    v("vocab", vocab, within(8, 1'000'000), "tokens in the vocabulary, special tokens and bytes included");
    v("coverage", coverage, within(0.98, 1), "share of the text's characters that become tokens by themselves");
    v("byte_fallback", byte_fallback, any(), "write other characters as bytes, so that every text survives");
    v("sentences", sentences, within(1, 100'000'000), "lines to train on at most, spread evenly over the text");
  }
};

/// A token is a byte.
struct BytesChoice {
  static constexpr const char* kName = "bytes";
  template <class V>
  void fields(V&) {}
};

/// A tokenizer that others made: see open_tokenizer().
struct FileChoice {
  static constexpr const char* kName = "file";
  std::string path;
  template <class V>
  void fields(V& v) {
    v("path", path, any(), "tokenizer.json, sentencepiece .model, vocab.txt, or the folder of one");
  }
};

/// One that is trained on the text of the recipe.
struct SentencepieceChoice {
  static constexpr const char* kName = "sentencepiece";
  SentencepieceTraining training;
  template <class V>
  void fields(V& v) {
    training.fields(v);
  }
};

using TokenizerChoice = Kind<BytesChoice, FileChoice, SentencepieceChoice>;

}  // namespace etude
