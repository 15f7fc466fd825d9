#pragma once
// Text as rows of tokens: what users have (etude/data/text_files.h), through a tokenizer, packed into rows of fixed
// length. T: tokens in a row.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "etude/base/options.h"
#include "etude/data/source.h"
#include "etude/data/tokenizer.h"
#include "etude/data/tokenizer_options.h"

namespace etude {

/// One of several texts that are mixed.
struct MixedTextOptions {
  std::string path;
  double weight = 1;
  std::string field = "text";
  template <class V>
  void fields(V& v) {
    v("path", path, "as data.path");
    v("weight", weight, positive(), "rows from this text in proportion to the other weights, whatever its size");
    v("field", field, "as data.field");
  }
};

struct TextOptions {
  std::string path = "builtin:web";
  std::string field = "text";
  std::vector<MixedTextOptions> mix;
  TokenizerChoice tokenizer;
  int64_t document_end = -1;
  double validation = 0.05;
  int64_t length = 64;
  template <class V>
  void fields(V& v) {
    v("path", path,
      "file or folder of .txt, .jsonl, .csv, .tsv (also .gz, .zst, .xz), token ids in .bin or .npy; builtin:NAME; "
      "set:NAME of `etude data`");
    v("field", field, "where JSON lines (dotted: message.text) and tables have their text");
    v("mix", mix, "several texts in place of path: path, weight and field of each");
    v("tokenizer", tokenizer, any(), "bytes, a file of others, or a sentencepiece model trained on this text");
    v("document_end", document_end, at_least(-1),
      "id that closes a document; -1: the tokenizer's, and none for token ids without a tokenizer");
    v("validation", validation, half_open(0, 1), "share of the text kept for validation, from the end of each shard");
    v("length", length, at_least(2), "tokens in a row (T)");
  }
};

/// Rows of a packed text. The documents, each closed by its end token, follow each other in one sequence of
/// tokens. A row takes T tokens as ids_BT and the T that follow each of them as labels_BT; rows follow each other in
/// steps of T, so every token of a split is a label once, but for the first and fewer than T last ones.
/// Across documents: the end token is the label of a document's last token; the first token of the next document is
/// not predicted (the end token has the label -1), position_BT counts from 0 again and segment_BT goes up by one.
/// A batch none of whose rows has a document's end before its last token has no position_BT and segment_BT.
/// A tokenizer that has a token for a document's beginning opens each with it.
///
/// Record i is row i of the split, in the order of the text, so contiguous records are contiguous text.
///
/// Validation is spread over the text: the sequence is cut into 64 blocks of nearly equal length (fewer, in
/// powers of two, when a part of a block would have less than 4 rows) and the end of each is validation. No token is
/// in rows of both splits, be it as id or as label. With a share of 0 the validation split is empty; else both have
/// a row at least.
///
/// Of several texts, the training rows of each follow those of the one before; shares() says so, and mixed_plan() takes
/// them by weight, each text in epochs of its own. Of their validation rows, as many as the weights allow are taken,
/// evenly out of each text's, and mixed in the same way: the first n of them hold each text in its proportion.
///
/// Small texts of bytes are kept in memory, others in files of etude/data/corpus/token_cache.h, token ids where they
/// are. get() reads what it gives, so that reading ahead leaves nothing for later; it fails with Code::data when a file
/// is no longer what it was.
class TextDataset : public Dataset {
 public:
  enum class Split { train, validation };
  virtual int64_t documents() const = 0;  ///< of the whole text; token ids without an end are one
  virtual int64_t empty() const = 0;      ///< documents without text, which were left out
  virtual int64_t tokens() const = 0;     ///< of the whole text, document ends included
  virtual const Tokenizer& tokenizer() const = 0;
};

/// Errors: Code::data, see etude/data/text_files.h, the tokenizer's, and for a text too short for a row (two, if
/// there is a validation split); Code::config for options out of range or that don't fit each other.
std::shared_ptr<TextDataset> open_text(const TextOptions& options, TextDataset::Split split);

/// Both splits of one reading: half the time and memory of opening each.
struct TextSplits {
  std::shared_ptr<TextDataset> train, validation;
};
TextSplits open_text(const TextOptions& options);

/// The tokenizer of the options alone, which is what knows the vocabulary. One that is trained is trained on lines of
/// the training split and kept in cache_directory()/tokenizers. As the split follows tokens, and there are none before
/// there is a tokenizer, these lines are those before the end of each block when blocks are cut by bytes: a few lines
/// next to a block's end may be in the validation split all the same. Token ids without a tokenizer have one that knows
/// ids only.
/// Errors: those of open_text().
std::shared_ptr<Tokenizer> tokenizer_of(const TextOptions& options);

}  // namespace etude
