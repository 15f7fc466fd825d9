#include <algorithm>

#include "etude/base/error.h"
#include "etude/data/corpus/errors.h"
#include "etude/data/corpus/readers.h"
#include "etude/data/corpus/utf8.h"

namespace etude::corpus {
namespace {

class PlainText : public DocumentReader {
 public:
  PlainText(std::unique_ptr<Bytes> bytes, std::string name, size_t piece)
      : bytes_(std::move(bytes)), name_(std::move(name)), piece_(piece), place_{bytes_->name()} {
    ETUDE_CHECK(piece >= 8, "a piece has room for characters");
  }

  bool next(Document& document) override {
    if (ended_) return false;
    fill();
    const size_t size = ended_ ? held_.size() : cut();
    if (place_.offset == 0 && held_.empty()) {
      throw refuse(mark_ ? "the text is empty but for a byte order mark" : "the text is empty", place_.file,
                   "put text into it, or remove it");
    }
    document = {.name = name_, .text = ended_ ? std::move(held_) : held_.substr(0, size), .ends = ended_};
    require_text(document.text, place_);
    if (!ended_) held_.erase(0, size);
    place_.offset += static_cast<int64_t>(size);
    place_.line += std::count(document.text.begin(), document.text.end(), '\n');
    return true;
  }

 private:
  /// Reads until there is more than a piece, so that the last one is known as such.
  void fill() {
    while (held_.size() <= piece_) {
      const std::string_view more = bytes_->next();
      held_ += more;
      if (!begun_ && (held_.size() >= 3 || more.empty())) {
        begun_ = true;
        mark_ = held_.starts_with("\xef\xbb\xbf");
        if (mark_) held_.erase(0, 3);
      }
      if (!more.empty()) continue;
      ended_ = true;
      return;
    }
  }

  /// Bytes of the piece that comes next. Required: there are more than that.
  size_t cut() const {
    const size_t newline = held_.rfind('\n', piece_ - 1);
    if (newline != std::string::npos && newline >= piece_ / 2) return newline + 1;
    size_t size = piece_;
    const auto continues = [&](size_t i) { return (static_cast<unsigned char>(held_[i]) & 0xc0) == 0x80; };
    while (size > piece_ - 4 && continues(size)) --size;
    return continues(size) ? piece_ : size;  // no UTF-8: any cut shows it
  }

  std::unique_ptr<Bytes> bytes_;
  std::string name_;
  size_t piece_;
  std::string held_;
  TextPlace place_;
  bool begun_ = false, ended_ = false, mark_ = false;
};

}  // namespace

std::unique_ptr<DocumentReader> plain_text(std::unique_ptr<Bytes> bytes, const std::string& name, size_t piece) {
  return std::make_unique<PlainText>(std::move(bytes), name, piece);
}

}  // namespace etude::corpus
