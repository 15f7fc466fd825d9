#include "etude/data/sets/wml.h"

#include <algorithm>
#include <map>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

namespace etude {
namespace {

bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }

}  // namespace

void WmlReader::fail(std::string_view what, size_t at) const {
  const auto line = 1 + std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at), '\n');
  refuse_member(place_, std::string(what), line);
}

void WmlReader::skip_line() { at_ = std::min(text_.find('\n', at_), text_.size()); }

/// What stands up to `end`; goes on behind it.
std::string_view WmlReader::until(std::string_view end, std::string_view what) {
  const size_t found = text_.find(end, at_);
  if (found == text_.npos) fail(what, at_);
  const std::string_view between = text_.substr(at_, found - at_);
  at_ = found + end.size();
  return between;
}

/// Braces within braces belong to it; those within quotes don't count.
void WmlReader::macro() {
  const size_t begin = at_;
  int open = 0;
  bool within_quotes = false;
  for (; at_ < text_.size(); ++at_) {
    const char c = text_[at_];
    if (c == '"') within_quotes = !within_quotes;
    if (within_quotes) continue;
    if (c == '{') ++open;
    if (c == '}' && --open == 0) {
      ++at_;
      return;
    }
  }
  fail("a macro's '{' has no '}'", begin);
}

std::string WmlReader::quoted() {
  const size_t begin = at_++;
  std::string text;
  while (true) {
    const size_t end = text_.find('"', at_);
    if (end == text_.npos) fail("a text has no '\"' at its end", begin);
    text += text_.substr(at_, end - at_);
    at_ = end + 1;
    if (at_ >= text_.size() || text_[at_] != '"') return text;
    text += '"';
    ++at_;
  }
}

std::string WmlReader::value() {
  std::string value;
  bool goes_on = false;  // after a '+', on the next line too
  while (at_ < text_.size()) {
    const char c = text_[at_];
    if (c == '\n' && !goes_on) break;
    if (c == '#') {
      skip_line();
    } else if (is_blank(c) || c == '\n' || c == '_' || c == '+') {
      if (c == '+') goes_on = true;
      ++at_;
    } else if (c == '"') {
      value += quoted();
      goes_on = false;
    } else if (text_.substr(at_, 2) == "<<") {
      at_ += 2;
      value += until(">>", "a text has no '>>' at its end");
      goes_on = false;
    } else if (c == '{') {
      macro();
      goes_on = false;
    } else {
      const size_t end = std::min(text_.find_first_of("\n#{\"", at_), text_.size());
      value += trim(text_.substr(at_, end - at_));
      at_ = end;
      goes_on = false;
    }
  }
  return value;
}

void WmlReader::tag() {
  const size_t begin = at_++;
  const size_t end = text_.find_first_of("]\n", at_);
  if (end == text_.npos || text_[end] == '\n') fail("a tag has no ']'", begin);
  std::string_view name = text_.substr(at_, end - at_);
  at_ = end + 1;
  if (name.starts_with('/')) return close(name.substr(1));
  if (name.starts_with('+')) name.remove_prefix(1);
  line_ += std::count(text_.begin() + static_cast<std::ptrdiff_t>(counted_),
                      text_.begin() + static_cast<std::ptrdiff_t>(begin), '\n');
  counted_ = begin;
  open(name, line_);
}

void WmlReader::statement() {
  const char c = text_[at_];
  if (is_blank(c) || std::string_view("\n{}()").find(c) != std::string_view::npos) {
    ++at_;  // what a macro is given may be tags, too
  } else if (c == '#') {
    skip_line();
  } else if (c == '[') {
    tag();
  } else if (c == '"') {
    quoted();
  } else {
    const size_t end = std::min(text_.find_first_of("=\n{}()[#\"", at_), text_.size());
    const std::string_view key = trim(text_.substr(at_, end - at_));
    at_ = end;
    if (end == text_.size() || text_[end] != '=') return;
    ++at_;
    attribute(key, value());
  }
}

void WmlReader::read(std::string_view text, const std::string& place) {
  text_ = text;
  place_ = place;
  at_ = counted_ = 0;
  line_ = 1;
  while (at_ < text_.size()) statement();
}

namespace {

class Dialogue : public WmlReader {
 public:
  std::vector<WmlLine> lines() {
    std::map<int, int> turns;
    std::vector<WmlLine> said;
    for (WmlLine& line : lines_) {
      if (line.text.empty()) continue;
      line.event = line.dialogue > 0 ? events_[static_cast<size_t>(line.dialogue) - 1] : "";
      line.turn = ++turns[line.dialogue];
      said.push_back(std::move(line));
    }
    return said;
  }

 protected:
  void open(std::string_view tag, int64_t line) override {
    Level level{std::string(tag), event(), 0};
    if (tag == "event") {
      events_.emplace_back();
      level.event = static_cast<int>(events_.size());
    } else if (tag == "message") {
      lines_.emplace_back();
      lines_.back().dialogue = level.event;
      lines_.back().line = line;
      level.message = lines_.size();
    } else if (tag == "option") {
      level.message = levels_.empty() ? 0 : levels_.back().message;
    }
    levels_.push_back(std::move(level));
  }

  /// Where a condition has opened a tag twice, the inner one is closed by what closes the outer one.
  void close(std::string_view tag) override {
    for (size_t i = levels_.size(); i > 0 && i + kFarthest > levels_.size(); --i) {
      if (levels_[i - 1].tag == tag) return levels_.resize(i - 1);
    }
  }

  void attribute(std::string_view key, const std::string& value) override {
    if (levels_.empty()) return;
    const Level& level = levels_.back();
    if (level.tag == "event" && key == "name") events_[static_cast<size_t>(level.event) - 1] = value;
    if (level.message == 0) return;
    WmlLine& line = lines_[level.message - 1];
    if (level.tag == "message") {
      if (key == "speaker") line.speaker = value;
      if (key == "message") line.text = trim(value);
    } else if ((key == "label" || key == "message") && !trim(value).empty()) {
      line.options.emplace_back(trim(value));
    }
  }

 private:
  static constexpr size_t kFarthest = 100;  // levels that one tag closes; keeps hostile files linear

  struct Level {
    std::string tag;
    int event;       ///< number of the event around it
    size_t message;  ///< number of the message that its keys tell about; 0: none
  };
  int event() const { return levels_.empty() ? 0 : levels_.back().event; }

  std::vector<Level> levels_;
  std::vector<std::string> events_;  ///< their names
  std::vector<WmlLine> lines_;
};

}  // namespace

std::vector<WmlLine> read_wml_dialogue(std::string_view text, const std::string& place) {
  Dialogue dialogue;
  dialogue.read(text, place);
  return dialogue.lines();
}

}  // namespace etude
