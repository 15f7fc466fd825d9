// B batch, T time, K places of a row, O ordinary tokens.

#include "etude/data/masking.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>

#include "etude/base/error.h"

namespace etude {
namespace {

constexpr int64_t kWords = 3;  ///< of 32 bits that decide about a token: its turn, what becomes of it, behind what
constexpr int64_t kMostPlaces = int64_t{1} << 24;

/// The words of each sample's stream, [B, 3, T], as int64.
Tensor words_of(const Tensor& id_B, int64_t T, const std::function<Rng(int64_t)>& stream) {
  const int64_t B = id_B.size(0);
  const Tensor words_B3T = at::empty({B, kWords, T}, at::kLong);
  const Tensor id = id_B.contiguous();
  std::vector<uint32_t> drawn(static_cast<size_t>(kWords * T));
  int64_t* out = words_B3T.mutable_data_ptr<int64_t>();
  for (int64_t b = 0; b < B; ++b) {
    Rng rng = stream(id.const_data_ptr<int64_t>()[b]);
    rng.fill_bits(drawn);
    out = std::copy(drawn.begin(), drawn.end(), out);
  }
  return words_B3T;
}

}  // namespace

TokenRoles roles_of(const Tokenizer& tokenizer) {
  TokenRoles roles;
  roles.vocabulary = tokenizer.vocabulary();
  for (const char* name : {"[MASK]", "<mask>"})
    if (!roles.mask) roles.mask = tokenizer.id(name);
  std::set<int64_t> special;
  for (const auto& id : {roles.mask, tokenizer.document_end_if_any(), tokenizer.document_begin()})
    if (id) special.insert(*id);
  // Between two words, a token of no text leaves no trace.
  int64_t word = 0;
  while (word < roles.vocabulary && tokenizer.decode({word, word}).empty()) ++word;
  const std::string two_words = tokenizer.decode({word, word});
  for (int64_t id = 0; id < roles.vocabulary && word < roles.vocabulary; ++id)
    if (tokenizer.decode({word, id, word}) == two_words) special.insert(id);
  roles.special.assign(special.begin(), special.end());
  return roles;
}

Tensor may_be_masked(const Tensor& ids_BT, const Tensor& length_B, const Tensor& special) {
  Tensor may_BT = special.defined() && special.numel() > 0 ? at::isin(ids_BT, special).bitwise_not()
                                                           : at::ones_like(ids_BT, at::kBool);
  if (length_B.defined())
    may_BT = may_BT.bitwise_and(at::arange(ids_BT.size(1), length_B.options()).lt(length_B.unsqueeze(1)));
  return may_BT;
}

Tensor masked_counts(const Tensor& may_BT, double share) {
  const Tensor all_B = may_BT.sum(1);
  return at::minimum(all_B, all_B.to(at::kDouble).mul(share).round().clamp_min(1).to(at::kLong));
}

int64_t most_masked(int64_t T, double share) {
  return std::min(T, std::max<int64_t>(1, std::llrint(static_cast<double>(T) * share)));
}

MaskedRows mask_rows(const Tensor& ids_BT, const Tensor& length_B, const Tensor& id_B, const Masking& masking,
                     const std::function<Rng(int64_t sample)>& stream) {
  const int64_t T = ids_BT.size(1), K = most_masked(T, masking.share);
  ETUDE_CHECK(T < kMostPlaces && id_B.size(0) == ids_BT.size(0), "each row has its sample id");
  const Tensor words_B3T = words_of(id_B, T, stream).to(ids_BT.device());
  const Tensor may_BT = may_be_masked(ids_BT, length_B, masking.special);
  const Tensor place_T = at::arange(T, ids_BT.options());

  // The tokens with the smallest words are chosen; those that may not be come after all others.
  const Tensor turn_BT = words_B3T.select(1, 0) * kMostPlaces + place_T + may_BT.bitwise_not() * (int64_t{1} << 60);
  const Tensor place_BK = std::get<1>(turn_BT.topk(K, 1, /*largest=*/false, /*sorted=*/true));
  const Tensor chosen_BK = place_T.narrow(0, 0, K).lt(masked_counts(may_BT, masking.share).unsqueeze(1));

  const double range = std::ldexp(1.0, 32);
  const auto below = [&](const Tensor& word_BK, double share) {
    return word_BK.lt(static_cast<int64_t>(std::llrint(share * range)));
  };
  const Tensor fate_BK = words_B3T.select(1, 1).gather(1, place_BK);
  const Tensor drawn_BK =
      words_B3T.select(1, 2).gather(1, place_BK).mul(masking.ordinary_O.size(0)).bitwise_right_shift(32);
  const Tensor before_BK = ids_BT.gather(1, place_BK);
  const Tensor random_BK = masking.ordinary_O.index({drawn_BK});
  const Tensor changed_BK = chosen_BK.bitwise_and(below(fate_BK, masking.masked + masking.random));
  const Tensor hidden_BK = chosen_BK.bitwise_and(below(fate_BK, masking.masked));
  const Tensor after_BK = (before_BK + changed_BK * (random_BK - before_BK)).masked_fill(hidden_BK, masking.mask_id);
  return {ids_BT.scatter(1, place_BK, after_BK), place_BK, before_BK.masked_fill(chosen_BK.bitwise_not(), -1)};
}

}  // namespace etude
