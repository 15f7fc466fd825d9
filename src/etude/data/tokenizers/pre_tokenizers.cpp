#include "etude/data/tokenizers/pre_tokenizers.h"

#include <algorithm>

#include "etude/base/text.h"
#include "etude/data/tokenizers/byte_characters.h"
#include "etude/data/tokenizers/text_pattern.h"
#include "etude/data/tokenizers/token_model.h"
#include "etude/data/tokenizers/unicode.h"
#include "etude/data/tokenizers/word_scanner.h"

namespace etude {
namespace {

using Range = PieceText::Range;

enum class Behavior { removed, isolated, merged_with_previous, merged_with_next, contiguous };

/// A match of the pattern or what stands between two of them.
struct Part {
  Range range;
  bool match;
};

/// Cuts pieces where a pattern matches.
class Splitter : public PreTokenizer {
 public:
  Splitter(std::unique_ptr<TextPattern> pattern, Behavior behavior, bool invert = false)
      : pattern_(std::move(pattern)), behavior_(behavior), invert_(invert) {}

  void apply(PieceText& text) const override {
    std::vector<Range> cut;
    std::vector<Range> matches;
    std::vector<Part> parts;
    for (const Range& piece : text.pieces) {
      matches.clear();
      pattern_->find(text.text, piece, matches);
      parts.clear();
      size_t at = piece.begin;
      for (const Range& match : matches) {
        if (at < match.begin) parts.push_back({{at, match.begin}, invert_});
        if (match.begin < match.end) parts.push_back({match, !invert_});
        at = match.end;
      }
      if (at < piece.end) parts.push_back({{at, piece.end}, invert_});
      join(parts, cut);
    }
    text.pieces = std::move(cut);
  }

 private:
  void join(std::vector<Part>& parts, std::vector<Range>& cut) const {
    if (behavior_ == Behavior::merged_with_next) {
      const auto first = static_cast<std::ptrdiff_t>(cut.size());
      std::reverse(parts.begin(), parts.end());
      join_in_order(parts, cut);
      std::reverse(cut.begin() + first, cut.end());
    } else {
      join_in_order(parts, cut);
    }
  }

  /// Parts come from right to left if matches join what follows them.
  void join_in_order(const std::vector<Part>& parts, std::vector<Range>& cut) const {
    bool begun = false, after_match = false;
    for (const Part& part : parts) {
      if (behavior_ == Behavior::removed && part.match) continue;
      const bool joins = behavior_ == Behavior::contiguous ? part.match == after_match
                         : merges()                        ? part.match && !after_match
                                                           : false;
      if (joins && begun) {
        Range& last = cut.back();
        last = {std::min(last.begin, part.range.begin), std::max(last.end, part.range.end)};
      } else {
        cut.push_back(part.range);
      }
      begun = true;
      after_match = part.match;
    }
  }

  bool merges() const { return behavior_ == Behavior::merged_with_previous || behavior_ == Behavior::merged_with_next; }

  std::unique_ptr<TextPattern> pattern_;
  Behavior behavior_;
  bool invert_;
};

/// A blank before each piece that has none.
class BlankPrefix : public PreTokenizer {
 public:
  void apply(PieceText& text) const override {
    Rewriter rewriter(text);
    for (const Range& piece : text.pieces) {
      rewriter.open();
      if (text.text[piece.begin] != ' ') rewriter.put(" ", piece.begin);
      rewriter.copy(piece.begin, piece.end);
      rewriter.close();
    }
    rewriter.finish(text);
  }
};

class ByteWriter : public PreTokenizer {
 public:
  void apply(PieceText& text) const override {
    Rewriter rewriter(text);
    for (const Range& piece : text.pieces) {
      rewriter.open();
      for (size_t at = piece.begin; at < piece.end; ++at) {
        rewriter.put(byte_character(static_cast<unsigned char>(text.text[at])), at);
      }
      rewriter.close();
    }
    rewriter.finish(text);
  }
};

class WordCutter : public PreTokenizer {
 public:
  void apply(PieceText& text) const override {
    std::vector<Range> cut;
    for (const Range& piece : text.pieces) {
      const std::string_view seen = std::string_view(text.text).substr(0, piece.end);
      size_t begin = piece.begin, run = piece.begin;  // of the word; behind the last sign
      for (size_t sign = seen.find(kWordSign, begin); sign < piece.end; sign = seen.find(kWordSign, run)) {
        if (sign > run) {
          cut.push_back({begin, sign});
          begin = sign;
        }
        run = sign + kWordSign.size();
      }
      if (begin < piece.end) cut.push_back({begin, piece.end});
    }
    text.pieces = std::move(cut);
  }
};

enum class Prefix { always, first, never };

/// Writes blanks as a visible sign ("▁"), and one before the text.
class Metaspace : public PreTokenizer {
 public:
  Metaspace(std::string sign, Prefix prefix) : sign_(std::move(sign)), prefix_(prefix) {}
  void apply(PieceText& text) const override {
    Rewriter rewriter(text);
    bool first = text.at_start;
    for (const Range& piece : text.pieces) {
      rewriter.open();
      const std::string_view written = text.view(piece);
      const bool has_sign = written.front() == ' ' || written.substr(0, sign_.size()) == sign_;
      if (!has_sign && (prefix_ == Prefix::always || (prefix_ == Prefix::first && first))) {
        rewriter.put(sign_, piece.begin);
      }
      first = false;
      size_t at = piece.begin;
      const std::string_view before_end = std::string_view(text.text).substr(0, piece.end);
      for (size_t blank = before_end.find(' ', at); blank < piece.end; blank = before_end.find(' ', at)) {
        rewriter.copy(at, blank);
        rewriter.put(sign_, blank);
        at = blank + 1;
      }
      rewriter.copy(at, piece.end);
      rewriter.close();
    }
    rewriter.finish(text);
  }

 private:
  std::string sign_;
  Prefix prefix_;
};

bool is_space(char32_t c) { return unicode::is(c, unicode::kSpace); }
bool is_word(char32_t c) { return unicode::is(c, unicode::kWord); }
bool is_number(char32_t c) { return unicode::is(c, unicode::kNumber); }

std::unique_ptr<PreTokenizer> gpt2_splitter() {
  return std::make_unique<Splitter>(regex_pattern(std::string(kGpt2Regex), {}), Behavior::isolated);
}

Behavior read_behavior(const JsonView& json) {
  const std::string name = json.as_string("behavior");
  if (name == "Removed") return Behavior::removed;
  if (name == "Isolated") return Behavior::isolated;
  if (name == "MergedWithPrevious") return Behavior::merged_with_previous;
  if (name == "MergedWithNext") return Behavior::merged_with_next;
  if (name == "Contiguous") return Behavior::contiguous;
  json.fail("unknown behavior '" + fitted(printable(name), 40) + "'",
            "known are Removed, Isolated, MergedWithPrevious, MergedWithNext and Contiguous");
}

bool flag(const JsonView& json, std::string_view key, bool otherwise) {
  const auto value = json.find(key);
  return value ? value->as_bool(key) : otherwise;
}

Prefix read_prefix(const JsonView& json) {
  const auto scheme = json.find("prepend_scheme");
  if (!scheme) return flag(json, "add_prefix_space", true) ? Prefix::always : Prefix::never;
  const std::string name = scheme->as_string("prepend_scheme");
  if (name == "always") return Prefix::always;
  if (name == "first") return Prefix::first;
  if (name == "never") return Prefix::never;
  scheme->fail("unknown prepend_scheme '" + fitted(printable(name), 40) + "'", "known are always, first and never");
}

void read_metaspace(const JsonView& json, PreTokenization& to) {
  const JsonView replacement = json.at("replacement");
  const std::string sign = replacement.as_string("replacement");
  if (unicode::count(sign) != 1) replacement.fail("'replacement' must be one character");
  to.steps.push_back(std::make_unique<Metaspace>(sign, read_prefix(json)));
  if (!flag(json, "split", true)) return;
  to.steps.push_back(std::make_unique<Splitter>(string_pattern(sign), Behavior::merged_with_next));
  to.cuts = true;
}

void read_step(const JsonView& json, PreTokenization& to);

void read_byte_level(const JsonView& json, PreTokenization& to) {
  if (flag(json, "add_prefix_space", true)) to.steps.push_back(std::make_unique<BlankPrefix>());
  if (flag(json, "use_regex", true)) {
    to.steps.push_back(gpt2_splitter());
    to.cuts = true;
  }
  to.ends_in_bytes = true;
}

void read_split(const JsonView& json, PreTokenization& to) {
  to.steps.push_back(std::make_unique<Splitter>(read_pattern(json.at("pattern")), read_behavior(json.at("behavior")),
                                                flag(json, "invert", false)));
  to.cuts = true;
}

void add_splitter(PreTokenization& to, std::function<bool(char32_t)> is, Behavior behavior) {
  to.steps.push_back(std::make_unique<Splitter>(character_pattern(std::move(is)), behavior));
  to.cuts = true;
}

void add_bert(PreTokenization& to) {
  add_splitter(to, is_space, Behavior::removed);
  add_splitter(to, unicode::is_bert_punctuation, Behavior::isolated);
}

void add_whitespace(PreTokenization& to) {
  add_splitter(to, is_space, Behavior::removed);
  add_splitter(to, is_word, Behavior::contiguous);
}

void read_step(const JsonView& json, PreTokenization& to) {
  if (to.ends_in_bytes) {  // something follows
    to.steps.push_back(byte_writer());
    to.ends_in_bytes = false;
  }
  const JsonView type_json = json.at("type");
  const std::string type = type_json.as_string("type");
  if (type == "Sequence") {
    json.at("pretokenizers").each_element("pretokenizers", [&](JsonView step) { read_step(step, to); });
  } else if (type == "ByteLevel") {
    read_byte_level(json, to);
  } else if (type == "Split") {
    read_split(json, to);
  } else if (type == "Whitespace") {
    add_whitespace(to);
  } else if (type == "WhitespaceSplit") {
    add_splitter(to, is_space, Behavior::removed);
  } else if (type == "BertPreTokenizer") {
    add_bert(to);
  } else if (type == "Punctuation") {
    const auto behavior = json.find("behavior");
    add_splitter(to, unicode::is_bert_punctuation, behavior ? read_behavior(*behavior) : Behavior::isolated);
  } else if (type == "Digits") {
    const bool alone = flag(json, "individual_digits", false);
    add_splitter(to, is_number, alone ? Behavior::isolated : Behavior::contiguous);
  } else if (type == "Metaspace") {
    read_metaspace(json, to);
  } else {
    type_json.fail("the pre_tokenizer '" + fitted(printable(type), 40) + "' is not supported",
                   "known are Sequence, ByteLevel, Split, Whitespace, WhitespaceSplit, BertPreTokenizer, Punctuation, "
                   "Digits and Metaspace");
  }
}

}  // namespace

PreTokenization read_pre_tokenizer(const JsonView& json) {
  PreTokenization read;
  read_step(json, read);
  return read;
}

PreTokenization gpt2_pre_tokenization(bool add_prefix_space) {
  PreTokenization made;
  if (add_prefix_space) made.steps.push_back(std::make_unique<BlankPrefix>());
  made.steps.push_back(gpt2_splitter());
  made.cuts = made.ends_in_bytes = true;
  return made;
}

PreTokenization bert_pre_tokenization() {
  PreTokenization made;
  add_bert(made);
  return made;
}

std::unique_ptr<PreTokenizer> word_cutter() { return std::make_unique<WordCutter>(); }

std::unique_ptr<PreTokenizer> byte_writer() { return std::make_unique<ByteWriter>(); }

}  // namespace etude
