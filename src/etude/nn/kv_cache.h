#pragma once
// Keys and values that attention layers computed for earlier tokens, so that a sequence grows by a token at the cost of
// a token. A cache holds several sequences, one in each of a fixed number of slots. A forward works on some of them:
//
//   KvCache cache(2);
//   ctx.cache = &cache;
//   net.next_logits(prompt_1T, cache.extend({0}, T), ctx);     a prompt, into slot 0
//   net.next_logits(ids_21, cache.extend({0, 1}, 1), ctx);     a token for each of both
//
// A layer takes part with one line: heads = attention(name, q, k, v, mask, ctx), see etude/nn/attention.h.
// A row's values do not depend on the other rows of a forward, to the bit, as far as this file is concerned; but for
// rows that begin: if all rows of a forward do, they take the plain causal product, which rounds otherwise.
//
// S slots, R rows of a forward, T tokens that a row grows by, C places of a slot, L places that are looked at,
// H query heads, G key/value heads (H = n G), E head width.

#include "etude/base/torch_pch.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "etude/tensor/tensor.h"

namespace etude {

class KvCache {
 public:
  /// slots >= 1. Memory is taken when it is needed, and grows by halves.
  explicit KvCache(int64_t slots, at::Device device = at::kCPU);

  int64_t slots() const { return static_cast<int64_t>(length_.size()); }
  /// Tokens that a slot holds.
  int64_t length(int64_t slot) const { return length_.at(static_cast<size_t>(slot)); }
  /// The slot is free for another sequence.
  void clear(int64_t slot) { length_.at(static_cast<size_t>(slot)) = 0; }
  /// Of keys and values of all layers, with the room to grow.
  int64_t bytes() const;

  /// Says what the next forward does: its row r continues the sequence of slots[r], each another one, by `tokens`.
  /// Returns the positions of these tokens, int64 [R, T]: a slot's length and what follows it.
  Tensor extend(const std::vector<int64_t>& slots, int64_t tokens);

  /// A layer's part of that forward: keeps k and v of the new tokens, and returns softmax(q k^T / sqrt(E)) v of each
  /// new token over all tokens of its sequence up to itself, [R, T, H, E]. `layer` is its name in the net. Not
  /// differentiable; requires extend() with R and T of these tensors.
  Tensor attend(const std::string& layer, const Tensor& q_RTHE, const Tensor& k_RTGE, const Tensor& v_RTGE);

 private:
  struct Layer {
    Tensor keys_SGCE, values_SGCE;
  };
  /// Rows beside each other, of slots beside each other, that look at the same number of places.
  struct Run {
    int64_t row, slot, count, places;
    Tensor mask_R1XL;  ///< 0 or -infinity, for n T queries (X) of a key head; made by the first layer
  };
  Layer& room_in(const std::string& layer, const Tensor& k_RTGE);
  Tensor over_places(const Layer& layer, Run& run, const Tensor& q_RTHE, int64_t key_heads) const;
  Tensor mask(const Run& run, int64_t per_key_head, const at::TensorOptions& like) const;

  at::Device device_;
  std::vector<int64_t> length_;
  int64_t places_ = 0;  ///< room that every layer is to have
  std::map<std::string, Layer> layers_;
  Tensor slot_R1_, position_RT_;
  std::vector<Run> runs_;
  bool from_start_ = false;  ///< nothing was there before the tokens of this forward
};

}  // namespace etude
