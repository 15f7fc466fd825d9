// B batch, T time.

#include "etude/train/next_token.h"

#include <cmath>

#include "etude/train/step.h"

namespace etude {

Norms NextToken::norms(const Batch& batch) const {
  return {{"tokens", static_cast<double>(batch.at("labels_BT").ge(0).sum().item<int64_t>())}};
}

Terms NextToken::loss(Step& step, const Batch& batch, Ctx& ctx) {
  auto optional = [&](const char* name) {
    auto it = batch.x.find(name);
    return it == batch.x.end() ? Tensor() : it->second;
  };
  const Tensor labels_BT = batch.at("labels_BT");
  const Tensor item_BT =
      step.net<LanguageModel>(options_.net)
          .token_losses(batch.at("ids_BT"), optional("position_BT"), optional("segment_BT"), labels_BT, ctx);
  return {Term{.name = "next_token",
               .item = item_BT,
               .weight = ctx.train ? Tensor() : labels_BT.ge(0).to(item_BT.dtype()),
               .norm = step.norm("tokens")}};
}

double NextToken::flops(Step& step, const Batch& batch) const {
  const double trained = Objective::flops(step, batch);
  for (const Learner* learner : step.learners())
    if (learner->nets.count(options_.net)) return trained;
  return trained + 2 * step.net(options_.net).flops(batch);
}

void NextToken::measure(std::map<std::string, double>& values) const {
  values["perplexity"] = std::exp(values.at("loss"));
}

}  // namespace etude
