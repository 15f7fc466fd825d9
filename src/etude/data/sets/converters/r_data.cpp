#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "etude/base/text.h"
#include "etude/data/sets/archive.h"
#include "etude/data/sets/converters.h"
#include "etude/data/sets/rdata.h"

namespace etude::convert {
namespace {

std::vector<std::string> words_of(const std::string& text) {
  std::vector<std::string> words;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(' ', begin), text.size());
    if (end > begin) words.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return words;
}

nlohmann::json cell(const RObject& column, size_t row) {
  if (column.kind == RKind::real && std::isfinite(column.reals()[row])) return column.reals()[row];
  if (column.kind == RKind::integer && !column.is("factor") && column.integers()[row] != kRMissing) {
    return column.integers()[row];
  }
  if (column.kind == RKind::logical && column.integers()[row] != kRMissing) return column.integers()[row] != 0;
  const auto text = column.text(row);
  return text ? nlohmann::json(*text) : nlohmann::json();
}

/// A row is a document: `text` from the column of that option, the other columns as they are.
void emit_rows(const std::string& name, const RObject& value, const std::string& member, const SetDescription& set,
               const Emit& emit) {
  const RFrame frame = data_frame(value, member + ": " + name);
  const std::string text_column = set.option("text");
  const RObject& texts = frame.column(text_column);
  for (size_t row = 0; row < frame.rows; ++row) {
    const std::string text(trim(texts.text(row).value_or("")));
    if (text.empty()) continue;
    nlohmann::json document = {{"id", name + "#" + std::to_string(row + 1)}, {"text", text}};
    for (size_t i = 0; i < frame.columns.size(); ++i) {
      if (frame.names[i] != text_column) document[frame.names[i]] = cell(*frame.columns[i], row);
    }
    const std::string split = set.option("split:" + name);
    if (!split.empty()) document["split"] = split;
    emit(document);
  }
}

bool begins_chapter(std::string_view line) {
  line = trim(line);
  for (const std::string_view word : {"CHAPTER ", "Chapter "}) {
    if (line.starts_with(word) && line.size() < 24) return true;
  }
  return false;
}

/// Lines of a book: a chapter is a document. What stands before the first one (title, author) has number 0.
void emit_chapters(const std::string& name, const RObject& lines, const Emit& emit) {
  int number = 0;
  size_t count = 0;
  std::string text, heading;
  const auto end_chapter = [&] {
    const size_t first = text.find_first_not_of('\n');
    if (first != text.npos) {
      emit({{"id", name + "#" + std::to_string(number)},
            {"text", text.substr(first, text.find_last_not_of('\n') + 1 - first)},
            {"book", name},
            {"chapter", number},
            {"heading", heading},
            {"lines", count}});
    }
    text.clear();
    count = 0;
  };
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string line = lines.text(i).value_or("");
    if (begins_chapter(line)) {
      end_chapter();
      ++number;
      heading = trim(line);
    }
    text.append(line).append("\n");
    ++count;
  }
  end_chapter();
}

}  // namespace

/// Options: `values`, the names of R's values in the order they are taken, all without it; `text`, the column that is
/// the text of data frames; `split:NAME`, which field `split` the rows of a value get. Values that are vectors of texts
/// are the lines of a book. Fields: the other columns; or book, chapter, heading, lines (how many there were).
void r_data(const MemberFiles& members, const SetDescription& set, const Emit& emit) {
  const std::vector<std::string> wanted = words_of(set.option("values"));
  const auto convert = [&](const std::string& member, const std::string& name, const RObject& value) {
    if (value.kind == RKind::text) {
      emit_chapters(name, value, emit);
    } else {
      emit_rows(name, value, member, set, emit);
    }
  };
  for (const std::string& member : members_like(members, "**.rda")) {
    for (const auto& [name, value] : read_rda(unpacked(members.read(member), member), member)) {
      if (wanted.empty() || std::find(wanted.begin(), wanted.end(), name) != wanted.end())
        convert(member, name, *value);
    }
  }
  for (const std::string& index : members_like(members, "**.rdx")) {
    const std::string stem = index.substr(0, index.size() - 4);
    if (!std::binary_search(members.paths().begin(), members.paths().end(), stem + ".rdb")) {
      refuse_member(stem + ".rdb", "the values of this index are missing");
    }
    const std::string rdb = members.read(stem + ".rdb");
    const RLazyData data(unpacked(members.read(index), index), rdb, stem);
    for (const std::string& name : wanted.empty() ? data.names() : wanted) convert(stem, name, *data.read(name));
  }
}

}  // namespace etude::convert
