#pragma once
// How rows of both splits lie in a sequence of tokens: see TextDataset.

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace etude {

/// Where the rows of each split begin: block by block, the rows for training, then those for validation. Rows
/// share their last label with the next one's first id, so each part of a block takes one token more than T a row.
class TextLayout {
 public:
  /// Errors: Code::data at `place` when the tokens are too few. Required: length >= 2, validation in [0, 1).
  TextLayout(int64_t tokens, int64_t length, double validation, const std::string& place);

  int64_t rows(bool validation) const { return first_[validation].back(); }
  /// The first token of a row.
  int64_t start(bool validation, int64_t row) const;
  int64_t blocks() const { return blocks_; }

 private:
  int64_t rows_of(int64_t tokens) const;

  int64_t length_, parts_, blocks_ = 1;
  std::array<std::vector<int64_t>, 2> first_;       ///< per split: rows before each block, and all rows
  std::array<std::vector<int64_t>, 2> part_begin_;  ///< per split: its first token in each block
};

}  // namespace etude
