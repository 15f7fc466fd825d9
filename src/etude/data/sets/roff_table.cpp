#include "etude/data/sets/roff_table.h"

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

namespace etude {
namespace {

/// Of the options "box tab(@);"; a tab without it.
char separator_of(std::string_view options) {
  const size_t at = options.find("tab");
  const size_t open = at == options.npos ? at : options.find('(', at);
  return open == options.npos || open + 1 >= options.size() ? '\t' : options[open + 1];
}

/// The text of a line within a cell: what a macro for fonts is given, and nothing of other requests.
std::string cell_text(std::string_view line, const RoffStrings& strings) {
  if (!line.starts_with('.') && !line.starts_with('\'')) return roff_text(line, strings).text;
  const size_t end = std::min(line.find_first_of(" \t"), line.size());
  const std::string_view name = line.substr(1, end > 0 ? end - 1 : 0);
  constexpr std::string_view kFonts[] = {"B", "I", "SM", "BI", "BR", "IB", "IR", "RB", "RI"};
  std::string text;
  for (const std::string_view font : kFonts) {
    if (font != name) continue;
    for (const std::string& argument : roff_arguments(line.substr(end))) {
      if (!text.empty() && name.size() == 1) text += ' ';
      text += roff_text(argument, strings).text;
    }
  }
  return text;
}

bool is_rule(std::string_view row) { return row.find_first_not_of("_=\t ") == row.npos || row.starts_with('.'); }

class Table {
 public:
  explicit Table(const RoffStrings& strings) : strings_(strings) {}

  void line(std::string_view line) {
    if (in_block_) {
      block_line(line);
    } else if (in_format_) {
      if (trim(line).ends_with(';') && rows_.empty()) separator_ = separator_of(line);
      if (trim(line).ends_with('.')) in_format_ = false;
    } else if (line.starts_with(".T&")) {
      in_format_ = true;
    } else if (!is_rule(line)) {
      row_.clear();
      cells(line);
    }
  }

  std::vector<std::string> rows() { return std::move(rows_); }

 private:
  /// Of the part of a row that stands on one line; its last cell may be a block "T{ ... T}".
  void cells(std::string_view line) {
    while (true) {
      const size_t end = line.find(separator_);
      const std::string_view cell = line.substr(0, end);
      if (trim(cell) == "T{") {
        in_block_ = true;
        return;
      }
      row_ += one_line(roff_text(cell, strings_).text);
      if (end == line.npos) break;
      row_ += '\t';
      line.remove_prefix(end + 1);
    }
    if (!trim(row_).empty()) rows_.push_back(row_);
  }

  void block_line(std::string_view line) {
    if (line.starts_with("T}")) {
      in_block_ = false;
      row_ += one_line(block_);
      block_.clear();
      line.remove_prefix(2);
      if (line.starts_with(separator_)) {
        row_ += '\t';
        return cells(line.substr(1));
      }
      rows_.push_back(row_);
    } else {
      block_ += " " + cell_text(line, strings_);
    }
  }

  const RoffStrings& strings_;
  std::vector<std::string> rows_;
  std::string row_, block_;
  char separator_ = '\t';
  bool in_format_ = true, in_block_ = false;
};

}  // namespace

std::vector<std::string> roff_table(const std::vector<std::string>& lines, const RoffStrings& strings) {
  Table table(strings);
  for (const std::string& line : lines) table.line(line);
  return table.rows();
}

}  // namespace etude
