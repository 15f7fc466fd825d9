#include "etude/data/sets/roff_text.h"

#include <charconv>

#include "etude/base/text.h"
#include "etude/data/sets/markup.h"

namespace etude {
namespace {

/// groff_char(7), the part that pages use.
const std::map<std::string_view, std::string_view>& special_characters() {
  static const std::map<std::string_view, std::string_view> names = {
      {"-", "-"},   {"hy", "-"},  {"en", "–"},   {"em", "—"},   {"aq", "'"},  {"dq", "\""}, {"lq", "“"}, {"rq", "”"},
      {"oq", "‘"},  {"cq", "’"},  {"Bq", "„"},   {"bq", "‚"},   {"Fo", "«"},  {"Fc", "»"},  {"fo", "‹"}, {"fc", "›"},
      {"ga", "`"},  {"aa", "´"},  {"ha", "^"},   {"ti", "~"},   {"rs", "\\"}, {"sl", "/"},  {"ba", "|"}, {"or", "|"},
      {"bv", "|"},  {"br", "|"},  {"ul", "_"},   {"ru", "_"},   {"at", "@"},  {"sh", "#"},  {"Do", "$"}, {"lB", "["},
      {"rB", "]"},  {"lC", "{"},  {"rC", "}"},   {"la", "⟨"},   {"ra", "⟩"},  {"bu", "•"},  {"ci", "○"}, {"sq", "□"},
      {"co", "©"},  {"rg", "®"},  {"tm", "™"},   {"de", "°"},   {"sc", "§"},  {"ps", "¶"},  {"dg", "†"}, {"dd", "‡"},
      {"Eu", "€"},  {"eu", "€"},  {"Po", "£"},   {"ct", "¢"},   {"Ye", "¥"},  {"Cs", "¤"},  {"12", "½"}, {"14", "¼"},
      {"34", "¾"},  {"S1", "¹"},  {"S2", "²"},   {"S3", "³"},   {"+-", "±"},  {"mu", "×"},  {"di", "÷"}, {"pl", "+"},
      {"mi", "−"},  {"eq", "="},  {"<=", "≤"},   {">=", "≥"},   {"!=", "≠"},  {"==", "≡"},  {"~=", "≅"}, {"~~", "≈"},
      {"->", "→"},  {"<-", "←"},  {"<>", "↔"},   {"ua", "↑"},   {"da", "↓"},  {"rA", "⇒"},  {"lA", "⇐"}, {"if", "∞"},
      {"sr", "√"},  {"no", "¬"},  {"tno", "¬"},  {"mo", "∈"},   {"fm", "′"},  {"sd", "″"},  {"mc", "µ"}, {"ff", "ff"},
      {"fi", "fi"}, {"fl", "fl"}, {"Fi", "ffi"}, {"Fl", "ffl"}, {"r!", "¡"},  {"r?", "¿"},  {"ss", "ß"}, {"ae", "æ"},
      {"AE", "Æ"},  {"oe", "œ"},  {"OE", "Œ"},   {"oa", "å"},   {"oA", "Å"},  {"/o", "ø"},  {"/O", "Ø"}, {"/l", "ł"},
      {"/L", "Ł"},  {"-d", "đ"},  {"-D", "Ð"},   {"Tp", "þ"},   {"TP", "Þ"},  {":a", "ä"},  {":e", "ë"}, {":i", "ï"},
      {":o", "ö"},  {":u", "ü"},  {":y", "ÿ"},   {":A", "Ä"},   {":O", "Ö"},  {":U", "Ü"},  {"'a", "á"}, {"'e", "é"},
      {"'i", "í"},  {"'o", "ó"},  {"'u", "ú"},   {"'y", "ý"},   {"'c", "ć"},  {"'A", "Á"},  {"'E", "É"}, {"'I", "Í"},
      {"'O", "Ó"},  {"'U", "Ú"},  {"`a", "à"},   {"`e", "è"},   {"`i", "ì"},  {"`o", "ò"},  {"`u", "ù"}, {"`A", "À"},
      {"`E", "È"},  {"^a", "â"},  {"^e", "ê"},   {"^i", "î"},   {"^o", "ô"},  {"^u", "û"},  {"~a", "ã"}, {"~n", "ñ"},
      {"~o", "õ"},  {"~N", "Ñ"},  {",c", "ç"},   {",C", "Ç"},   {"vs", "š"},  {"vS", "Š"},  {"vz", "ž"}, {"vZ", "Ž"},
      {"*a", "α"},  {"*b", "β"},  {"*g", "γ"},   {"*d", "δ"},   {"*e", "ε"},  {"*l", "λ"},  {"*m", "μ"}, {"*p", "π"},
      {"*s", "σ"},  {"*w", "ω"},  {"*D", "Δ"},   {"*S", "Σ"},   {"*W", "Ω"}};
  return names;
}

/// Characters after a backslash that print something by themselves.
std::string_view printed(char c) {
  switch (c) {
    case ' ':
    case '~':
    case '0':
      return " ";
    case 't':
      return "\t";
    case 'e':
    case '\\':
      return "\\";
    case '-':
      return "-";
    case '.':
      return ".";
    case '\'':
      return "´";
    case '`':
      return "`";
    case '_':
      return "_";
    default:
      return "";
  }
}

/// Reads a line behind the backslashes.
class Escapes {
 public:
  Escapes(std::string_view line, const RoffStrings& strings) : rest_(line), strings_(strings) {}

  RoffLine resolved() {
    while (true) {
      const size_t at = rest_.find('\\');
      line_.text += rest_.substr(0, at);
      if (at == rest_.npos || at + 1 == rest_.size()) return std::move(line_);
      const char c = rest_[at + 1];
      rest_.remove_prefix(at + 2);
      if (c == '"' || c == '#') return std::move(line_);
      escape(c);
    }
  }

 private:
  void escape(char c) {
    constexpr std::string_view kNamed = "fFmMgkYVn";             // a name of one, of two or of more characters
    constexpr std::string_view kDelimited = "vwlLDboxXZABHSNR";  // 'anything'
    if (c == '(' || c == '[') {
      special(name(c));
    } else if (c == 'C') {
      special(delimited());
    } else if (c == '*') {
      const auto text = strings_.find(name());
      if (text != strings_.end()) line_.text += text->second;
    } else if (c == 's') {
      size();
    } else if (c == 'h') {
      const std::string_view distance = delimited();
      if (!distance.empty() && distance[0] != '-') line_.text += ' ';
    } else if (c == 'z') {
      character();
    } else if (c == 'c') {
      line_.goes_on = true;
    } else if (kNamed.find(c) != kNamed.npos) {
      name();
    } else if (kDelimited.find(c) != kDelimited.npos) {
      delimited();
    } else if (static_cast<unsigned char>(c) >= 0x80) {
      line_.text += c;  // the first byte of a character, which means nothing behind a backslash
    } else {
      line_.text += printed(c);
    }
  }

  std::string_view taken(size_t count) {
    const std::string_view text = rest_.substr(0, count);
    rest_.remove_prefix(text.size());
    return text;
  }

  /// One of UTF-8.
  std::string_view character() {
    size_t size = 1;
    while (size < rest_.size() && (rest_[size] & 0xC0) == 0x80) ++size;
    return taken(size);
  }

  std::string_view name() {
    const std::string_view first = character();
    if (first == "(" || first == "[") return name(first[0]);
    return first;
  }

  std::string_view name(char bracket) {
    if (bracket == '(') {
      const std::string_view both = rest_;
      return both.substr(0, character().size() + character().size());
    }
    const size_t end = rest_.find(']');
    if (end == rest_.npos) return {};
    const std::string_view text = taken(end);
    taken(1);
    return text;
  }

  std::string_view delimited() {
    const std::string_view mark = character();
    const size_t end = mark.empty() ? rest_.npos : rest_.find(mark);
    if (end == rest_.npos) return {};
    const std::string_view text = taken(end);
    taken(mark.size());
    return text;
  }

  /// "\s0", "\s-1", "\s+(10", "\s[12]", "\s'12'".
  void size() {
    if (rest_.starts_with('+') || rest_.starts_with('-')) taken(1);
    if (rest_.starts_with('[') || rest_.starts_with('(')) {
      name();
    } else if (rest_.starts_with('\'')) {
      delimited();
    } else if (rest_.starts_with('1') || rest_.starts_with('2') || rest_.starts_with('3')) {
      taken(rest_.size() > 1 && rest_[1] >= '0' && rest_[1] <= '9' ? 2 : 1);  // sizes from 10 to 39 have two digits
    } else {
      character();
    }
  }

  void special(std::string_view name) {
    const auto known = special_characters().find(name);
    if (known != special_characters().end()) {
      line_.text += known->second;
    } else if (name.size() >= 5 && name[0] == 'u') {
      uint32_t character = 0;
      const auto [end, error] = std::from_chars(name.data() + 1, name.data() + name.size(), character, 16);
      if (error == std::errc() && character > 0) append_character(line_.text, character);
    }
  }

  std::string_view rest_;
  const RoffStrings& strings_;
  RoffLine line_;
};

}  // namespace

RoffLine roff_text(std::string_view line, const RoffStrings& strings) { return Escapes(line, strings).resolved(); }

std::vector<std::string> roff_arguments(std::string_view line) {
  std::vector<std::string> arguments;
  size_t at = 0;
  while (true) {
    at = line.find_first_not_of(" \t", at);
    if (at == line.npos || line.substr(at, 2) == "\\\"") return arguments;
    std::string& argument = arguments.emplace_back();
    const bool quoted = line[at] == '"';
    if (quoted) ++at;
    while (at < line.size()) {
      const char c = line[at];
      if (quoted && c == '"') {
        if (at + 1 >= line.size() || line[at + 1] != '"') break;
        ++at;  // two quotes stand for one
      } else if (!quoted && (c == ' ' || c == '\t')) {
        break;
      } else if (c == '\\' && at + 1 < line.size()) {
        argument += c;
        ++at;
      }
      argument += line[at++];
    }
    if (quoted && at < line.size()) ++at;
  }
}

}  // namespace etude
