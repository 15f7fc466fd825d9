#pragma once
// The language-model objective: cross-entropy of the next token, averaged over tokens.

#include "etude/base/options.h"
#include "etude/train/hooks.h"

namespace etude {

struct NextTokenOptions {
  std::string net = "model";
  template <class V>
  void fields(V& v) {
    v("net", net, "the language model that is trained");
  }
};

class NextToken : public Objective {
 public:
  explicit NextToken(NextTokenOptions options) : options_(std::move(options)) {}
  Needs needs() const override { return {Coupling::item, {"ids_BT", "labels_BT"}}; }
  std::set<Event> acts() const override { return {}; }
  /// "tokens": labels that are not -1.
  Norms norms(const Batch& batch) const override;
  /// One item a token; labels of -1 weigh nothing.
  Terms loss(Step& step, const Batch& batch, Ctx& ctx) override;
  /// A net that the learners hold nothing of still passes the loss on to what they hold: two forwards more.
  double flops(Step& step, const Batch& batch) const override;
  /// perplexity = exp(loss), with loss in nats per token.
  void measure(std::map<std::string, double>& values) const override;

 private:
  NextTokenOptions options_;
};

}  // namespace etude
