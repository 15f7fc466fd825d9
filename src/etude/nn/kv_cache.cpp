// S slots, R rows of a forward, T tokens that a row grows by, C places of a slot, L places that are looked at,
// H query heads, G key/value heads (H = n G), E head width, X = n T queries of a key head.

#include "etude/nn/kv_cache.h"

#include <algorithm>
#include <limits>
#include <set>

#include "etude/base/error.h"
#include "etude/nn/attention.h"

namespace etude {
namespace {

/// Rows look at a multiple of so many places: what a row computes depends on its own length only, and rows of similar
/// length can share a product.
constexpr int64_t kPlaces = 64;

int64_t whole_places(int64_t length) { return (length + kPlaces - 1) / kPlaces * kPlaces; }

}  // namespace

KvCache::KvCache(int64_t slots, at::Device device) : device_(device), length_(static_cast<size_t>(slots), 0) {
  ETUDE_CHECK(slots >= 1, "a cache has a slot at least");
}

int64_t KvCache::bytes() const {
  int64_t sum = 0;
  for (const auto& [name, layer] : layers_)
    sum += static_cast<int64_t>(layer.keys_SGCE.nbytes() + layer.values_SGCE.nbytes());
  return sum;
}

Tensor KvCache::extend(const std::vector<int64_t>& slots, int64_t tokens) {
  ETUDE_CHECK(!slots.empty() && tokens >= 1, "a forward has rows, and they grow");
  ETUDE_CHECK(std::set<int64_t>(slots.begin(), slots.end()).size() == slots.size(), "a slot is in two rows");
  const auto R = static_cast<int64_t>(slots.size());
  std::vector<int64_t> begin_R;
  runs_.clear();
  for (int64_t r = 0; r < R; ++r) {
    const int64_t slot = slots[static_cast<size_t>(r)];
    int64_t& length = length_.at(static_cast<size_t>(slot));
    begin_R.push_back(length);
    length += tokens;
    const int64_t places = whole_places(length);
    const bool joins =
        !runs_.empty() && runs_.back().places == places && runs_.back().slot + runs_.back().count == slot;
    if (joins)
      ++runs_.back().count;
    else
      runs_.push_back({r, slot, 1, places, {}});
    if (places > places_) places_ = whole_places(std::max(places, places_ + places_ / 2));
  }
  from_start_ = std::all_of(begin_R.begin(), begin_R.end(), [](int64_t p) { return p == 0; });
  slot_R1_ = torch::tensor(slots, at::kLong).unsqueeze(1).to(device_);
  const Tensor begin_R1 = torch::tensor(begin_R, at::kLong).unsqueeze(1);
  position_RT_ = (begin_R1 + at::arange(tokens, at::kLong)).to(device_);
  return position_RT_;
}

KvCache::Layer& KvCache::room_in(const std::string& name, const Tensor& k_RTGE) {
  Layer& layer = layers_[name];
  if (layer.keys_SGCE.defined() && layer.keys_SGCE.size(2) >= places_) return layer;
  for (Tensor* held : {&layer.keys_SGCE, &layer.values_SGCE}) {
    // Zeros: a weight of 0 times what was never written must be 0.
    const Tensor larger = at::zeros({slots(), k_RTGE.size(2), places_, k_RTGE.size(3)}, k_RTGE.options());
    if (held->defined()) larger.narrow(2, 0, held->size(2)).copy_(*held);
    *held = larger;
  }
  return layer;
}

Tensor KvCache::mask(const Run& run, int64_t per_key_head, const at::TensorOptions& like) const {
  const Tensor position_RT1 = position_RT_.narrow(0, run.row, run.count).unsqueeze(2);
  const Tensor hidden_RTL = at::arange(run.places, position_RT_.options()).gt(position_RT1);
  const Tensor mask_RTL =
      at::zeros(hidden_RTL.sizes(), like).masked_fill_(hidden_RTL, -std::numeric_limits<double>::infinity());
  return mask_RTL.repeat({1, per_key_head, 1}).unsqueeze(1);
}

Tensor KvCache::over_places(const Layer& layer, Run& run, const Tensor& q_RTHE, int64_t G) const {
  const int64_t R = run.count, T = q_RTHE.size(1), H = q_RTHE.size(2), E = q_RTHE.size(3);
  if (!run.mask_R1XL.defined() || run.mask_R1XL.size(2) != H / G * T)
    run.mask_R1XL = mask(run, H / G, q_RTHE.options());
  const auto held = [&](const Tensor& all) { return all.narrow(0, run.slot, R).narrow(2, 0, run.places); };
  // The n query heads that share a key head are so many more queries of it: no key is copied.
  const Tensor q_RGXE = q_RTHE.narrow(0, run.row, R).transpose(1, 2).reshape({R, G, H / G * T, E});
  const Tensor out_RGXE = at::scaled_dot_product_attention(q_RGXE, held(layer.keys_SGCE), held(layer.values_SGCE),
                                                           run.mask_R1XL, 0.0, false);
  return out_RGXE.reshape({R, H, T, E}).transpose(1, 2);
}

Tensor KvCache::attend(const std::string& name, const Tensor& q_RTHE, const Tensor& k_RTGE, const Tensor& v_RTGE) {
  ETUDE_CHECK(!at::GradMode::is_enabled(), "attention over a cache has no gradient");
  ETUDE_CHECK(position_RT_.defined() && position_RT_.sizes() == q_RTHE.sizes().slice(0, 2),
              "extend() announces the rows and tokens of a forward");
  const int64_t G = k_RTGE.size(2);
  ETUDE_CHECK(q_RTHE.size(2) % G == 0, "query heads must be a multiple of key heads");
  Layer& layer = room_in(name, k_RTGE);
  const auto keep = [&](const Tensor& all_SGCE, const Tensor& new_RTGE) {
    all_SGCE.transpose(1, 2).index_put_({slot_R1_, position_RT_}, new_RTGE);
  };
  keep(layer.keys_SGCE, k_RTGE);
  keep(layer.values_SGCE, v_RTGE);
  if (from_start_) return attention(q_RTHE, k_RTGE, v_RTGE, {});
  std::vector<Tensor> parts;
  for (Run& run : runs_) parts.push_back(over_places(layer, run, q_RTHE, G));
  return parts.size() == 1 ? parts.front() : at::cat(parts);
}

}  // namespace etude
