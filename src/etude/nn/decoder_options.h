#pragma once
// What a decoder in the manner of Llama is made of. Free of LibTorch.

#include <cstdint>

#include "etude/base/options.h"
#include "etude/nn/adapter_options.h"
#include "etude/nn/rope_scaling.h"

namespace etude {

struct DecoderOptions {
  int64_t vocab = 257;  ///< bytes and the end of a document
  int64_t dim = 64;
  int64_t layers = 2;
  int64_t heads = 2;
  int64_t kv_heads = 0;
  int64_t ffn = 0;
  int64_t length = 64;
  double dropout = 0;
  bool tied = true;
  double rope_theta = 10000;
  double norm_eps = 1e-5;
  double init_std = 0.02;
  int64_t head_dim = 0;
  bool qkv_bias = false, attention_bias = false, mlp_bias = false;
  RopeScaling rope_scaling;
  AdapterOptions adapter;

  int64_t head_dim_or_default() const { return head_dim > 0 ? head_dim : dim / heads; }
  int64_t kv_heads_or_default() const { return kv_heads > 0 ? kv_heads : heads; }
  /// 8/3 dim (Shazeer 2020, section 3.1: the size that costs what a layer of 4 dim without gate costs),
  /// rounded up to a multiple of 32.
  int64_t ffn_or_default() const { return ffn > 0 ? ffn : (8 * dim + 95) / 96 * 32; }

  template <class V>
  void fields(V& v) {
    v("vocab", vocab, within(1, 1 << 24), "token ids that there are");
    v("dim", dim, within(2, 1 << 20), "model width");
    v("layers", layers, within(1, 4096), "blocks");
    v("heads", heads, within(1, 1 << 16), "query heads; they divide dim unless head_dim is given");
    v("kv_heads", kv_heads, within(0, 1 << 16), "key and value heads; they divide heads; 0: as many");
    v("ffn", ffn, within(0, 1 << 24), "hidden width of SwiGLU; 0: 8/3 dim, rounded up to a multiple of 32");
    v("length", length, within(1, 1 << 24), "longest row");
    v("dropout", dropout, half_open(0, 1), "of the embeddings and of what each block adds to the residual stream");
    v("tied", tied, "the head is the transposed embedding");
    v("rope_theta", rope_theta, positive(), "base of the rotary frequencies");
    v("norm_eps", norm_eps, positive(), "epsilon of RMSNorm");
    v("init_std", init_std, at_least(0),
      "standard deviation of initial weights; those that write to the residual stream get init_std / sqrt(2 layers)");
    v("head_dim", head_dim, within(0, 1 << 20), "width of a head; 0: dim / heads");
    v("qkv_bias", qkv_bias, "biases of queries, keys and values, as in Qwen2");
    v("attention_bias", attention_bias, "biases of all four projections of attention");
    v("mlp_bias", mlp_bias, "biases of the three projections of SwiGLU");
    v("rope_scaling", rope_scaling, "how rotary frequencies are stretched for longer rows");
    v("adapter", adapter, "low-rank corrections that train in place of the weights");
  }
};

/// Refuses what cannot be built. Errors: Code::config; `table` gives the places of the options.
void check(const DecoderOptions& options, const Config& table = Config::table());

}  // namespace etude
