#pragma once
// Which tokens of a row are hidden from a net, and behind what (Devlin et al. 2019, section 3.1, task 1).
//
// B batch, T time, K places of a row, O ordinary tokens.

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "etude/base/rng.h"
#include "etude/data/tokenizer.h"
#include "etude/tensor/tensor.h"

namespace etude {

/// What masking must know of a tokenizer.
struct TokenRoles {
  int64_t vocabulary = 0;
  /// Ids that stand for no text ([CLS], [SEP], [PAD], </s>, ...), ascending: never hidden, and nothing is hidden
  /// behind them.
  std::vector<int64_t> special;
  std::optional<int64_t> mask;  ///< "[MASK]" or "<mask>"
};
TokenRoles roles_of(const Tokenizer& tokenizer);

struct Masking {
  double share = 0.15;  ///< of a row's tokens that are chosen, in (0, 1]
  double masked = 0.8;  ///< of the chosen that become the mask
  double random = 0.1;  ///< of the chosen that become any ordinary token; the others stay
  int64_t mask_id = 0;
  Tensor special = {};     ///< int64, never chosen; undefined: none
  Tensor ordinary_O = {};  ///< int64, what random ones are drawn from
};

/// Tokens that may be chosen: neither special nor, where there is a length_B, padding. bool, [B, T].
Tensor may_be_masked(const Tensor& ids_BT, const Tensor& length_B, const Tensor& special);
/// Of each row, how many are chosen: the share of those that may be, rounded, and at least one of them. int64, [B].
Tensor masked_counts(const Tensor& may_BT, double share);
/// The most that are chosen of a row of T tokens.
int64_t most_masked(int64_t T, double share);

struct MaskedRows {
  Tensor ids_BT;     ///< what the net sees
  Tensor place_BK;   ///< int64, K = most_masked(T): places that were chosen, and behind them, in shorter rows, others
  Tensor labels_BK;  ///< what stood there; -1 at places that were not chosen
};
/// Chooses by `stream`, which gives each sample its own: what happens to a row depends on nothing else. Shapes depend
/// on shapes alone, and nothing comes back from the device of ids_BT. id_B: int64, on the CPU.
MaskedRows mask_rows(const Tensor& ids_BT, const Tensor& length_B, const Tensor& id_B, const Masking& masking,
                     const std::function<Rng(int64_t sample)>& stream);

}  // namespace etude
