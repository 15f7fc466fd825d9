// S slots, T tokens, V vocabulary.

#include "etude/rl/generation.h"

#include <algorithm>
#include <cmath>

#include "etude/base/error.h"
#include "etude/base/rng.h"

namespace etude {
namespace {

/// Tokens whose logits over the whole vocabulary are held at a time when a prompt is scored.
constexpr int64_t kScored = 256;

Tensor row(const std::vector<int64_t>& ids) { return torch::tensor(ids, at::kLong).unsqueeze(0); }

/// In float64 on the host. Errors: Code::numeric.
std::vector<double> values(const Tensor& logits_V) {
  const Tensor host_V = logits_V.to(at::kCPU, at::kDouble).contiguous();
  const double* begin = host_V.const_data_ptr<double>();
  std::vector<double> copy_V(begin, begin + host_V.numel());
  const auto bad = std::find_if(copy_V.begin(), copy_V.end(), [](double x) { return std::isnan(x) || x == INFINITY; });
  if (bad != copy_V.end())
    throw Error(Code::numeric,
                "the net gives token " + std::to_string(bad - copy_V.begin()) + " the logit " +
                    (std::isnan(*bad) ? "nan" : "inf"),
                "logits", "its weights are damaged, or too large for the numbers it computes with");
  return copy_V;
}

/// The token that a request takes after `drawn` others.
int64_t next_token(const Request& request, int64_t drawn, const std::vector<double>& logits_V) {
  if (request.sampling.temperature == 0) return likeliest(logits_V);
  std::vector<double> filtered_V = logits_V;
  filter(filtered_V, request.sampling);
  const Key key{static_cast<uint64_t>(request.sampling.seed), Purpose::sample, drawn, request.number};
  return draw(filtered_V, Rng(key).uniform());
}

}  // namespace

std::string_view ending_name(Ending ending) {
  switch (ending) {
    case Ending::length:
      return "length";
    case Ending::stop:
      return "stop";
    case Ending::document_end:
      return "document_end";
    case Ending::room:
      return "room";
    case Ending::interrupted:
      return "interrupted";
  }
  return "";
}

/// A request on its way.
struct Generator::Sequence {
  Sequence(Request r, int64_t ticket, const Tokenizer& tokenizer)
      : request(std::move(r)), ids(request.prompt), text(tokenizer, request.prompt, request.sampling.stop) {
    result.ticket = ticket;
  }
  std::vector<int64_t> window() const { return {ids.begin() + window_begin, ids.end()}; }
  int64_t window_length() const { return static_cast<int64_t>(ids.size()) - window_begin; }
  const Sampling& sampling() const { return request.sampling; }

  Request request;
  std::vector<int64_t> ids;  ///< prompt and what was drawn
  int64_t window_begin = 0;  ///< the first one that the net sees
  TextStream text;
  Result result;
};

Generator::Generator(LanguageModel& net, const Tokenizer& tokenizer, int64_t slots)
    : net_(net), tokenizer_(tokenizer), document_end_(tokenizer.document_end_if_any()) {
  ETUDE_CHECK(slots >= 1, "a generator has a slot at least");
  slots_.resize(static_cast<size_t>(slots));
  if (net_.follows_cache()) cache_ = std::make_unique<KvCache>(slots);
}

Generator::~Generator() = default;

int64_t Generator::submit(Request request) {
  const auto T = static_cast<int64_t>(request.prompt.size());
  if (T == 0) throw Error(Code::usage, "the prompt is empty", "prompt", "a model needs something to go on from");
  for (const int64_t id : request.prompt)
    if (id < 0 || id >= net_.vocabulary())
      throw Error(Code::data,
                  "the prompt holds the token " + std::to_string(id) + ", outside 0 to " +
                      std::to_string(net_.vocabulary() - 1),
                  "prompt", "the net was made for another tokenizer");
  const bool must_fit = !request.sampling.slide || request.sampling.prompt_log_probabilities;
  if (must_fit && T > net_.longest())
    throw Error(Code::usage,
                "a prompt of " + std::to_string(T) + " tokens is longer than the net's length of " +
                    std::to_string(net_.longest()),
                "prompt", "shorten it; with slide = true, and without its log-probabilities, its end is read");
  waiting_.push_back(std::make_unique<Sequence>(std::move(request), tickets_, tokenizer_));
  return tickets_++;
}

bool Generator::idle() const {
  return waiting_.empty() && std::none_of(slots_.begin(), slots_.end(), [](const Slot& s) { return s != nullptr; });
}

std::vector<Result> Generator::run(const Listener& listener) {
  std::vector<Result> all;
  while (!idle()) {
    std::vector<Result> some = step(listener);
    std::move(some.begin(), some.end(), std::back_inserter(all));
  }
  std::sort(all.begin(), all.end(), [](const Result& a, const Result& b) { return a.ticket < b.ticket; });
  return all;
}

std::vector<Result> Generator::step(const Listener& listener) {
  const at::NoGradGuard no_grad;
  listener_ = &listener;
  stopped_ = false;
  // A request may end with its first token, and leave the slot to the next one.
  for (size_t s = 0; s < slots_.size(); ++s)
    while (!slots_[s] && !waiting_.empty() && !stopped_) begin(s);
  if (!stopped_) grow();
  if (stopped_) {
    waiting_.clear();
    for (size_t s = 0; s < slots_.size(); ++s)
      if (slots_[s]) end(s, Ending::interrupted);
  }
  return std::exchange(ended_, {});
}

void Generator::begin(size_t slot) {
  slots_[slot] = std::move(waiting_.front());
  waiting_.pop_front();
  Sequence& sequence = *slots_[slot];
  const Sampling& sampling = sequence.sampling();
  const Tensor logits_V = sampling.prompt_log_probabilities ? read_and_score(slot, sequence) : read(slot, sequence);
  if (sampling.tokens == 0)
    end(slot, Ending::length);
  else
    accept(slot, logits_V);
}

void Generator::make_room(Sequence& sequence) const {
  if (sequence.window_length() <= net_.longest()) return;
  sequence.window_begin = static_cast<int64_t>(sequence.ids.size()) - std::max<int64_t>(1, net_.longest() / 2);
  ++sequence.result.slides;
}

/// The whole window of a sequence, by itself.
Tensor Generator::read(size_t slot, Sequence& sequence) {
  make_room(sequence);
  Ctx ctx;
  if (!cache_) return net_.next_logits(row(sequence.window()), {}, ctx)[0];
  ctx.cache = cache_.get();
  cache_->clear(static_cast<int64_t>(slot));
  const Tensor position_1T = cache_->extend({static_cast<int64_t>(slot)}, sequence.window_length());
  return net_.next_logits(row(sequence.window()), position_1T, ctx)[0];
}

/// As read(), with the log-probabilities of the prompt.
Tensor Generator::read_and_score(size_t slot, Sequence& sequence) {
  const std::vector<int64_t>& ids = sequence.ids;
  const auto T = static_cast<int64_t>(ids.size());
  Ctx ctx;
  ctx.cache = cache_.get();
  if (cache_) cache_->clear(static_cast<int64_t>(slot));
  Tensor last_V;
  const int64_t part = cache_ ? kScored : T;
  for (int64_t begin = 0; begin < T; begin += part) {
    const int64_t end = std::min(T, begin + part);
    const Tensor position_1T = cache_ ? cache_->extend({static_cast<int64_t>(slot)}, end - begin) : Tensor();
    const Tensor logits_TV = net_.logits(row({ids.begin() + begin, ids.begin() + end}), position_1T, {}, ctx)[0];
    for (int64_t t = begin; t < std::min(end, T - 1); ++t) {
      const std::vector<double> logits_V = values(logits_TV[t - begin]);
      const auto next = static_cast<size_t>(ids[static_cast<size_t>(t + 1)]);
      sequence.result.prompt_log_probabilities.push_back(logits_V[next] - log_normaliser(logits_V));
    }
    last_V = logits_TV[-1];
  }
  return last_V;
}

/// A token for every sequence. Rows of a batch are the slots, with padding where a slot is free or its window is full;
/// the windows that are full are read anew after it.
void Generator::grow() {
  std::vector<size_t> together, alone;
  for (size_t s = 0; s < slots_.size(); ++s) {
    if (!slots_[s]) continue;
    const bool fits = cache_ && slots_[s]->window_length() <= net_.longest();
    (fits ? together : alone).push_back(s);
  }
  if (!together.empty()) {
    std::vector<int64_t> all_S(slots_.size()), ids_S(slots_.size(), 0);
    for (const size_t s : together) ids_S[s] = slots_[s]->ids.back();
    for (size_t s = 0; s < slots_.size(); ++s) {
      all_S[s] = static_cast<int64_t>(s);
      const bool padding = std::find(together.begin(), together.end(), s) == together.end();
      if (padding) cache_->clear(all_S[s]);
    }
    Ctx ctx;
    ctx.cache = cache_.get();
    const Tensor ids_S1 = torch::tensor(ids_S, at::kLong).unsqueeze(1);
    const Tensor logits_SV = net_.next_logits(ids_S1, cache_->extend(all_S, 1), ctx).to(at::kCPU, at::kDouble);
    for (const size_t s : together) {
      if (stopped_) return;
      accept(s, logits_SV[static_cast<int64_t>(s)]);
    }
  }
  for (const size_t s : alone) {
    if (stopped_) return;
    accept(s, read(s, *slots_[s]));
  }
}

void Generator::accept(size_t slot, const Tensor& logits) {
  Sequence& sequence = *slots_[slot];
  const Sampling& sampling = sequence.sampling();
  Result& result = sequence.result;
  const std::vector<double> logits_V = values(logits);
  const double log_sum = log_normaliser(logits_V);
  const auto log_probability = [&](int64_t id) { return logits_V[static_cast<size_t>(id)] - log_sum; };
  if (sampling.likeliest > 0) {
    auto& likely = result.likeliest.emplace_back();
    for (const int64_t id : largest(logits_V, sampling.likeliest)) likely.push_back({id, log_probability(id)});
  }
  const int64_t id = next_token(sequence.request, static_cast<int64_t>(result.ids.size()), logits_V);
  sequence.ids.push_back(id);
  sequence.text.push(id);
  result.ids.push_back(id);
  if (sampling.log_probabilities) result.log_probabilities.push_back(log_probability(id));
  const std::optional<Ending> ending = ending_after(sequence, id);
  if (ending) sequence.text.finish();
  tell({result.ticket, id, log_probability(id), sequence.text.take()});
  if (ending) end(slot, *ending);
}

/// Why a sequence ends with the token that was just drawn, if it does.
std::optional<Ending> Generator::ending_after(const Sequence& sequence, int64_t id) const {
  const Sampling& sampling = sequence.sampling();
  const std::vector<int64_t>& ends = sampling.end_ids;
  const bool closes = sampling.document_end && id == document_end_;
  if (closes || std::find(ends.begin(), ends.end(), id) != ends.end()) return Ending::document_end;
  if (sequence.text.stopped()) return Ending::stop;
  if (static_cast<int64_t>(sequence.result.ids.size()) == sampling.tokens) return Ending::length;
  if (!sampling.slide && sequence.window_length() > net_.longest()) return Ending::room;
  return std::nullopt;
}

void Generator::tell(const Drawn& drawn) {
  if (listener_ && *listener_ && !(*listener_)(drawn)) stopped_ = true;
}

void Generator::end(size_t slot, Ending ending) {
  Sequence& sequence = *slots_[slot];
  sequence.text.finish();
  sequence.result.text = sequence.text.text();
  sequence.result.ending = ending;
  ended_.push_back(std::move(sequence.result));
  slots_[slot].reset();
}

}  // namespace etude
