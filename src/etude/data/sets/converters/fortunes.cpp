#include <nlohmann/json.hpp>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

namespace etude::convert {
namespace {

/// The text with strokes that print one character over another taken away: of "a\bX" the last stands.
std::string without_overstrikes(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c != '\b') {
      out += c;
      continue;
    }
    while (!out.empty() && (out.back() & 0xC0) == 0x80) out.pop_back();  // the rest of a character
    if (!out.empty() && out.back() != '\n') out.pop_back();
  }
  return out;
}

std::string_view file_name(std::string_view path) { return path.substr(path.rfind('/') + 1); }

}  // namespace

/// A record stands between lines of a single '%'. Fields: label (the file's name).
void fortunes(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  for (const std::string& path : members.paths()) {
    const std::string_view name = file_name(path);
    if (name.ends_with(".dat") || name.ends_with(".u8")) continue;  // an index; the same file again
    const std::string all = as_utf8(members.read(path));
    int64_t number = 0;
    std::string record;
    const auto end_record = [&] {
      std::string text = without_overstrikes(record);
      while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
      record.clear();
      if (trim(text).empty()) return;
      ++number;
      emit({{"id", std::string(name) + "/" + std::to_string(number)}, {"text", text}, {"label", name}});
    };
    for (size_t begin = 0; begin < all.size();) {
      const size_t end = std::min(all.find('\n', begin), all.size());
      const std::string_view line(all.data() + begin, end - begin);
      if (line == "%" || line == "%\r")
        end_record();
      else
        record.append(line).append("\n");
      begin = end + 1;
    }
    end_record();
  }
}

}  // namespace etude::convert
