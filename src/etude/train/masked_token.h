#pragma once
// The masked-language objective (Devlin et al. 2019, section 3.1, task 1): cross-entropy of the tokens that a share of
// places had, most of which the net sees masked, averaged over these places.

#include <map>
#include <optional>
#include <string>

#include "etude/base/options.h"
#include "etude/data/masking.h"
#include "etude/nn/masked_language_model.h"
#include "etude/train/hooks.h"

namespace etude {

struct MaskedTokenOptions {
  std::string net = "model";
  double share = 0.15, masked = 0.8, random = 0.1;
  int64_t mask_id = -1;
  template <class V>
  void fields(V& v) {
    v("net", net, "the masked language model that is trained");
    v("share", share, Range{0, 1, true, false}, "of a row's tokens that are predicted, one at least (section 3.1)");
    v("masked", masked, within(0, 1), "of these, those that the net sees as the mask");
    v("random", random, within(0, 1),
      "of these, those that the net sees as any other token; the rest it sees as it is");
    v("mask_id", mask_id, at_least(-1),
      "id of the mask; -1: the tokenizer's [MASK] or <mask>, else the last of the net's vocabulary");
  }
};

/// Reads rows of tokens from any source that has ids_BT, and length_B, type_BT, position_BT and segment_BT where they
/// are there; labels it makes itself. What is masked depends on seed, step and sample id, never on how batches are cut;
/// in evaluation on the sample id alone, so that all steps, seeds and arms are judged by the same gaps.
class MaskedToken : public Objective {
 public:
  /// Errors: Code::config where masked and random are more than all.
  explicit MaskedToken(MaskedTokenOptions options);
  Needs needs() const override { return {Coupling::item, {"ids_BT"}}; }
  /// Tokens that stand for no text are never predicted.
  void use(const Tokenizer& tokenizer) override;
  std::set<Event> acts() const override { return {}; }
  /// "masked": places that are predicted.
  Norms norms(const Batch& batch) const override;
  /// One item a place. Errors: Code::config where no id is left for the mask, or it is outside the net's vocabulary.
  Terms loss(Step& step, const Batch& batch, Ctx& ctx) override;
  /// The head works at most_masked() places of a row. A net that the learners hold nothing of still passes the loss on
  /// to what they hold: two forwards more.
  double flops(Step& step, const Batch& batch) const override;
  /// masked_perplexity = exp(loss), with loss in nats per predicted token.
  void measure(std::map<std::string, double>& values) const override;

 private:
  Masking masking(const MaskedLanguageModel& net, at::Device device) const;
  int64_t mask_id(int64_t vocabulary) const;
  Tensor special(at::Device device) const;

  MaskedTokenOptions options_;
  std::optional<TokenRoles> roles_;
};

}  // namespace etude
