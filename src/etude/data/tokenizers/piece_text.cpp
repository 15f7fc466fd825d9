#include "etude/data/tokenizers/piece_text.h"

#include "etude/data/tokenizers/unicode.h"

namespace etude {

PieceText::PieceText(std::string_view section, size_t offset, bool track)
    : text(section), tracked(track), at_start(offset == 0) {
  if (!text.empty()) pieces.push_back({0, text.size()});
  if (!tracked) return;
  origin.reserve(text.size());
  for (size_t at = 0; at < text.size();) {
    const size_t length = unicode::decode(text, at).length;
    const auto begin = static_cast<int64_t>(offset + at);
    origin.insert(origin.end(), length, {begin, begin + static_cast<int64_t>(length)});
    at += length;
  }
}

PieceText::PieceText(const PieceText& from, size_t begin, size_t end)
    : text(from.text, begin, end - begin), tracked(from.tracked), at_start(from.at_start && begin == 0) {
  if (!text.empty()) pieces.push_back({0, text.size()});
  if (tracked) {
    origin.assign(from.origin.begin() + static_cast<std::ptrdiff_t>(begin),
                  from.origin.begin() + static_cast<std::ptrdiff_t>(end));
  }
}

Encoding::Span PieceText::span(const Range& range) const {
  if (range.begin >= range.end) return {};
  return {origin[range.begin].begin, origin[range.end - 1].end};
}

void Rewriter::copy(size_t begin, size_t end) {
  text_.append(from_.text, begin, end - begin);
  if (!from_.tracked) return;
  origin_.insert(origin_.end(), from_.origin.begin() + static_cast<std::ptrdiff_t>(begin),
                 from_.origin.begin() + static_cast<std::ptrdiff_t>(end));
}

void Rewriter::put(std::string_view written, size_t at) {
  text_ += written;
  if (from_.tracked) origin_.insert(origin_.end(), written.size(), from_.origin[at]);
}

void Rewriter::finish(PieceText& to) {
  to.text = std::move(text_);
  to.origin = std::move(origin_);
  to.pieces = std::move(pieces_);
}

}  // namespace etude
