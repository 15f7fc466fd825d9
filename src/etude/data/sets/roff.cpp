#include "etude/data/sets/roff.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"
#include "etude/data/sets/mdoc.h"
#include "etude/data/sets/roff_table.h"
#include "etude/data/sets/roff_text.h"
#include "etude/data/sets/text_flow.h"

namespace etude {
namespace {

using Lines = std::vector<std::string>;

/// Lines, those that end in a backslash joined with the next.
Lines lines_of(std::string_view source) {
  Lines lines;
  bool joins = false;
  while (!source.empty()) {
    std::string_view line = source.substr(0, source.find('\n'));
    source.remove_prefix(std::min(source.size(), line.size() + 1));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const size_t text_end = line.find_last_not_of('\\');
    const size_t backslashes = line.size() - (text_end == line.npos ? 0 : text_end + 1);
    const bool joins_next = backslashes % 2 == 1;
    if (joins_next) line.remove_suffix(1);
    if (joins) {
      lines.back() += line;
    } else {
      lines.emplace_back(line);
    }
    joins = joins_next;
  }
  return lines;
}

bool is_control(std::string_view line) { return line.starts_with('.') || line.starts_with('\''); }

/// "PP" of ".  PP 4", and what stands behind it.
std::pair<std::string_view, std::string_view> request_of(std::string_view line) {
  line.remove_prefix(1);
  line = line.substr(std::min(line.find_first_not_of(" \t"), line.size()));
  const size_t end = std::min(line.find_first_of(" \t"), line.size());
  size_t name_end = std::min(line.find('\\'), end);
  return {line.substr(0, name_end), line.substr(name_end)};
}

class Page {
 public:
  explicit Page(const std::string& place) : place_(place) {
    strings_ = {{"R", "®"}, {"Tm", "™"}, {"lq", "“"}, {"rq", "”"}, {"Aq", "'"}, {"C'", "'"}, {"C`", "`"}};
  }

  ManualPage read(std::string_view source) {
    const Lines lines = lines_of(source);
    budget_ = 20 * source.size() + (size_t{1} << 16);
    run(lines, 0);
    page_.text = std::string(trim(flow_.finished()));
    return std::move(page_);
  }

 private:
  static constexpr int kDeepest = 10;
  static constexpr size_t kLongestString = 1000;

  // What a request does needs the lines around it: conditions and definitions reach over several.
  struct Cursor {
    const Lines& lines;
    size_t next = 0;
    int depth = 0;
  };

  void run(const Lines& lines, int depth) {
    Cursor cursor{lines, 0, depth};
    while (cursor.next < lines.size()) {
      const std::string& line = lines[cursor.next++];
      if (depth == 0) line_ = static_cast<int64_t>(cursor.next);
      process(line, cursor);
    }
  }

  void process(std::string_view line, Cursor& cursor) {
    if (line.size() >= budget_) refuse_member(place_, "its macros expand to far more than the page has", line_);
    budget_ -= line.size() + 1;
    if (is_control(line)) {
      control(line, cursor);
    } else {
      text_line(line);
    }
  }

  void text_line(std::string_view line) {
    const RoffLine text = roff_text(line, strings_);
    if (keeps_lines_) {
      pending_tag_ = false;
      return flow_.line(text.text);
    }
    if (trim(text.text).empty()) return line.empty() ? flow_.end_paragraph() : void();
    if (line.starts_with(' ')) flow_.end_line();
    put(text.text, text.goes_on);
  }

  void put(std::string_view text, bool goes_on = false) {
    if (!text.empty() && heading_) {
      heading_ = false;
      flow_.line(text);
      return;
    }
    flow_.words(one_line(text), goes_on && !text.ends_with(' '));
    if (pending_tag_ && !text.empty()) {
      pending_tag_ = false;
      flow_.end_line();
    }
  }

  void control(std::string_view line, Cursor& cursor) {
    const auto [name, rest] = request_of(line);
    if (name.empty()) return;  // a comment, an empty request, the end of a block
    if (const auto defined = macros_.find(name); defined != macros_.end()) return call(defined->second, rest, cursor);
    if (structure(name, rest, cursor)) return;
    if (name == "Dd" || name == "Dt") is_mdoc_ = true;
    if (is_mdoc_ ? mdoc(name, rest) : man(name, rest)) return;
    layout(name);
  }

  // Conditions, definitions, tables: requests that decide which lines are read.

  bool structure(std::string_view name, std::string_view rest, Cursor& cursor) {
    if (name == "if" || name == "ie") {
      const bool holds = condition(rest);
      if (name == "ie") otherwise_.push_back(!holds);
      branch(holds, rest, cursor);
    } else if (name == "el") {
      const bool holds = !otherwise_.empty() && otherwise_.back();
      if (!otherwise_.empty()) otherwise_.pop_back();
      branch(holds, trim(rest), cursor);
    } else if (name == "de" || name == "de1" || name == "am" || name == "ig") {
      define(name, rest, cursor);
    } else if (name == "ds" || name == "as") {
      define_string(rest);
    } else if (name == "TS") {
      table(cursor);
    } else if (name == "EQ" || name == "PS") {
      skip_to(name == "EQ" ? ".EN" : ".PE", cursor);
    } else {
      return false;
    }
    return true;
  }

  /// Takes the condition off the text. What depends on registers that a page sets holds not.
  bool condition(std::string_view& text) const {
    text = trim(text);
    bool inverted = false;
    while (text.starts_with('!')) {
      inverted = !inverted;
      text.remove_prefix(1);
    }
    bool holds = false;
    size_t end = std::min(text.find_first_of(" \t"), text.size());
    if (text.starts_with('\'') || text.starts_with('"')) {
      const size_t second = text.find(text[0], 1),
                   third = second == text.npos ? second : text.find(text[0], second + 1);
      if (third == text.npos) return false;
      holds = roff_text(text.substr(1, second - 1), strings_).text ==
              roff_text(text.substr(second + 1, third - second - 1), strings_).text;
      end = third + 1;
    } else {
      const std::string_view word = text.substr(0, end);
      holds = word == "n" || word == "o" || word == "1" || word == "\\n(.g" || word == "\\n[.g]";
    }
    text = trim(text.substr(end));
    return holds != inverted;
  }

  void branch(bool holds, std::string_view rest, Cursor& cursor) {
    const bool block = rest.starts_with("\\{");
    if (block) rest = trim(rest.substr(2));
    if (holds) {
      if (!rest.empty()) process(rest, cursor);
    } else if (block) {
      skip_block(rest, cursor);
    }
  }

  static int opened(std::string_view line) {
    int count = 0;
    for (size_t at = 0; (at = line.find('\\', at)) != line.npos && at + 1 < line.size(); at += 2) {
      count += line[at + 1] == '{' ? 1 : line[at + 1] == '}' ? -1 : 0;
    }
    return count;
  }

  static void skip_block(std::string_view rest, Cursor& cursor) {
    int depth = 1 + opened(rest);
    while (depth > 0 && cursor.next < cursor.lines.size()) depth += opened(cursor.lines[cursor.next++]);
  }

  static Lines skip_to(std::string_view end, Cursor& cursor) {
    Lines passed;
    while (cursor.next < cursor.lines.size()) {
      const std::string& line = cursor.lines[cursor.next++];
      if (is_control(line) && trim(std::string_view(line).substr(1)) == end.substr(1)) break;
      passed.push_back(line);
    }
    return passed;
  }

  void define(std::string_view request, std::string_view rest, Cursor& cursor) {
    const std::vector<std::string> words = roff_arguments(rest);
    const size_t end_at = request == "ig" ? 0 : 1;
    const std::string end = words.size() > end_at ? "." + words[end_at] : "..";
    Lines body = skip_to(end, cursor);
    // Macros of man(7) that pages define for older formatters, and of pod2man(1), are known here.
    if (request == "ig" || request == "am" || words.empty() || knows(words[0])) return;
    macros_[words[0]] = std::move(body);
  }

  static bool knows(std::string_view name) {
    constexpr std::string_view kKnown[] = {"EE",  "EX", "Sp", "Vb", "Ve", "UR", "UE",     "MT",       "ME", "URL",
                                           "MTO", "SY", "YS", "OP", "TQ", "FN", "INDENT", "UNINDENT", "IX"};
    return std::find(std::begin(kKnown), std::end(kKnown), name) != std::end(kKnown);
  }

  void call(const Lines& body, std::string_view rest, Cursor& cursor) {
    if (cursor.depth >= kDeepest) return;
    const std::vector<std::string> arguments = roff_arguments(rest);
    Lines lines;
    for (const std::string& line : body) lines.push_back(with_arguments(line, arguments));
    run(lines, cursor.depth + 1);
  }

  /// The line of a macro with "\\$1" replaced, and one backslash less before other escapes.
  std::string with_arguments(std::string_view line, const std::vector<std::string>& arguments) {
    std::string text;
    while (!line.empty()) {
      const bool doubled = line.starts_with("\\\\");
      const std::string_view behind = line.substr(doubled ? 2 : std::min<size_t>(1, line.size()));
      if (line[0] == '\\' && behind.starts_with('$') && behind.size() > 1) {
        const size_t index = static_cast<size_t>(behind[1] - '1');
        if (index < arguments.size()) text += arguments[index];
        if (behind[1] == '*' || behind[1] == '@') {
          for (const std::string& argument : arguments) text += argument + " ";
        }
        line = behind.substr(2);
      } else {
        text += line[0];
        line = behind;
      }
      if (text.size() > budget_) refuse_member(place_, "its macros expand to far more than the page has", line_);
    }
    budget_ -= text.size();
    return text;
  }

  void define_string(std::string_view rest) {
    rest = trim(rest);
    const std::string name(rest.substr(0, rest.find_first_of(" \t")));
    rest = trim(rest.substr(name.size()));
    if (rest.starts_with('"')) rest.remove_prefix(1);
    const std::string text = roff_text(rest, strings_).text;
    if (text.size() <= kLongestString && name != "Aq") strings_[name] = text;
  }

  void table(Cursor& cursor) {
    flow_.end_paragraph();
    for (const std::string& row : roff_table(skip_to(".TE", cursor), strings_)) flow_.line(row);
    flow_.end_paragraph();
  }

  // Macros that print.

  std::vector<std::string> printed(std::string_view rest) const {
    std::vector<std::string> texts;
    for (const std::string& argument : roff_arguments(rest)) texts.push_back(roff_text(argument, strings_).text);
    return texts;
  }

  static std::string joined(const std::vector<std::string>& texts, std::string_view between = " ") {
    std::string all;
    for (const std::string& text : texts) {
      if (&text != &texts.front()) all += between;
      all += text;
    }
    return all;
  }

  void heading(const std::string& text) {
    flow_.end_paragraph();
    keeps_lines_ = pending_tag_ = false;
    heading_ = text.empty();  // the next line is it
    if (!text.empty()) flow_.line(one_line(text));
  }

  /// A line of output by itself where lines are kept, else part of the paragraph.
  void font(const std::string& text, bool goes_on) {
    if (keeps_lines_) {
      flow_.line(text);
    } else {
      put(text, goes_on);
    }
  }

  bool man(std::string_view name, std::string_view rest) {
    constexpr std::string_view kFonts[] = {"B", "I", "R", "SM", "SB"};
    constexpr std::string_view kMixed[] = {"BI", "BR", "IB", "IR", "RB", "RI", "FN"};
    const auto is = [&](const auto& words) {
      return std::find(std::begin(words), std::end(words), name) != std::end(words);
    };
    if (is(kFonts) || is(kMixed)) {
      const bool goes_on = rest.ends_with("\\c");
      font(joined(printed(rest), is(kFonts) ? " " : ""), goes_on);
    } else if (name == "TH") {
      const std::vector<std::string> words = printed(rest);
      if (!words.empty()) page_.title = words[0];
      if (words.size() > 1) page_.section = words[1];
    } else if (name == "SH" || name == "SS") {
      heading(joined(printed(rest)));
    } else if (name == "TP" || name == "TQ") {
      name == "TP" ? flow_.end_paragraph() : flow_.end_line();
      pending_tag_ = true;
    } else if (name == "IP") {
      item(printed(rest));
    } else if (name == "UR" || name == "MT") {
      address_ = joined(printed(rest));
    } else if (name == "UE" || name == "ME") {
      if (!address_.empty()) put("<" + std::exchange(address_, {}) + ">" + joined(printed(rest), ""));
    } else if (name == "URL" || name == "MTO") {
      const std::vector<std::string> words = printed(rest);
      if (words.size() > 1 && !words[1].empty()) put(words[1]);
      if (!words.empty()) put("<" + words[0] + ">" + (words.size() > 2 ? words[2] : ""));
    } else if (name == "SY") {
      flow_.end_line();
      put(joined(printed(rest)));
    } else if (name == "OP") {
      put("[" + joined(printed(rest)) + "]");
    } else {
      return false;
    }
    return true;
  }

  void item(const std::vector<std::string>& words) {
    flow_.end_paragraph();
    if (words.empty() || words[0].empty()) return;
    put(words[0]);
    if (columns_of(words[0]) > 3) flow_.end_line();  // a bullet or a number stands before its text
  }
  static int columns_of(const std::string& text) { return columns(printable(text)); }

  bool mdoc(std::string_view name, std::string_view rest) {
    const std::vector<std::string> words = roff_arguments(rest);
    if (name == "Dt") {
      if (!words.empty()) page_.title = words[0];
      if (words.size() > 1) page_.section = words[1];
    } else if (name == "Sh" || name == "Ss") {
      heading(joined(printed(rest)));
    } else if (name == "Pp" || name == "Lp") {
      flow_.end_paragraph();
    } else if (name == "Nd") {
      put("— " + joined(printed(rest)));
    } else if (name == "Bl") {
      lists_.push_back(words.empty() ? "" : words[0]);
      flow_.end_paragraph();
    } else if (name == "El") {
      if (!lists_.empty()) lists_.pop_back();
      flow_.end_paragraph();
    } else if (name == "It") {
      mdoc_item(words);
    } else if (name == "Bd") {
      flow_.end_paragraph();
      keeps_lines_ = !words.empty() && (words[0] == "-literal" || words[0] == "-unfilled");
    } else if (name == "Ed") {
      keeps_lines_ = false;
      flow_.end_paragraph();
    } else if (name == "Dd" || name == "Os" || name == "Bk" || name == "Ek" || name == "Sm" || name == "Rs" ||
               name == "Re" || name == "Tg") {
      return true;
    } else if (name.starts_with('%')) {
      put(joined(printed(rest)) + (name == "%O" ? "." : ","));
    } else if (name == "D1" || name == "Dl") {
      flow_.line(mdoc_text("No", words, name_, strings_));
    } else if (name == "Ex" || name == "Rv") {
      put("The " + (words.size() > 1 ? words[1] : name_) + " utility exits 0 on success, and >0 if an error occurs.");
    } else if (name.size() >= 2 && name.size() <= 3 && name[0] >= 'A' && name[0] <= 'Z') {
      if (name == "Nm" && name_.empty() && !words.empty()) name_ = words[0];
      font(mdoc_text(name, words, name_, strings_), false);
    } else {
      return false;
    }
    return true;
  }

  void mdoc_item(const std::vector<std::string>& words) {
    const std::string& kind = lists_.empty() ? std::string() : lists_.back();
    flow_.end_line();
    if (kind != "-column") flow_.end_paragraph();
    if (kind == "-bullet" || kind == "-dash" || kind == "-hyphen" || kind == "-enum") return put("•");
    if (words.empty()) return;
    put(mdoc_text("No", words, name_, strings_));
    if (kind != "-column") flow_.end_line();
  }

  /// Requests that only place text, in pages of either kind. What is unknown prints nothing.
  void layout(std::string_view name) {
    constexpr std::string_view kParagraphs[] = {"PP", "P", "LP", "HP", "sp", "Sp", "YS", "RS", "RE"};
    if (std::find(std::begin(kParagraphs), std::end(kParagraphs), name) != std::end(kParagraphs)) {
      flow_.end_paragraph();
      pending_tag_ = false;
    } else if (name == "br" || name == "ti" || name == "ce" || name == "in") {
      flow_.end_line();
    } else if (name == "nf" || name == "EX" || name == "Vb") {
      flow_.end_line();
      keeps_lines_ = true;
    } else if (name == "fi" || name == "EE" || name == "Ve") {
      flow_.end_line();
      keeps_lines_ = false;
    }
  }

  const std::string& place_;
  ManualPage page_;
  TextFlow flow_;
  RoffStrings strings_;
  std::map<std::string, Lines, std::less<>> macros_;
  std::vector<bool> otherwise_;     ///< of each "ie" whose "el" is to come
  std::vector<std::string> lists_;  ///< kinds of mdoc's open lists
  std::string name_, address_;
  size_t budget_ = 0;  ///< bytes that may still be processed
  int64_t line_ = 0;
  bool is_mdoc_ = false, keeps_lines_ = false, heading_ = false, pending_tag_ = false;
};

}  // namespace

ManualPage read_manual_page(std::string_view source, const std::string& place) { return Page(place).read(source); }

}  // namespace etude
