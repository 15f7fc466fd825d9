#include "etude/data/tokenizers/token_decoders.h"

#include "etude/base/text.h"
#include "etude/data/tokenizers/byte_characters.h"
#include "etude/data/tokenizers/text_pattern.h"
#include "etude/data/tokenizers/unicode.h"

namespace etude {
namespace {

using Tokens = std::vector<std::string>;

void replace_all(std::string& text, std::string_view from, std::string_view to) {
  size_t at = text.find(from);
  if (at == std::string::npos) return;
  std::string made;
  size_t copied = 0;
  for (; at != std::string::npos; at = text.find(from, copied)) {
    made.append(text, copied, at - copied);
    made += to;
    copied = at + from.size();
  }
  made.append(text, copied);
  text = std::move(made);
}

class SequenceDecoder : public TokenDecoder {
 public:
  explicit SequenceDecoder(std::vector<std::unique_ptr<TokenDecoder>> steps) : steps_(std::move(steps)) {}
  void apply(Tokens& tokens) const override {
    for (const auto& step : steps_) step->apply(tokens);
  }

 private:
  std::vector<std::unique_ptr<TokenDecoder>> steps_;
};

class ByteLevelDecoder : public TokenDecoder {
 public:
  void apply(Tokens& tokens) const override {
    std::string all;
    for (const std::string& token : tokens) all += bytes_of_token(token);
    tokens.assign(1, std::move(all));
  }
};

class MetaspaceDecoder : public TokenDecoder {
 public:
  MetaspaceDecoder(std::string sign, bool prefixed) : sign_(std::move(sign)), prefixed_(prefixed) {}
  void apply(Tokens& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) replace_all(tokens[i], sign_, i == 0 && prefixed_ ? "" : " ");
  }

 private:
  std::string sign_;
  bool prefixed_;
};

class WordPieceDecoder : public TokenDecoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup) : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void apply(Tokens& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      std::string& token = tokens[i];
      if (i > 0) {
        if (token.compare(0, prefix_.size(), prefix_) == 0) {
          token.erase(0, prefix_.size());
        } else {
          token.insert(0, " ");
        }
      }
      if (cleanup_) clean(token);
    }
  }

 private:
  static void clean(std::string& token) {
    static constexpr std::string_view kRules[][2] = {
        {" .", "."},   {" ?", "?"},           {" !", "!"},   {" ,", ","},     {" ' ", "'"},   {" n't", "n't"},
        {" 'm", "'m"}, {" do not", " don't"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
    for (const auto& rule : kRules) replace_all(token, rule[0], rule[1]);
  }
  std::string prefix_;
  bool cleanup_;
};

class SuffixDecoder : public TokenDecoder {
 public:
  explicit SuffixDecoder(std::string suffix) : suffix_(std::move(suffix)) {}
  void apply(Tokens& tokens) const override {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (!suffix_.empty()) replace_all(tokens[i], suffix_, i + 1 == tokens.size() ? "" : " ");
    }
  }

 private:
  std::string suffix_;
};

class ByteFallbackDecoder : public TokenDecoder {
 public:
  void apply(Tokens& tokens) const override {
    for (std::string& token : tokens) {
      if (const int byte = byte_of_fallback(token); byte >= 0) token = static_cast<char>(byte);
    }
  }
};

class FuseDecoder : public TokenDecoder {
 public:
  void apply(Tokens& tokens) const override {
    std::string all;
    for (const std::string& token : tokens) all += token;
    tokens.assign(1, std::move(all));
  }
};

class ReplaceDecoder : public TokenDecoder {
 public:
  ReplaceDecoder(std::unique_ptr<TextPattern> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void apply(Tokens& tokens) const override {
    std::vector<PieceText::Range> matches;
    for (std::string& token : tokens) {
      matches.clear();
      pattern_->find(token, {0, token.size()}, matches);
      std::string made;
      size_t at = 0;
      for (const auto& match : matches) {
        made.append(token, at, match.begin - at);
        made += content_;
        at = match.end;
      }
      if (!matches.empty()) token = made.append(token, at);
    }
  }

 private:
  std::unique_ptr<TextPattern> pattern_;
  std::string content_;
};

/// Takes up to so many characters from the ends of each token.
class StripDecoder : public TokenDecoder {
 public:
  StripDecoder(std::string content, int64_t left, int64_t right)
      : content_(std::move(content)), left_(left), right_(right) {}
  void apply(Tokens& tokens) const override {
    const size_t size = content_.size();
    for (std::string& token : tokens) {
      size_t begin = 0, end = token.size();
      for (int64_t n = 0; n < left_ && token.compare(begin, size, content_) == 0; ++n) begin += size;
      for (int64_t n = 0; n < right_ && end >= begin + size && token.compare(end - size, size, content_) == 0; ++n) {
        end -= size;
      }
      token = token.substr(begin, end - begin);
    }
  }

 private:
  std::string content_;
  int64_t left_, right_;
};

std::unique_ptr<TokenDecoder> read_sequence(const JsonView& json) {
  std::vector<std::unique_ptr<TokenDecoder>> steps;
  json.at("decoders").each_element("decoders", [&](JsonView step) { steps.push_back(read_decoder(step)); });
  return std::make_unique<SequenceDecoder>(std::move(steps));
}

std::unique_ptr<TokenDecoder> read_metaspace(const JsonView& json) {
  bool prefixed = true;
  if (const auto scheme = json.find("prepend_scheme")) {
    prefixed = scheme->as_string("prepend_scheme") != "never";
  } else if (const auto add = json.find("add_prefix_space")) {
    prefixed = add->as_bool("add_prefix_space");
  }
  const JsonView replacement = json.at("replacement");
  const std::string sign = replacement.as_string("replacement");
  if (unicode::count(sign) != 1) replacement.fail("'replacement' must be one character");
  return std::make_unique<MetaspaceDecoder>(sign, prefixed);
}

std::unique_ptr<TokenDecoder> read_word_piece(const JsonView& json) {
  const auto prefix = json.find("prefix"), cleanup = json.find("cleanup");
  return word_piece_decoder(prefix ? prefix->as_string("prefix") : "##", cleanup ? cleanup->as_bool("cleanup") : true);
}

std::unique_ptr<TokenDecoder> read_strip(const JsonView& json) {
  const JsonView content = json.at("content");
  const std::string character = content.as_string("content");
  if (unicode::count(character) != 1) content.fail("'content' must be one character");
  return std::make_unique<StripDecoder>(character, json.at("start").as_int("start"), json.at("stop").as_int("stop"));
}

}  // namespace

int byte_of_fallback(std::string_view token) {
  if (token.size() != 6 || token.substr(0, 3) != "<0x" || token.back() != '>') return -1;
  int byte = 0;
  for (const char c : token.substr(3, 2)) {
    const size_t digit = std::string_view("0123456789ABCDEF").find(c);
    if (digit == std::string_view::npos) return -1;
    byte = byte * 16 + static_cast<int>(digit);
  }
  return byte;
}

std::unique_ptr<TokenDecoder> byte_level_decoder() { return std::make_unique<ByteLevelDecoder>(); }

std::unique_ptr<TokenDecoder> word_piece_decoder(std::string prefix, bool cleanup) {
  return std::make_unique<WordPieceDecoder>(std::move(prefix), cleanup);
}

std::unique_ptr<TokenDecoder> read_decoder(const JsonView& json) {
  const JsonView type_json = json.at("type");
  const std::string type = type_json.as_string("type");
  if (type == "Sequence") return read_sequence(json);
  if (type == "ByteLevel") return byte_level_decoder();
  if (type == "Metaspace") return read_metaspace(json);
  if (type == "WordPiece") return read_word_piece(json);
  if (type == "BPEDecoder") {
    const auto suffix = json.find("suffix");
    return std::make_unique<SuffixDecoder>(suffix ? suffix->as_string("suffix") : "</w>");
  }
  if (type == "ByteFallback") return std::make_unique<ByteFallbackDecoder>();
  if (type == "Fuse") return std::make_unique<FuseDecoder>();
  if (type == "Replace") {
    return std::make_unique<ReplaceDecoder>(read_pattern(json.at("pattern")), json.at("content").as_string("content"));
  }
  if (type == "Strip") return read_strip(json);
  type_json.fail("the decoder '" + fitted(printable(type), 40) + "' is not supported",
                 "known are Sequence, ByteLevel, Metaspace, WordPiece, BPEDecoder, ByteFallback, Fuse, Replace and "
                 "Strip");
}

}  // namespace etude
