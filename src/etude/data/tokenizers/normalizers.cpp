#include "etude/data/tokenizers/normalizers.h"

#include <algorithm>
#include <vector>

#include "etude/base/text.h"
#include "etude/data/tokenizers/text_pattern.h"
#include "etude/data/tokenizers/unicode.h"

namespace etude {
namespace {

using unicode::Char;
using unicode::Form;

/// Rewrites character by character: f(rewriter, character, at) writes what takes its place.
template <class F>
void rewrite_characters(PieceText& text, const F& f) {
  Rewriter rewriter(text);
  rewriter.open();
  for (size_t at = 0; at < text.text.size();) {
    const Char c = unicode::decode(text.text, at);
    f(rewriter, c, at);
    at += c.length;
  }
  rewriter.close();
  rewriter.finish(text);
}

/// One after another.
class SequenceNormalizer : public Normalizer {
 public:
  explicit SequenceNormalizer(std::vector<std::unique_ptr<Normalizer>> steps) : steps_(std::move(steps)) {}
  void apply(PieceText& text) const override {
    for (const auto& step : steps_) step->apply(text);
  }

 private:
  std::vector<std::unique_ptr<Normalizer>> steps_;
};

/// Normal forms, segment by segment: from a character that what stands before can't change to the next such one.
class FormNormalizer : public Normalizer {
 public:
  explicit FormNormalizer(Form form) : form_(form) {}

  void apply(PieceText& text) const override {
    size_t stable = stable_until(text.text, 0);
    if (stable == text.text.size()) return;
    Rewriter rewriter(text);
    rewriter.open();
    rewriter.copy(0, stable);
    for (size_t at = stable; at < text.text.size(); at = stable) {
      const size_t end = segment_end(text.text, at);
      rewrite_segment(text.text, at, end, rewriter, text.tracked);
      stable = stable_until(text.text, end);
      rewriter.copy(end, stable);
    }
    rewriter.close();
    rewriter.finish(text);
  }

 private:
  /// A segment of more characters than this is cut, so that sorting its marks can't take quadratic time.
  static constexpr size_t kLongest = 1024;

  /// The end of a segment; bytes that are no UTF-8 stand alone.
  size_t segment_end(std::string_view text, size_t at) const {
    const Char first = unicode::decode(text, at);
    at += first.length;
    if (unicode::ill_formed(first)) return at;
    for (size_t n = 1; at < text.size() && n < kLongest; ++n) {
      const Char c = unicode::decode(text, at);
      if (unicode::ill_formed(c) || unicode::begins_segment(form_, c.code)) break;
      at += c.length;
    }
    return at;
  }

  /// The end of the segments from `at` on that are their own normal form by the tables alone.
  size_t stable_until(std::string_view text, size_t at) const {
    while (at < text.size()) {
      const size_t end = segment_end(text, at);
      const Char c = unicode::decode(text, at);
      if (end - at != c.length || (!unicode::ill_formed(c) && !unicode::stable_alone(form_, c.code))) break;
      at = end;
    }
    return at;
  }

  /// A character of the decomposition of a segment.
  struct Part {
    char32_t code;
    int combining_class;
    bool first;  ///< of the parts of a character
  };

  std::vector<Part> sorted_parts(std::string_view segment) const {
    const bool compatible = form_ == Form::nfkc || form_ == Form::nfkd;
    std::vector<Part> parts;
    for (size_t at = 0; at < segment.size();) {
      const size_t length = unicode::decode(segment, at).length;
      const std::string apart = unicode::normalized(compatible ? Form::nfkd : Form::nfd, segment.substr(at, length));
      for (size_t i = 0; i < apart.size();) {
        const Char c = unicode::decode(apart, i);
        parts.push_back({c.code, unicode::combining_class(c.code), i == 0});
        i += c.length;
      }
      at += length;
    }
    const auto starts = [](const Part& part) { return part.combining_class == 0; };
    const auto before = [](const Part& a, const Part& b) { return a.combining_class < b.combining_class; };
    for (auto marks = parts.begin(); marks != parts.end();) {
      marks = std::find_if_not(marks, parts.end(), starts);
      const auto last = std::find_if(marks, parts.end(), starts);
      std::stable_sort(marks, last, before);
      marks = last;
    }
    return parts;
  }

  /// Takes the parts of a character of the normal form from `parts`; how many of them are first parts.
  static size_t take_parts(std::string_view character, std::vector<Part>& parts) {
    const std::string apart = unicode::normalized(Form::nfd, character);
    size_t firsts = 0;
    for (size_t i = 0; i < apart.size();) {
      const Char c = unicode::decode(apart, i);
      const auto part = std::find_if(parts.begin(), parts.end(), [&](const Part& p) { return p.code == c.code; });
      if (part != parts.end()) {
        firsts += part->first;
        parts.erase(part);
      }
      i += c.length;
    }
    return firsts;
  }

  /// Characters of the normal form stand for those of the text in order: each for the next one, of whose like it takes
  /// as many as it has first parts; one without any stands for the same as the one before it. (The rule of the
  /// library `tokenizers`, where sorted marks stand for each other's places.)
  void rewrite_segment(std::string_view text, size_t begin, size_t end, Rewriter& rewriter, bool tracked) const {
    const std::string_view segment = text.substr(begin, end - begin);
    const std::string form = unicode::normalized(form_, segment);
    if (!tracked) return rewriter.put(form, begin);
    std::vector<Part> parts = sorted_parts(segment);
    size_t next = begin, source = begin;
    for (size_t at = 0; at < form.size();) {
      const size_t length = unicode::decode(form, at).length;
      const std::string_view written = std::string_view(form).substr(at, length);
      size_t firsts = take_parts(written, parts);
      if (firsts > 0) source = std::min(next, unicode::before(text, end));
      rewriter.put(written, source);
      for (; firsts > 0 && next < end; --firsts) {
        source = next;
        next += unicode::decode(text, next).length;
      }
      at += length;
    }
  }

  Form form_;
};

class LowercaseNormalizer : public Normalizer {
 public:
  void apply(PieceText& text) const override {
    std::string lower;
    rewrite_characters(text, [&](Rewriter& rewriter, const Char& c, size_t at) {
      if (unicode::ill_formed(c)) return rewriter.copy(at, at + 1);
      lower.clear();
      unicode::append_lower(lower, c.code);
      rewriter.put(lower, at);
    });
  }
};

/// Leaves out characters of some classes.
class WithoutNormalizer : public Normalizer {
 public:
  explicit WithoutNormalizer(int classes) : classes_(classes) {}
  void apply(PieceText& text) const override {
    rewrite_characters(text, [&](Rewriter& rewriter, const Char& c, size_t at) {
      if (!unicode::is(c.code, classes_)) rewriter.copy(at, at + c.length);
    });
  }

 private:
  int classes_;
};

class StripNormalizer : public Normalizer {
 public:
  StripNormalizer(bool left, bool right) : left_(left), right_(right) {}
  void apply(PieceText& text) const override {
    size_t begin = 0, end = text.text.size();
    while (left_ && begin < end && is_space(text.text, begin)) begin += unicode::decode(text.text, begin).length;
    while (right_ && end > begin && is_space(text.text, unicode::before(text.text, end))) {
      end = unicode::before(text.text, end);
    }
    if (begin == 0 && end == text.text.size()) return;
    Rewriter rewriter(text);
    rewriter.open();
    rewriter.copy(begin, end);
    rewriter.close();
    rewriter.finish(text);
  }

 private:
  static bool is_space(std::string_view text, size_t at) {
    return unicode::is(unicode::decode(text, at).code, unicode::kSpace);
  }
  bool left_, right_;
};

class PrependNormalizer : public Normalizer {
 public:
  explicit PrependNormalizer(std::string prefix) : prefix_(std::move(prefix)) {}
  void apply(PieceText& text) const override {
    if (text.text.empty()) return;
    Rewriter rewriter(text);
    rewriter.open();
    rewriter.put(prefix_, 0);
    rewriter.copy(0, text.text.size());
    rewriter.close();
    rewriter.finish(text);
  }

 private:
  std::string prefix_;
};

class ReplaceNormalizer : public Normalizer {
 public:
  ReplaceNormalizer(std::unique_ptr<TextPattern> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(PieceText& text) const override {
    std::vector<PieceText::Range> matches;
    pattern_->find(text.text, {0, text.text.size()}, matches);
    if (matches.empty()) return;
    Rewriter rewriter(text);
    rewriter.open();
    size_t at = 0;
    for (const auto& match : matches) {
      rewriter.copy(at, match.begin);
      if (match.end > 0) rewriter.put(content_, match.end - 1);
      at = match.end;
    }
    rewriter.copy(at, text.text.size());
    rewriter.close();
    rewriter.finish(text);
  }

 private:
  std::unique_ptr<TextPattern> pattern_;
  std::string content_;
};

/// Leaves out what can't be seen and makes every space a blank.
class CleanNormalizer : public Normalizer {
 public:
  void apply(PieceText& text) const override {
    rewrite_characters(text, [](Rewriter& rewriter, const Char& c, size_t at) {
      const bool line = c.code == '\t' || c.code == '\n' || c.code == '\r';
      if (c.code == 0 || c.code == 0xFFFD || (!line && unicode::is(c.code, unicode::kOther))) return;
      if (unicode::is(c.code, unicode::kSpace)) {
        rewriter.put(" ", at);
      } else {
        rewriter.copy(at, at + c.length);
      }
    });
  }
};

class IdeographNormalizer : public Normalizer {
 public:
  void apply(PieceText& text) const override {
    rewrite_characters(text, [](Rewriter& rewriter, const Char& c, size_t at) {
      const bool apart = unicode::is_ideograph(c.code);
      if (apart) rewriter.put(" ", at);
      rewriter.copy(at, at + c.length);
      if (apart) rewriter.put(" ", at);
    });
  }
};

std::unique_ptr<Normalizer> read_sequence(const JsonView& json) {
  std::vector<std::unique_ptr<Normalizer>> steps;
  json.at("normalizers").each_element("normalizers", [&](JsonView step) { steps.push_back(read_normalizer(step)); });
  return std::make_unique<SequenceNormalizer>(std::move(steps));
}

std::unique_ptr<Normalizer> read_bert(const JsonView& json) {
  BertNormalization options;
  if (const auto clean = json.find("clean_text")) options.clean = clean->as_bool("clean_text");
  if (const auto apart = json.find("handle_chinese_chars")) options.ideographs = apart->as_bool("handle_chinese_chars");
  if (const auto lower = json.find("lowercase")) options.lower = lower->as_bool("lowercase");
  if (const auto strip = json.find("strip_accents")) options.strip_accents = strip->as_bool("strip_accents");
  return bert_normalizer(options);
}

std::unique_ptr<Normalizer> read_strip(const JsonView& json) {
  return std::make_unique<StripNormalizer>(json.at("strip_left").as_bool("strip_left"),
                                           json.at("strip_right").as_bool("strip_right"));
}

std::unique_ptr<Normalizer> read_replace(const JsonView& json) {
  return std::make_unique<ReplaceNormalizer>(read_pattern(json.at("pattern")), json.at("content").as_string("content"));
}

}  // namespace

std::unique_ptr<Normalizer> bert_normalizer(const BertNormalization& options) {
  std::vector<std::unique_ptr<Normalizer>> steps;
  if (options.clean) steps.push_back(std::make_unique<CleanNormalizer>());
  if (options.ideographs) steps.push_back(std::make_unique<IdeographNormalizer>());
  if (options.strip_accents.value_or(options.lower)) {
    steps.push_back(std::make_unique<FormNormalizer>(Form::nfd));
    steps.push_back(std::make_unique<WithoutNormalizer>(unicode::kNonspacing));
  }
  if (options.lower) steps.push_back(std::make_unique<LowercaseNormalizer>());
  return std::make_unique<SequenceNormalizer>(std::move(steps));
}

std::unique_ptr<Normalizer> read_normalizer(const JsonView& json) {
  const JsonView type_json = json.at("type");
  const std::string type = type_json.as_string("type");
  if (type == "Sequence") return read_sequence(json);
  if (type == "NFC") return std::make_unique<FormNormalizer>(Form::nfc);
  if (type == "NFD") return std::make_unique<FormNormalizer>(Form::nfd);
  if (type == "NFKC") return std::make_unique<FormNormalizer>(Form::nfkc);
  if (type == "NFKD") return std::make_unique<FormNormalizer>(Form::nfkd);
  if (type == "Lowercase") return std::make_unique<LowercaseNormalizer>();
  if (type == "StripAccents") return std::make_unique<WithoutNormalizer>(unicode::kMark);
  if (type == "Strip") return read_strip(json);
  if (type == "BertNormalizer") return read_bert(json);
  if (type == "Prepend") return std::make_unique<PrependNormalizer>(json.at("prepend").as_string("prepend"));
  if (type == "Replace") return read_replace(json);
  type_json.fail(
      "the normalizer '" + fitted(printable(type), 40) + "' is not supported",
      "known are Sequence, NFC, NFD, NFKC, NFKD, Lowercase, StripAccents, Strip, BertNormalizer, Prepend and "
      "Replace");
}

}  // namespace etude
