#pragma once
// Text from a language model: many requests share a batch, and none notices. S slots, V vocabulary.
//
//   Generator generator(net, tokenizer, 8);
//   generator.submit({.prompt = ids, .sampling = {.temperature = 0.8}, .number = 1});
//   for (const Result& result : generator.run()) std::cout << result.text;
//
// A sequence takes a slot as soon as one is free. Its prompt is read by itself; then all slots grow by a token at a
// time, in a batch that always has S rows (those of free slots are padding), so that the arithmetic of a row does not
// depend on who is beside it. Draws are keyed by the request. Together: what a request gives depends on net, request
// and S alone, and on S no further than rounding reaches.

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "etude/data/tokenizer.h"
#include "etude/nn/kv_cache.h"
#include "etude/nn/net.h"
#include "etude/rl/sampling.h"
#include "etude/rl/text_stream.h"

namespace etude {

struct Request {
  std::vector<int64_t> prompt;  ///< a token at least
  Sampling sampling = {};
  /// The i-th draw is a function of (sampling.seed, number, i): requests that are to differ differ in one of them.
  int64_t number = 0;
};

/// Why a sequence ended.
enum class Ending {
  length,        ///< sampling.tokens were drawn
  stop,          ///< a stop string
  document_end,  ///< the tokenizer's, or one of sampling.end_ids
  room,          ///< the net's length, where sampling.slide is false
  interrupted    ///< the listener said so
};
std::string_view ending_name(Ending ending);  ///< "document_end"

struct Likely {
  int64_t id = 0;
  double log_probability = 0;
};

/// Log-probabilities are those of the net itself: at temperature 1, unfiltered, given all that the net sees.
struct Result {
  int64_t ticket = 0;        ///< as submit() gave it
  std::vector<int64_t> ids;  ///< that were drawn, with the one that ended the sequence
  std::string text;          ///< theirs, without a stop string and what follows it
  Ending ending = Ending::length;
  std::vector<double> log_probabilities;         ///< of each of ids
  std::vector<double> prompt_log_probabilities;  ///< of each token of the prompt but the first
  std::vector<std::vector<Likely>> likeliest;    ///< with each of ids
  int64_t slides = 0;                            ///< how often the sequence went on from half of the net's length
};

/// A token, as soon as it is drawn.
struct Drawn {
  int64_t ticket = 0, id = 0;
  double log_probability = 0;
  std::string text;  ///< what can be shown now: whole characters that can't become a stop string
};

class Generator {
 public:
  /// Told of every token; false ends all sequences.
  using Listener = std::function<bool(const Drawn&)>;

  /// Both must outlive the generator. Parameters of the net may change only while it is idle(). Nets that don't follow
  /// a cache read each sequence anew for every token.
  Generator(LanguageModel& net, const Tokenizer& tokenizer, int64_t slots = 8);
  ~Generator();

  /// Returns the request's ticket: 0, 1, 2, ...
  /// Errors: Code::usage for an empty prompt, and one that fills the net where it may not slide; Code::data for ids
  /// outside the net's vocabulary.
  int64_t submit(Request request);
  bool idle() const;
  /// Every free slot takes a request, and every sequence grows by a token. Returns those that ended.
  /// Errors: Code::numeric when the net gives a value that is not a number.
  std::vector<Result> step(const Listener& listener = {});
  /// Steps until idle, or until the listener ends it: then sequences that have begun end as interrupted, and requests
  /// that wait are dropped. In the order of submission.
  std::vector<Result> run(const Listener& listener = {});

 private:
  struct Sequence;
  using Slot = std::unique_ptr<Sequence>;
  void begin(size_t slot);
  void grow();
  void make_room(Sequence& sequence) const;
  Tensor read(size_t slot, Sequence& sequence);
  Tensor read_and_score(size_t slot, Sequence& sequence);
  void accept(size_t slot, const Tensor& logits_V);
  std::optional<Ending> ending_after(const Sequence& sequence, int64_t id) const;
  void end(size_t slot, Ending ending);
  void tell(const Drawn& drawn);

  LanguageModel& net_;
  const Tokenizer& tokenizer_;
  std::optional<int64_t> document_end_;
  std::unique_ptr<KvCache> cache_;  ///< null where the net follows none
  std::vector<Slot> slots_;
  std::deque<Slot> waiting_;
  std::vector<Result> ended_;
  const Listener* listener_ = nullptr;
  int64_t tickets_ = 0;
  bool stopped_ = false;
};

}  // namespace etude
