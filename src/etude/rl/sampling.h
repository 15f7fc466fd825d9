#pragma once
// How the next token is drawn from a net's logits, and when a text ends. V: vocabulary.
//
// Filters come in the order in which Hugging Face's transformers apply theirs: temperature, top-k, top-p, min-p. What
// a filter removes has the logit -infinity afterwards.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "etude/base/options.h"

namespace etude {

struct Sampling {
  double temperature = 1;
  int64_t top_k = 0;
  double top_p = 1, min_p = 0;
  int64_t tokens = 200;
  std::vector<std::string> stop = {};
  bool document_end = true;
  std::vector<int64_t> end_ids = {};
  bool slide = true;
  int64_t seed = 0;
  bool log_probabilities = false, prompt_log_probabilities = false;
  int64_t likeliest = 0;

  template <class V>
  void fields(V& v) {
    v("temperature", temperature, within(0, 100),
      "divides the logits; 0: always the likeliest token, the lowest of equals");
    v("top_k", top_k, within(0, 1 << 24), "draw among so many likeliest tokens; 0: among all");
    v("top_p", top_p, within(0, 1), "draw among the fewest likeliest tokens that have this probability together");
    v("min_p", min_p, within(0, 1), "leave out tokens less likely than this share of the likeliest one's probability");
    v("tokens", tokens, at_least(0), "how many to draw, at most");
    v("stop", stop, "texts that end a sequence; they are cut off");
    v("document_end", document_end, "the token that closes a document ends a sequence");
    v("end_ids", end_ids, "further tokens that end a sequence");
    v("slide", slide,
      "a sequence that fills the net's length goes on from the last half of it, as if it began there; false: it ends");
    v("seed", seed, at_least(0), "of the draws");
    v("log_probabilities", log_probabilities, "give those of the drawn tokens");
    v("prompt_log_probabilities", prompt_log_probabilities, "give those of the prompt's tokens, from the second on");
    v("likeliest", likeliest, within(0, 1 << 24), "with each drawn token, give so many likeliest ones");
  }
};

/// Removes all but the k largest; what equals the smallest of them stays too. k >= 1.
void keep_top_k(std::span<double> logits_V, int64_t k);
/// Nucleus sampling (Holtzman et al. 2020, section 3.1): keeps a token if those likelier than it, and the equally
/// likely ones of lower ids, have less than p of the probability together. The likeliest always stays.
void keep_top_p(std::span<double> logits_V, double p);
/// Removes tokens less likely than min_p times the likeliest (Nguyen et al. 2024, "Min-p sampling", section 3.1).
void keep_min_p(std::span<double> logits_V, double min_p);
/// Temperature (> 0) and the three filters, those that are on.
void filter(std::span<double> logits_V, const Sampling& sampling);

/// The largest, the lowest id of equals.
int64_t likeliest(std::span<const double> logits_V);
/// The token at which the cumulative probability, in the order of ids, passes `uniform` in [0, 1).
int64_t draw(std::span<const double> logits_V, double uniform);
/// log sum exp: the log-probability of token v is logits_V[v] - log_normaliser(logits_V).
double log_normaliser(std::span<const double> logits_V);
/// The ids of the n largest, in falling order, lower ids first among equals.
std::vector<int64_t> largest(std::span<const double> logits_V, int64_t n);

}  // namespace etude
