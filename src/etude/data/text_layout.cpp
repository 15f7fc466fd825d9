#include "etude/data/text_layout.h"

#include <algorithm>
#include <cmath>

#include "etude/base/error.h"

namespace etude {
namespace {

constexpr int64_t kMostBlocks = 64;
constexpr int64_t kFewestRows = 4;  ///< of each split in a block

}  // namespace

TextLayout::TextLayout(int64_t tokens, int64_t length, double validation, const std::string& place)
    : length_(length), parts_(validation > 0 ? 2 : 1) {
  for (blocks_ = parts_ == 1 ? 1 : kMostBlocks; blocks_ > 1; blocks_ /= 2) {
    const double rows = static_cast<double>(rows_of(tokens) / blocks_);
    if (rows * std::min(validation, 1 - validation) >= static_cast<double>(kFewestRows)) break;
  }
  const int64_t rows = rows_of(tokens);
  if (rows < parts_) {
    const int64_t longest = tokens / parts_ - 1;  // (longest + 1) * parts = tokens
    throw Error(Code::data,
                "the text has " + std::to_string(tokens) + " tokens, too few for " +
                    (parts_ == 1 ? "a row" : "a row to train on and one for validation") + " of " +
                    std::to_string(length_) + " tokens and the one that follows",
                place,
                longest >= 2 ? "use more text, or a length of at most " + std::to_string(longest) : "use more text");
  }
  for (auto& begin : first_) begin = {0};
  for (int64_t b = 0; b < blocks_; ++b) {
    const int64_t begin = b * rows / blocks_, end = (b + 1) * rows / blocks_;
    int64_t kept = 0;
    if (parts_ == 2) {
      // Rounding the running total keeps the whole share right; every block gives a row to each split.
      const auto total = [&](int64_t r) { return std::llround(validation * static_cast<double>(r)); };
      kept = std::clamp<int64_t>(total(end) - total(begin), 1, end - begin - 1);
    }
    first_[0].push_back(first_[0].back() + (end - begin - kept));
    first_[1].push_back(first_[1].back() + kept);
    part_begin_[0].push_back(begin * length_ + parts_ * b);
    part_begin_[1].push_back((end - kept) * length_ + parts_ * b + 1);
  }
}

int64_t TextLayout::start(bool validation, int64_t row) const {
  const std::vector<int64_t>& first = first_[validation];
  const auto block = static_cast<size_t>(std::upper_bound(first.begin(), first.end(), row) - first.begin()) - 1;
  return part_begin_[validation][block] + (row - first[block]) * length_;
}

int64_t TextLayout::rows_of(int64_t tokens) const { return std::max<int64_t>(tokens - parts_ * blocks_, 0) / length_; }

}  // namespace etude
