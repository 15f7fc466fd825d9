#include <deque>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

namespace etude::convert {

/// A word in each line; empty lines and words that came before are left out.
void words(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  std::deque<std::string> texts;  // what `seen` points into
  std::unordered_set<std::string_view> seen;
  for (const std::string& path : members.paths()) {
    const std::string_view all = texts.emplace_back(as_utf8(members.read(path)));
    for (size_t begin = 0; begin < all.size();) {
      const size_t end = std::min(all.find('\n', begin), all.size());
      const std::string_view word = trim(all.substr(begin, end - begin));
      begin = end + 1;
      if (!word.empty() && seen.insert(word).second) emit({{"id", word}, {"text", word}});
    }
  }
}

}  // namespace etude::convert
