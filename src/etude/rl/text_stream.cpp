#include "etude/rl/text_stream.h"

#include <algorithm>

namespace etude {
namespace {

/// Tokens of the prompt that the first ones are decoded with.
constexpr size_t kBefore = 6;
/// Tokens that give no text are decoded again with each that follows, but not more than so many.
constexpr size_t kWindow = 64;

/// Bytes at the end of the text that begin a character and don't end it, 0 to 3.
size_t unfinished(std::string_view text) {
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;
    const size_t whole = byte >= 0xF0 && byte < 0xF8 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return byte < 0xF8 && whole > back ? back : 0;
  }
  return 0;
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, const std::vector<int64_t>& before, std::vector<std::string> stop)
    : tokenizer_(tokenizer), stop_(std::move(stop)) {
  std::erase(stop_, std::string());
  window_.assign(before.end() - static_cast<std::ptrdiff_t>(std::min(kBefore, before.size())), before.end());
  settled_ = window_.size();
  known_ = tokenizer_.decode(window_).size();
}

void TextStream::push(int64_t id) {
  if (stopped_ || finished_) return;
  window_.push_back(id);
  const std::string decoded = tokenizer_.decode(window_);
  const size_t until = std::max(known_, decoded.size() - unfinished(decoded));
  const bool settles = decoded.size() > known_ && until == decoded.size();
  if (until > known_) append(std::string_view(decoded).substr(known_, until - known_));
  pending_ = decoded.substr(std::min(until, decoded.size()));
  known_ = until;
  if (!settles && window_.size() < kWindow) return;
  window_.erase(window_.begin(), window_.begin() + static_cast<std::ptrdiff_t>(std::min(settled_, window_.size() - 1)));
  settled_ = window_.size();
  known_ = tokenizer_.decode(window_).size() - pending_.size();
}

void TextStream::finish() {
  if (!stopped_ && !finished_) append(pending_);
  finished_ = true;
}

void TextStream::append(std::string_view piece) {
  size_t longest = 0;
  for (const std::string& stop : stop_) longest = std::max(longest, stop.size());
  const size_t from = text_.size() - std::min(text_.size(), longest);
  text_ += piece;
  size_t cut = std::string::npos;
  for (const std::string& stop : stop_) cut = std::min(cut, text_.find(stop, from));
  if (cut == std::string::npos) return;
  text_.resize(cut);
  stopped_ = true;
}

size_t TextStream::may_become_stop() const {
  size_t held = 0;
  for (const std::string& stop : stop_)
    for (size_t n = std::min(stop.size() - 1, text_.size()); n > held; --n)
      if (text_.ends_with(std::string_view(stop).substr(0, n))) held = n;
  return held;
}

std::string TextStream::take() {
  const size_t until = text_.size() - (stopped_ || finished_ ? 0 : may_become_stop());
  if (until <= taken_) return {};
  std::string piece = text_.substr(taken_, until - taken_);
  taken_ = until;
  return piece;
}

}  // namespace etude
