#include <algorithm>

#include "etude/base/text.h"
#include "etude/data/corpus/errors.h"
#include "etude/data/corpus/readers.h"
#include "etude/data/corpus/utf8.h"

namespace etude::corpus {
namespace {

/// Rows, of which only one cell is kept, but for the first.
class Rows {
 public:
  Rows(std::unique_ptr<Bytes> bytes, char delimiter, size_t most)
      : bytes_(std::move(bytes)), delimiter_(delimiter), most_(most) {}

  /// Counts the cells of the next row that has any; keep(column) says which ones are to be in cells(). False at the
  /// end.
  template <class Keep>
  bool next(const Keep& keep) {
    do {
      if (!row(keep)) return false;
    } while (blank_);
    return true;
  }

  const std::vector<std::string>& cells() const { return cells_; }
  int64_t columns() const { return columns_; }
  int64_t line() const { return line_; }  ///< where the row begins
  std::string place() const { return name() + ":" + std::to_string(line_); }
  const std::string& name() const { return bytes_->name(); }

 private:
  /// The byte that is next, or -1 at the end.
  int peek() {
    if (at_ == piece_.size()) {
      piece_ = bytes_->next();
      at_ = 0;
      if (piece_.empty()) return -1;
    }
    return static_cast<unsigned char>(piece_[at_]);
  }

  /// Takes bytes up to one of these two, or the end of the piece.
  void run(char first, char second, std::string* out) {
    const size_t begin = at_;
    while (at_ < piece_.size() && piece_[at_] != first && piece_[at_] != second && piece_[at_] != delimiter_) ++at_;
    if (at_ == begin) ++at_;  // one of the three that means itself here
    add(piece_.substr(begin, at_ - begin), out);
  }

  void add(std::string_view bytes, std::string* out) {
    size_ += bytes.size();
    if (size_ > most_) {
      throw refuse("a row has more than " + std::to_string(most_) + " bytes", place(),
                   "is a quote not closed? Else cut the row into several");
    }
    next_line_ += std::count(bytes.begin(), bytes.end(), '\n');
    if (out) out->append(bytes);
  }

  template <class Keep>
  bool row(const Keep& keep) {
    if (!begun_) begin();
    line_ = next_line_;
    size_ = 0;
    columns_ = 0;
    cells_.clear();
    if (peek() < 0) return false;
    blank_ = true;
    do {
      std::string* out = nullptr;
      if (keep(columns_)) out = &cells_.emplace_back();
      ++columns_;
      cell(out);
    } while (take(delimiter_));
    blank_ = blank_ && columns_ == 1;
    if (take('\r') && peek() >= 0 && peek() != '\n') {
      throw refuse("there is a carriage return within a row", place(), "put cells with line ends in quotes");
    }
    if (take('\n')) ++next_line_;
    return true;
  }

  bool take(char c) {
    if (peek() != static_cast<unsigned char>(c)) return false;
    ++at_;
    return true;
  }

  /// Up to a delimiter or the end of the row.
  void cell(std::string* out) {
    if (take('"')) return quoted(out);
    for (int c = peek(); c >= 0 && c != '\n' && c != '\r' && c != static_cast<unsigned char>(delimiter_); c = peek()) {
      blank_ = false;
      run('\n', '\r', out);
    }
  }

  void quoted(std::string* out) {
    blank_ = false;
    for (;;) {
      const int c = peek();
      if (c < 0) {
        throw refuse("the quote of cell " + std::to_string(columns_) + " is not closed", place(),
                     "a quote within a cell is written twice");
      }
      if (c != '"') {
        run('"', '"', out);
      } else {
        ++at_;
        if (peek() != '"') break;
        ++at_;
        add("\"", out);
      }
    }
    const int c = peek();
    if (c < 0 || c == '\n' || c == '\r' || c == static_cast<unsigned char>(delimiter_)) return;
    throw refuse("cell " + std::to_string(columns_) + " goes on after its closing quote", place(),
                 "a quote within a cell is written twice, and the cell stands in quotes");
  }

  /// Reads what a byte order mark would take, and leaves one out.
  void begin() {
    begun_ = true;
    static constexpr std::string_view kMark = "\xef\xbb\xbf";
    while (first_.size() < kMark.size()) {
      const std::string_view more = bytes_->next();
      if (more.empty()) break;
      first_ += more;
    }
    piece_ = first_;
    if (piece_.starts_with(kMark)) at_ = kMark.size();
  }

  std::unique_ptr<Bytes> bytes_;
  char delimiter_;
  size_t most_;
  std::string first_;  ///< holds the first piece
  std::string_view piece_;
  size_t at_ = 0, size_ = 0;
  int64_t line_ = 1, next_line_ = 1, columns_ = 0;
  std::vector<std::string> cells_;
  bool begun_ = false, blank_ = false;
};

class Delimited : public DocumentReader {
 public:
  Delimited(std::unique_ptr<Bytes> bytes, std::string name, std::string field, char delimiter, size_t most)
      : rows_(std::move(bytes), delimiter, most), name_(std::move(name)), field_(std::move(field)) {}

  bool next(Document& document) override {
    if (column_ < 0) read_names();
    while (rows_.next([&](int64_t column) { return column == column_; })) {
      seen_ = true;
      if (rows_.columns() != columns_) {
        throw refuse(
            "the row has " + std::to_string(rows_.columns()) + " cells, the first line " + std::to_string(columns_),
            rows_.place(), "put cells with separators or line ends in quotes");
      }
      const std::string& cell = rows_.cells().front();
      if (cell.empty()) {
        ++empty_;
        continue;
      }
      require_text(cell, {rows_.name(), 0, rows_.line()});
      document = {.name = name_ + ":" + std::to_string(rows_.line()), .text = cell};
      return true;
    }
    if (!seen_) throw refuse("there is no row below the names", rows_.name(), "put rows into it, or remove it");
    return false;
  }

  int64_t empty() const override { return empty_; }

 private:
  void read_names() {
    if (!rows_.next([&](int64_t column) {
          if (column < kMostColumns) return true;
          throw refuse("there are more than " + std::to_string(kMostColumns) + " columns", rows_.place(),
                       "is this a table?");
        })) {
      throw refuse("the table is empty", rows_.name(), "put a line of names and rows into it, or remove it");
    }
    const std::vector<std::string>& names = rows_.cells();
    columns_ = rows_.columns();
    for (const std::string& name : names) require_text(name, {rows_.name(), 0, rows_.line()});
    const auto found = std::find(names.begin(), names.end(), field_);
    if (found == names.end()) {
      std::vector<std::string> shown;
      for (const std::string& name : names) shown.push_back(printable(name));
      throw refuse(
          "there is no column '" + printable(field_) + "'", rows_.place(),
          did_you_mean(field_, shown, "name the column that holds the text, e.g. field = \"" + shown.front() + "\""));
    }
    if (std::find(found + 1, names.end(), field_) != names.end()) {
      throw refuse("two columns are called '" + printable(field_) + "'", rows_.place(), "give each a name of its own");
    }
    column_ = found - names.begin();
  }

  static constexpr int64_t kMostColumns = 10'000;

  Rows rows_;
  std::string name_, field_;
  int64_t column_ = -1, columns_ = 0, empty_ = 0;
  bool seen_ = false;
};

}  // namespace

std::unique_ptr<DocumentReader> delimited(std::unique_ptr<Bytes> bytes, const std::string& name,
                                          const std::string& field, char delimiter, size_t most) {
  return std::make_unique<Delimited>(std::move(bytes), name, field, delimiter, most);
}

}  // namespace etude::corpus
