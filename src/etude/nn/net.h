#pragma once
// Nets: modules with Hugging Face parameter names, built from a recipe's [net.NAME] table.

#include "etude/base/torch_pch.h"

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "etude/base/config.h"
#include "etude/data/batch.h"
#include "etude/nn/context.h"

namespace etude {

/// A module that a recipe can name. Parameters are initialised from keyed streams by parameter name, so
/// building order does not matter: call initialise() once after construction.
class Net : public torch::nn::Module {
 public:
  /// Multiply-add FLOPs (2 per multiply-add) of one forward pass on this batch.
  virtual double flops(const Batch&) const { return 0; }
  /// Draws every parameter from Rng(Key{seed, Purpose::init}).fork(name).
  virtual void initialise(uint64_t seed) = 0;
  /// Tags of a parameter: "no_decay", "adapter", "frozen" (no learner holds it), "expert", "private".
  virtual std::set<std::string> tags(const std::string& parameter) const {
    (void)parameter;
    return {};
  }
};

/// A net that reads rows of tokens.
class TokenNet : public Net {
 public:
  virtual int64_t vocabulary() const = 0;  ///< ids are in [0, vocabulary)
  virtual int64_t longest() const = 0;     ///< positions it was made for
};

/// Token in, distribution out: what language-model objectives and generation need.
class LanguageModel : public TokenNet {
 public:
  /// ids_BT int64 in [0, vocabulary). position_BT and segment_BT (documents within a packed row, which
  /// do not see each other) may be undefined. Returns logits_BTV.
  virtual Tensor logits(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT, Ctx& ctx) = 0;
  /// -log softmax(logits)[label] of each token in float32, [B, T]; 0 for labels of -1. Others are in [0, vocabulary).
  virtual Tensor token_losses(const Tensor& ids_BT, const Tensor& position_BT, const Tensor& segment_BT,
                              const Tensor& labels_BT, Ctx& ctx);
  /// Logits of what follows the last token of each row, [B, V]: without the head's work for all other tokens.
  virtual Tensor next_logits(const Tensor& ids_BT, const Tensor& position_BT, Ctx& ctx) {
    return logits(ids_BT, position_BT, {}, ctx).select(1, -1);
  }
  /// Whether a forward under ctx.cache goes on from the keys and values there, at the positions that it is given.
  virtual bool follows_cache() const { return false; }
};

}  // namespace etude
