// B batch, T time, K places of a row.

#include "etude/train/masked_token.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "etude/base/error.h"
#include "etude/train/step.h"

namespace etude {
namespace {

constexpr const char* kWhere = "objective masked_token";

Tensor length_of(const Batch& batch) {
  const auto found = batch.x.find("length_B");
  return found == batch.x.end() ? Tensor() : found->second;
}

Tensor as_tensor(const std::vector<int64_t>& ids, at::Device device) { return at::tensor(ids, at::kLong).to(device); }

}  // namespace

MaskedToken::MaskedToken(MaskedTokenOptions options) : options_(std::move(options)) {
  if (options_.masked + options_.random <= 1) return;
  throw Error(Code::config,
              "masked = " + std::to_string(options_.masked) + " and random = " + std::to_string(options_.random) +
                  " are more than all predicted tokens",
              kWhere, "BERT has 0.8 and 0.1; the rest is left as it is");
}

void MaskedToken::use(const Tokenizer& tokenizer) { roles_ = roles_of(tokenizer); }

Tensor MaskedToken::special(at::Device device) const {
  std::vector<int64_t> ids = roles_ ? roles_->special : std::vector<int64_t>();
  if (options_.mask_id >= 0) ids.push_back(options_.mask_id);
  return as_tensor(ids, device);
}

int64_t MaskedToken::mask_id(int64_t vocabulary) const {
  const bool chosen = options_.mask_id >= 0, known = roles_ && roles_->mask;
  const int64_t id = chosen ? options_.mask_id : known ? *roles_->mask : vocabulary - 1;
  if (id >= vocabulary)
    throw Error(Code::config,
                "the mask's id " + std::to_string(id) + " is outside the vocabulary of net '" + options_.net + "', " +
                    std::to_string(vocabulary),
                std::string(kWhere) + ", mask_id", "set vocab of the net to " + std::to_string(id + 1) + " or more");
  if (!chosen && !known && roles_ && id < roles_->vocabulary)
    throw Error(Code::config,
                "no id is left for a mask: the tokenizer has none, and uses all " + std::to_string(vocabulary) +
                    " of net '" + options_.net + "'",
                std::string(kWhere) + ", mask_id",
                "set vocab of the net to " + std::to_string(roles_->vocabulary + 1) +
                    ", or mask_id to a token that the texts do not have");
  return id;
}

Masking MaskedToken::masking(const MaskedLanguageModel& net, at::Device device) const {
  Masking made{.share = options_.share,
               .masked = options_.masked,
               .random = options_.random,
               .mask_id = mask_id(net.vocabulary()),
               .special = special(device)};
  std::vector<int64_t> all(
      static_cast<size_t>(roles_ ? std::min(roles_->vocabulary, net.vocabulary()) : net.vocabulary()));
  std::iota(all.begin(), all.end(), 0);
  std::erase_if(all, [&](int64_t id) {
    return id == made.mask_id || (roles_ && std::binary_search(roles_->special.begin(), roles_->special.end(), id));
  });
  if (all.empty())
    throw Error(Code::config, "the vocabulary has no token besides special ones", kWhere,
                "there must be something to predict");
  made.ordinary_O = as_tensor(all, device);
  return made;
}

Norms MaskedToken::norms(const Batch& batch) const {
  const Tensor ids_BT = batch.at("ids_BT");
  const Tensor may_BT = may_be_masked(ids_BT, length_of(batch), special(ids_BT.device()));
  return {{"masked", static_cast<double>(masked_counts(may_BT, options_.share).sum().item<int64_t>())}};
}

Terms MaskedToken::loss(Step& step, const Batch& batch, Ctx& ctx) {
  auto& net = step.net<MaskedLanguageModel>(options_.net);
  EncoderRows rows = encoder_rows(batch);
  const auto stream = [&](int64_t sample) {
    return ctx.train ? ctx.rng(Purpose::mask, sample, "masked_token")
                     : Rng(Key{0, Purpose::mask, 0, sample}).fork("masked_token, evaluation");
  };
  const MaskedRows gaps = mask_rows(rows.ids_BT, rows.length_B, batch.id_B, masking(net, rows.ids_BT.device()), stream);
  rows.ids_BT = gaps.ids_BT;
  const Tensor item_BK = net.place_losses(rows, gaps.place_BK, gaps.labels_BK, ctx);
  return {Term{.name = "masked_token",
               .item = item_BK,
               .weight = ctx.train ? Tensor() : gaps.labels_BK.ge(0).to(item_BK.dtype()),
               .norm = step.norm("masked")}};
}

double MaskedToken::flops(Step& step, const Batch& batch) const {
  const auto& net = step.net<MaskedLanguageModel>(options_.net);
  const bool trained = std::any_of(step.learners().begin(), step.learners().end(),
                                   [&](const Learner* learner) { return learner->nets.count(options_.net) > 0; });
  const Tensor& ids_BT = batch.at("ids_BT");
  const auto places = static_cast<double>(ids_BT.size(0) * most_masked(ids_BT.size(1), options_.share));
  return Objective::flops(step, batch) + (trained ? 0 : 2 * net.flops(batch)) +
         (trained ? 3 : 2) * places * net.head_flops();
}

void MaskedToken::measure(std::map<std::string, double>& values) const {
  values["masked_perplexity"] = std::exp(values.at("loss"));
}

}  // namespace etude
