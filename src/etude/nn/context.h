#pragma once
// What every block's forward is told besides its input: randomness, mode, taps, additional loss terms.

#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "etude/base/rng.h"
#include "etude/tensor/format.h"
#include "etude/tensor/tensor.h"

namespace etude {

class KvCache;

/// A part of a loss: scale * sum(item * weight) / norm. `norm` is the global denominator, summed over
/// micro-batches and a replica's ranks before the forward, which makes 1x8 = 4x2 exact.
struct Term {
  std::string name;
  Tensor item;         ///< one value per item, any shape
  Tensor weight = {};  ///< undefined: ones
  double norm = 1;
  double scale = 1;
};
using Terms = std::vector<Term>;

/// Intermediate values that somebody wants to see: `wanted` names them ("layers.1.output"), `got` is filled.
struct Taps {
  std::set<std::string> wanted;
  std::map<std::string, Tensor> got;
  void offer(const std::string& name, const Tensor& value) {
    if (wanted.count(name)) got[name] = value;
  }
};

struct Ctx {
  uint64_t seed = 0;
  int64_t step = 0;
  bool train = false;
  Tensor id_B = {};  ///< sample ids: a sample's dropout mask does not depend on its neighbours
  Taps* taps = nullptr;
  Terms* aux = nullptr;  ///< layers append terms here (router balance, ...)
  /// Keys and values of earlier tokens, which attention goes on from (see etude/nn/kv_cache.h). Nets that follow it say
  /// so: LanguageModel::follows_cache().
  KvCache* cache = nullptr;
  /// Of the operands of products; losses, norms and the residual stream stay float32.
  Format format = Format::float32;
  /// Residual blocks keep their input only, and compute what backward needs of their inside once more.
  bool recompute = false;
  /// The stream of a sample at a site (a block's name): the same at any batch split or rank count.
  Rng rng(Purpose purpose, int64_t item, std::string_view site) const {
    return Rng(Key{seed, purpose, step, item}).fork(site);
  }
};

/// Inverted dropout with this context's own streams; x_B... has samples in its first dimension, in the
/// order of ctx.id_B. The identity when not training or p = 0. p in [0, 1).
Tensor dropout(const Tensor& x, double p, const Ctx& ctx, std::string_view site);

}  // namespace etude
