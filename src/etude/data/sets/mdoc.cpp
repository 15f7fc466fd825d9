#include "etude/data/sets/mdoc.h"

#include <algorithm>
#include <map>

namespace etude {
namespace {

struct Pair {
  std::string_view open, close;
};

/// To the end of the line.
const std::map<std::string_view, Pair>& enclosures() {
  static const std::map<std::string_view, Pair> all = {
      {"Op", {"[", "]"}}, {"Bq", {"[", "]"}},   {"Pq", {"(", ")"}}, {"Aq", {"<", ">"}}, {"Brq", {"{", "}"}},
      {"Dq", {"“", "”"}}, {"Qq", {"\"", "\""}}, {"Sq", {"‘", "’"}}, {"Ql", {"‘", "’"}}, {"Q", {"\"", "\""}},
      {"D1", {"", ""}},   {"Dl", {"", ""}},     {"En", {"", ""}}};
  return all;
}

/// From one macro to another.
const std::map<std::string_view, std::string_view>& openings() {
  static const std::map<std::string_view, std::string_view> all = {
      {"Oo", "["}, {"Bo", "["}, {"Po", "("}, {"Ao", "<"}, {"Bro", "{"}, {"Do", "“"}, {"Qo", "\""}, {"So", "‘"}};
  return all;
}
const std::map<std::string_view, std::string_view>& closings() {
  static const std::map<std::string_view, std::string_view> all = {
      {"Oc", "]"}, {"Bc", "]"}, {"Pc", ")"}, {"Ac", ">"}, {"Brc", "}"}, {"Dc", "”"}, {"Qc", "\""}, {"Sc", "’"}};
  return all;
}

/// Names of systems.
const std::map<std::string_view, std::string_view>& systems() {
  static const std::map<std::string_view, std::string_view> all = {
      {"Bx", "BSD"},       {"Fx", "FreeBSD"}, {"Nx", "NetBSD"},   {"Ox", "OpenBSD"},
      {"Dx", "DragonFly"}, {"Ux", "UNIX"},    {"At", "AT&T UNIX"}};
  return all;
}

constexpr std::string_view kFonts[] = {"Ad", "Ar", "Cd", "Cm", "Dv", "Em", "Er", "Ev", "Fa",
                                       "Fd", "Ft", "Ic", "Lb", "Li", "Ms", "Mt", "No", "Pa",
                                       "St", "Sx", "Sy", "Tn", "Va", "Vt", "An", "Bf", "Ef"};
constexpr std::string_view kOthers[] = {"Ap", "Fl", "Fn", "In", "Lk", "Nm", "Ns", "Pf", "Ta", "Xc", "Xo", "Xr"};

template <size_t N>
bool among(const std::string_view (&words)[N], std::string_view word) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

bool is_macro(std::string_view word) {
  return enclosures().count(word) || openings().count(word) || closings().count(word) || systems().count(word) ||
         among(kFonts, word) || among(kOthers, word);
}

bool closes(std::string_view word) {
  return word.size() == 1 && std::string_view(".,:;)]?!").find(word[0]) != std::string_view::npos;
}
bool opens(std::string_view word) { return word == "(" || word == "["; }

class Line {
 public:
  Line(const std::string& name, const RoffStrings& strings) : name_(name), strings_(strings) {}

  void macro(std::string_view macro, const std::vector<std::string>& words, size_t& at) {
    dash_ = macro == "Fl";
    const bool has_word = at < words.size() && !is_macro(words[at]) && !closes(words[at]);
    if (const auto pair = enclosures().find(macro); pair != enclosures().end()) {
      put(pair->second.open);
      glued_ = glued_ || !pair->second.open.empty();
      ends_.push_back(pair->second.close);
    } else if (const auto opening = openings().find(macro); opening != openings().end()) {
      put(opening->second);
      glued_ = true;
    } else if (const auto closing = closings().find(macro); closing != closings().end()) {
      glued_ = true;
      put(closing->second);
    } else if (const auto system = systems().find(macro); system != systems().end()) {
      put(system->second);
    } else if (macro == "Fl" && !has_word) {
      put("-");
      glued_ = at < words.size() && is_macro(words[at]);
    } else if (macro == "Ar" && !has_word) {
      put("file ...");
    } else if (macro == "Nm" && !has_word) {
      put(name_);
    } else if (macro == "Ns" || macro == "Pf") {
      if (macro == "Pf" && at < words.size()) word(words[at++]);
      glued_ = true;
    } else if (macro == "Ap") {
      glued_ = true;
      put("'");
      glued_ = true;
    } else if (macro == "Ta") {
      text_ += '\t';
      glued_ = true;
    } else if (macro == "Xr" && has_word) {
      reference(words, at);
    } else if (macro == "Fn" && has_word) {
      call(words, at);
    } else if (macro == "In" && has_word) {
      put("#include <" + roff_text(words[at++], strings_).text + ">");
    }
  }

  void word(std::string_view raw) {
    if (closes(raw)) {
      glued_ = true;
      put(raw);
    } else {
      put((dash_ ? "-" : "") + roff_text(raw, strings_).text);
      if (opens(raw)) glued_ = true;
    }
  }

  /// Closes what reaches to the end of the line.
  void end_enclosures() {
    for (; !ends_.empty(); ends_.pop_back()) {
      glued_ = true;
      put(ends_.back());
    }
  }

  const std::string& text() const { return text_; }

 private:
  void put(std::string_view text) {
    if (text.empty()) return;
    if (!text_.empty() && !glued_) text_ += ' ';
    text_ += text;
    glued_ = false;
  }

  /// "Xr ls 1" as "ls(1)".
  void reference(const std::vector<std::string>& words, size_t& at) {
    put(roff_text(words[at++], strings_).text);
    if (at < words.size() && !is_macro(words[at]) && !closes(words[at])) {
      text_ += "(" + roff_text(words[at++], strings_).text + ")";
    }
  }

  /// "Fn f a b" as "f(a, b)".
  void call(const std::vector<std::string>& words, size_t& at) {
    put(roff_text(words[at++], strings_).text + "(");
    for (bool first = true; at < words.size() && !is_macro(words[at]) && !closes(words[at]); first = false) {
      text_ += (first ? "" : ", ") + roff_text(words[at++], strings_).text;
    }
    text_ += ')';
  }

  const std::string& name_;
  const RoffStrings& strings_;
  std::string text_;
  std::vector<std::string_view> ends_;
  bool glued_ = true, dash_ = false;
};

}  // namespace

std::string mdoc_text(std::string_view macro, const std::vector<std::string>& arguments, const std::string& name,
                      const RoffStrings& strings) {
  Line line(name, strings);
  size_t at = 0, last = arguments.size();
  while (last > 0 && closes(arguments[last - 1])) --last;
  line.macro(macro, arguments, at);
  while (at < arguments.size()) {
    if (at == last) line.end_enclosures();
    const std::string& argument = arguments[at++];
    if (is_macro(argument)) {
      line.macro(argument, arguments, at);
    } else {
      line.word(argument);
    }
  }
  line.end_enclosures();
  return line.text();
}

}  // namespace etude
