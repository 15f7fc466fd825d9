#pragma once
// A text on its way to tokens: rewritten by normalizers, cut into pieces by pre-tokenizers, and still knowing which
// bytes of the original each of its bytes stands for.

#include <string>
#include <string_view>
#include <vector>

#include "etude/data/tokenizer.h"

namespace etude {

struct PieceText {
  struct Range {
    size_t begin = 0, end = 0;  ///< bytes of `text`
  };

  /// A section of a document that begins at its byte `offset`, as one piece. Without `tracked`, origins stay empty.
  PieceText(std::string_view section, size_t offset, bool tracked);
  /// The bytes [begin, end) of another text, as one piece.
  PieceText(const PieceText& from, size_t begin, size_t end);

  std::string_view view(const Range& range) const {
    return std::string_view(text).substr(range.begin, range.end - range.begin);
  }
  /// What a range of `text` stands for in the document. Required: tracked.
  Encoding::Span span(const Range& range) const;

  std::string text;
  std::vector<Encoding::Span> origin;  ///< of each byte: the character of the document that it came from
  std::vector<Range> pieces;           ///< in order; what is between them is dropped
  bool tracked = false;
  bool at_start = false;  ///< whether the first piece begins where the document begins
};

/// Writes the next form of a PieceText. Pieces are opened and closed around what is written.
class Rewriter {
 public:
  explicit Rewriter(const PieceText& from) : from_(from) { text_.reserve(from.text.size() + 16); }

  void open() { begin_ = text_.size(); }
  void close() {
    if (text_.size() > begin_) pieces_.push_back({begin_, text_.size()});
  }
  /// The bytes [begin, end) of the text as they are.
  void copy(size_t begin, size_t end);
  /// `written` in place of what stands at byte `at`.
  void put(std::string_view written, size_t at);
  /// Moves everything into `to`, which is the text that is rewritten.
  void finish(PieceText& to);

 private:
  const PieceText& from_;
  std::string text_;
  std::vector<Encoding::Span> origin_;
  std::vector<PieceText::Range> pieces_;
  size_t begin_ = 0;
};

}  // namespace etude
