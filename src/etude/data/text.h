#pragma once
// Text: a .txt file or a folder of them, byte tokens, packing into rows of fixed length. T: tokens in a row.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "etude/base/options.h"
#include "etude/data/source.h"
#include "etude/data/tokenizer.h"

namespace etude {

struct TextOptions {
  std::string path = "builtin:web";
  double validation = 0.05;
  int64_t length = 64;
  template <class V>
  void fields(V& v) {
    v("path", path, "text file, folder of .txt files, or builtin:NAME");
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
///
/// Record i is row i of the split, in the order of the text, so contiguous records are contiguous text.
///
/// Validation is spread over the text: the sequence is cut into 64 blocks of nearly equal length (fewer, in
/// powers of two, when a part of a block would have less than 4 rows) and the end of each is validation. No token is
/// in rows of both splits, be it as id or as label. With a share of 0 the validation split is empty; else both have
/// a row at least.
class TextDataset : public Dataset {
 public:
  enum class Split { train, validation };
  virtual int64_t documents() const = 0;  ///< of the whole text
  virtual int64_t tokens() const = 0;     ///< of the whole text, document ends included
  virtual const Tokenizer& tokenizer() const = 0;
};

/// Errors: Code::data, see read_documents() in etude/data/text_files.h, and for a text too short for a row (two, if
/// there is a validation split); Code::config for options out of range.
std::shared_ptr<TextDataset> open_text(const TextOptions& options, TextDataset::Split split);

/// Both splits of one reading: half the time and memory of opening each.
struct TextSplits {
  std::shared_ptr<TextDataset> train, validation;
};
TextSplits open_text(const TextOptions& options);

}  // namespace etude
