#include <sentencepiece_trainer.h>

#include <algorithm>
#include <unordered_map>

#include "etude/base/text.h"
#include "etude/data/tokenizers/sentencepiece_tokenizer.h"
#include "etude/data/tokenizers/unicode.h"

namespace etude {
namespace {

constexpr size_t kLongestLine = 4000;  // bytes; the library leaves out lines of more than 4192

/// Every so many-th line, so that at most `most` are kept and they are spread evenly.
class EvenSample {
 public:
  explicit EvenSample(size_t most) : most_(most) {}

  void add(std::string line) {
    if (seen_++ % stride_ != 0) return;
    if (lines_.size() == most_) {
      thin_out();
      if ((seen_ - 1) % stride_ != 0) return;
    }
    lines_.push_back(std::move(line));
  }

  std::vector<std::string> lines() { return std::move(lines_); }

 private:
  void thin_out() {
    size_t kept = 0;
    for (size_t i = 0; i < lines_.size(); i += 2) {
      if (i != kept) lines_[kept] = std::move(lines_[i]);
      ++kept;
    }
    lines_.resize(kept);
    stride_ *= 2;
  }

  size_t most_, seen_ = 0, stride_ = 1;
  std::vector<std::string> lines_;
};

/// Hands a line on in parts that the library takes.
void add_parts(std::string_view line, EvenSample& sample) {
  while (line.size() > kLongestLine) {
    size_t cut = line.substr(0, kLongestLine).rfind(' ');
    if (cut == std::string_view::npos || cut == 0) {
      cut = kLongestLine;
      while (cut > kLongestLine - 4 && (line[cut] & 0xC0) == 0x80) --cut;
    }
    sample.add(std::string(line.substr(0, cut)));
    line.remove_prefix(cut);
  }
  if (!line.empty()) sample.add(std::string(line));
}

class Lines : public sentencepiece::SentenceIterator {
 public:
  explicit Lines(std::vector<std::string> lines) : lines_(std::move(lines)) {}
  bool done() const override { return at_ == lines_.size(); }
  void Next() override { ++at_; }
  const std::string& value() const override { return lines_[at_]; }
  sentencepiece::util::Status status() const override { return {}; }

 private:
  std::vector<std::string> lines_;
  size_t at_ = 0;
};

std::unordered_map<std::string, std::string> library_options(const SentencepieceTraining& options) {
  std::unordered_map<std::string, std::string> chosen{{"model_type", options.model},
                                                      {"vocab_size", std::to_string(options.vocab)},
                                                      {"character_coverage", real_text(options.coverage)},
                                                      {"byte_fallback", options.byte_fallback ? "true" : "false"},
                                                      {"normalization_rule_name", "identity"},
                                                      {"remove_extra_whitespaces", "false"},
                                                      {"allow_whitespace_only_pieces", "true"},
                                                      {"unk_id", "0"},
                                                      {"bos_id", "1"},
                                                      {"eos_id", "2"},
                                                      {"pad_id", "-1"},
                                                      {"num_threads", "1"},
                                                      {"shuffle_input_sentence", "false"},
                                                      {"minloglevel", "3"}};
  if (!options.byte_fallback) chosen["user_defined_symbols"] = "\n";
  return chosen;
}

/// The whole number behind a word of a message of the library; empty if there is none.
std::string number_after(std::string_view message, std::string_view word) {
  const size_t at = message.find(word);
  if (at == std::string_view::npos) return {};
  size_t begin = at + word.size();
  while (begin < message.size() && message[begin] == ' ') ++begin;
  size_t end = begin;
  while (end < message.size() && message[end] >= '0' && message[end] <= '9') ++end;
  return std::string(message.substr(begin, end - begin));
}

[[noreturn]] void refuse(std::string_view message, const SentencepieceTraining& options) {
  const std::string vocab = std::to_string(options.vocab);
  if (const std::string most = number_after(message, "value <="); !most.empty()) {
    throw Error(Code::data, "the text has too little in it for a vocabulary of " + vocab, {},
                "set vocab to at most " + most + ", or take more text");
  }
  if (const std::string least = number_after(message, "vs"); !least.empty()) {
    throw Error(Code::data, "a vocabulary of " + vocab + " has no room for the characters of the text", {},
                "set vocab to more than " + least + ", or coverage lower");
  }
  throw Error(Code::data, "sentencepiece can't train on the text: " + fitted(printable(message), 200), {},
              "is there enough text?");
}

}  // namespace

std::shared_ptr<Tokenizer> train_sentencepiece(const std::function<bool(std::string& line)>& next_line,
                                               const SentencepieceTraining& options) {
  EvenSample sample(static_cast<size_t>(std::max<int64_t>(options.sentences, 1)));
  std::string line;
  while (next_line(line)) add_parts(line, sample);
  std::vector<std::string> lines = sample.lines();
  if (lines.empty()) throw Error(Code::data, "there is no text to train a tokenizer on", {}, "are all lines empty?");
  Lines iterator(std::move(lines));
  std::string bytes;
  const auto status = sentencepiece::SentencePieceTrainer::Train(library_options(options), &iterator, &bytes);
  if (!status.ok()) refuse(status.message(), options);
  return parse_sentencepiece(std::move(bytes), "the trained tokenizer");
}

}  // namespace etude
