#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

// Metamath (N. Megill, D. A. Wheeler, "Metamath", second edition, chapter 4 and appendix B). Tokens stand between
// blanks. ${ and $} open and close a scope of variables and hypotheses; "L $f T V $." gives the variable V the type T,
// "L $e ... $." is a premise, "L $a ... $." an axiom, "L $p ... $= PROOF $." a theorem. What a theorem needs are the
// premises in its scope and the types of the variables that stand in them and in it, in the order of the file.

namespace etude::convert {
namespace {

using Tokens = std::vector<std::string_view>;

bool blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r' || c == '\f'; }

std::string joined(const Tokens& tokens, std::string_view between = " ") {
  std::string out;
  for (const std::string_view token : tokens) out.append(out.empty() ? "" : between).append(token);
  return out;
}

struct Hypothesis {
  std::string_view label;
  Tokens statement;        ///< the type and what follows it
  std::string_view typed;  ///< the variable of a $f; empty for a $e
};

class Database {
 public:
  Database(const std::string& member, std::string_view text, const Emit& emit)
      : member_(member), text_(text), emit_(emit) {}

  void read() {
    for (std::string_view token; !(token = next()).empty();) {
      if (token == "${") {
        scopes_.push_back(hypotheses_.size());
      } else if (token == "$}") {
        if (scopes_.empty()) refuse("a scope is closed that was never opened");
        hypotheses_.resize(scopes_.back());
        scopes_.pop_back();
      } else if (token == "$c" || token == "$d") {
        until("$.");
      } else if (token == "$v") {
        for (const std::string_view variable : until("$.")) variables_.insert(variable);
      } else if (token == "$[") {
        refuse("it includes another file");
      } else if (token.front() == '$') {
        refuse("'" + printable(token) + "' stands where a label should");
      } else {
        labelled(token);
      }
    }
    if (!scopes_.empty()) refuse("a scope is not closed");
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    refuse_member(member_, what, std::count(text_.begin(), text_.begin() + static_cast<std::ptrdiff_t>(at_), '\n') + 1);
  }

  std::string_view raw() {
    while (at_ < text_.size() && blank(text_[at_])) ++at_;
    const size_t begin = at_;
    while (at_ < text_.size() && !blank(text_[at_])) ++at_;
    return text_.substr(begin, at_ - begin);
  }

  /// The next token that is no comment; the last comment is kept.
  std::string_view next() {
    std::string_view token = raw();
    while (token == "$(") {
      const size_t begin = at_, end = text_.find("$)", begin);
      if (end == text_.npos) refuse("a comment is not closed");
      comment_ = text_.substr(begin, end - begin);
      at_ = end + 2;
      token = raw();
    }
    return token;
  }

  Tokens until(std::string_view close) {
    Tokens tokens;
    for (std::string_view token; (token = next()) != close; tokens.push_back(token))
      if (token.empty()) refuse("a statement is not ended by '" + std::string(close) + "'");
    return tokens;
  }

  void labelled(std::string_view label) {
    const std::string_view comment = comment_;
    comment_ = {};
    const std::string_view keyword = next();
    if (keyword == "$f") {
      const Tokens statement = until("$.");
      if (statement.size() != 2) refuse("'" + printable(label) + "' is no type of a variable");
      hypotheses_.push_back({label, statement, statement[1]});
    } else if (keyword == "$e") {
      hypotheses_.push_back({label, until("$."), {}});
    } else if (keyword == "$a") {
      until("$.");
    } else if (keyword == "$p") {
      const Tokens statement = until("$=");
      theorem(label, statement, until("$."), one_line(comment));
    } else {
      refuse("'" + printable(label) + "' is no label: '" + printable(keyword) + "' follows it");
    }
  }

  std::vector<const Hypothesis*> needed(const Tokens& statement) const {
    std::unordered_set<std::string_view> used;
    const auto see = [&](const Tokens& tokens) {
      for (const std::string_view token : tokens)
        if (variables_.count(token)) used.insert(token);
    };
    see(statement);
    for (const Hypothesis& h : hypotheses_)
      if (h.typed.empty()) see(h.statement);
    std::vector<const Hypothesis*> found;
    for (const Hypothesis& h : hypotheses_)
      if (h.typed.empty() || used.count(h.typed)) found.push_back(&h);
    return found;
  }

  /// "( LABELS ) LETTERS" as steps: a label; with ":K" behind it, if its result is kept as the K-th; "@K" uses that.
  std::vector<std::string> steps(std::string_view label, const Tokens& proof,
                                 const std::vector<const Hypothesis*>& hypotheses) const {
    if (proof.empty() || proof.front() != "(") return {proof.begin(), proof.end()};
    const auto close = std::find(proof.begin(), proof.end(), ")");
    if (close == proof.end()) refuse("the proof of '" + printable(label) + "' has no ')'");
    Tokens known;
    for (const Hypothesis* h : hypotheses) known.push_back(h->label);
    known.insert(known.end(), proof.begin() + 1, close);
    std::vector<std::string> out;
    size_t kept = 0, number = 0;
    for (const char c : joined({close + 1, proof.end()}, "")) {
      if (c == 'Z') {
        if (out.empty() || number != 0) refuse("the proof of '" + printable(label) + "' keeps what isn't there");
        out.back() += ":" + std::to_string(++kept);
      } else if (c == '?') {
        out.push_back("?");
      } else if (c >= 'U' && c <= 'Y') {
        number = number * 5 + static_cast<size_t>(c - 'U' + 1);
        if (number > proof.size() + hypotheses.size() + text_.size())
          refuse("the proof of '" + printable(label) + "' has a number that is too large");
      } else if (c >= 'A' && c <= 'T') {
        const size_t index = number * 20 + static_cast<size_t>(c - 'A');
        number = 0;
        if (index < known.size())
          out.emplace_back(known[index]);
        else if (index - known.size() < kept)
          out.push_back("@" + std::to_string(index - known.size() + 1));
        else
          refuse("the proof of '" + printable(label) + "' uses a step that isn't there");
      } else {
        refuse("the proof of '" + printable(label) + "' has the letter '" + printable({&c, 1}) + "'");
      }
    }
    return out;
  }

  void theorem(std::string_view label, const Tokens& statement, const Tokens& proof, const std::string& comment) {
    const std::vector<const Hypothesis*> hypotheses = needed(statement);
    const std::vector<std::string> steps_taken = steps(label, proof, hypotheses);
    std::string steps_text, text;
    for (const std::string& step : steps_taken) steps_text += (steps_text.empty() ? "" : " ") + step;
    std::vector<std::string> premises;
    for (const Hypothesis* h : hypotheses) {
      if (!h->typed.empty()) continue;
      premises.push_back(joined(h->statement));
      text += std::string(h->label) + " $e " + premises.back() + " $.\n";
    }
    const std::string all = joined(statement);
    emit_({{"id", std::string(label)},
           {"text", text + std::string(label) + " $p " + all + " $= " + steps_text + " $."},
           {"label", std::string(label)},
           {"hypotheses", premises},
           {"statement", all},
           {"proof", steps_text},
           {"comment", comment}});
  }

  const std::string member_;
  const std::string_view text_;
  const Emit& emit_;
  size_t at_ = 0;
  std::string_view comment_;
  std::vector<Hypothesis> hypotheses_;
  std::vector<size_t> scopes_;
  std::unordered_set<std::string_view> variables_;
};

}  // namespace

/// A theorem is a document: its premises and itself as Metamath writes them, with the proof's steps by name. Fields:
/// label, hypotheses, statement, proof, comment, database (the file's name).
void metamath(const MemberFiles& members, const SetDescription&, const Emit& emit) {
  for (const std::string& path : members_like(members, "**.mm")) {
    const std::string text = as_utf8(members.read(path));
    const std::string name = path.substr(path.rfind('/') + 1), database = name.substr(0, name.size() - 3);
    const bool only = members.paths().size() == 1;
    Database(path, text, [&](const nlohmann::json& theorem) {
      nlohmann::json document = theorem;
      document["database"] = database;
      if (!only) document["id"] = database + "/" + theorem["id"].get<std::string>();
      emit(document);
    }).read();
  }
}

}  // namespace etude::convert
