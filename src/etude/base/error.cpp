#include "etude/base/error.h"

#include <algorithm>
#include <utility>

namespace etude {

std::string_view code_name(Code code) {
  switch (code) {
    case Code::usage:
      return "usage";
    case Code::config:
      return "config";
    case Code::data:
      return "data";
    case Code::checkpoint:
      return "checkpoint";
    case Code::numeric:
      return "numeric";
    case Code::comms:
      return "comms";
    case Code::device:
      return "device";
    case Code::io:
      return "io";
    case Code::internal:
      return "internal";
    case Code::interrupted:
      return "interrupted";
  }
  return "unknown";
}

Error::Error(Code code, std::string what, std::string where, std::string hint)
    : code_(code), message_(std::move(what)), where_(std::move(where)), hint_(std::move(hint)) {
  full_ = std::string(code_name(code_)) + ": " + message_;
  if (!where_.empty()) full_ += " (" + where_ + ")";
  if (!hint_.empty()) full_ += "\nhint: " + hint_;
}

Error Error::at(std::string where) const {
  return where_.empty() ? Error(code_, message_, std::move(where), hint_) : *this;
}

namespace {

char folded(char c) {
  if (c == '-') return '_';
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// Damerau-Levenshtein distance with unrestricted edits between transposed letters left out (the
/// "optimal string alignment" form); case and `-` against `_` don't count.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      const bool same = folded(a[i - 1]) == folded(b[j - 1]);
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (same ? 0 : 1)});
      const bool swapped =
          i > 1 && j > 1 && folded(a[i - 1]) == folded(b[j - 2]) && folded(a[i - 2]) == folded(b[j - 1]);
      if (swapped) now[j] = std::min(now[j], before[j - 2] + 1);
    }
    std::swap(before, last);
    std::swap(last, now);
  }
  return last[b.size()];
}

}  // namespace

std::vector<std::string> nearest(std::string_view word, const std::vector<std::string>& candidates) {
  const size_t limit = std::max<size_t>(1, word.size() / 3);
  std::vector<std::pair<size_t, size_t>> ranked;  // distance, index: ties keep the given order
  for (size_t i = 0; i < candidates.size(); ++i) {
    const std::string& c = candidates[i];
    const size_t gap = c.size() > word.size() ? c.size() - word.size() : word.size() - c.size();
    if (gap > limit) continue;
    const size_t d = distance(word, c);
    // A word of one or two letters is "near" to nearly everything at one edit.
    if (d <= limit && d < std::max(word.size(), c.size())) ranked.emplace_back(d, i);
  }
  std::stable_sort(ranked.begin(), ranked.end());
  std::vector<std::string> out;
  out.reserve(ranked.size());
  for (const auto& [d, i] : ranked) out.push_back(candidates[i]);
  return out;
}

std::string did_you_mean(std::string_view word, const std::vector<std::string>& candidates, std::string otherwise) {
  const std::vector<std::string> near = nearest(word, candidates);
  return near.empty() ? std::move(otherwise) : "did you mean '" + near.front() + "'?";
}

void check_failed(const char* condition, const char* file, int line, const std::string& message) {
  throw Error(Code::internal, message + " [" + condition + "]", std::string(file) + ":" + std::to_string(line),
              "this is a mistake in the program, not in your input; please report it");
}

}  // namespace etude
