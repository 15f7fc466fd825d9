#pragma once
// What an encoder in the manner of BERT is made of. Free of LibTorch.

#include <cstdint>

#include "etude/base/options.h"
#include "etude/nn/adapter_options.h"

namespace etude {

struct EncoderOptions {
  int64_t vocab = 258;  ///< bytes, the end of a document and a mask
  int64_t dim = 64;
  int64_t layers = 2;
  int64_t heads = 2;
  int64_t ffn = 0;
  int64_t length = 64;
  int64_t types = 2;
  double dropout = 0;
  double norm_eps = 1e-12;
  double init_std = 0.02;
  AdapterOptions adapter;
  static constexpr bool tied = true;  ///< the head is the transposed embedding, as in BERT

  int64_t ffn_or_default() const { return ffn > 0 ? ffn : 4 * dim; }

  template <class V>
  void fields(V& v) {
    v("vocab", vocab, within(1, 1 << 24), "token ids that there are, that of a mask included");
    v("dim", dim, within(1, 1 << 20), "model width");
    v("layers", layers, within(1, 4096), "blocks");
    v("heads", heads, within(1, 1 << 16), "attention heads; they divide dim");
    v("ffn", ffn, within(0, 1 << 24), "hidden width of the feed-forward layers; 0: 4 dim");
    v("length", length, within(1, 1 << 24), "longest row: as many positions are learned");
    v("types", types, within(1, 1 << 16), "token types: which of several texts of a row a token belongs to");
    v("dropout", dropout, half_open(0, 1), "of the embeddings and of what each block adds to the residual stream");
    v("norm_eps", norm_eps, positive(), "epsilon of layer normalisation");
    v("init_std", init_std, at_least(0), "standard deviation of initial weights");
    v("adapter", adapter, "low-rank corrections that train in place of the weights");
  }
};

/// Refuses what cannot be built. Errors: Code::config; `table` gives the places of the options.
void check(const EncoderOptions& options, const Config& table = Config::table());

}  // namespace etude
