#pragma once
// A Llama-style decoder (Touvron et al. 2023): pre-norm blocks of grouped-query attention with rotary positions and
// SwiGLU, RMSNorm, tied or free output, under the tensor names of Hugging Face's LlamaForCausalLM.

#include <memory>

#include "etude/base/options.h"
#include "etude/nn/net.h"

namespace etude {

struct DecoderOptions {
  int64_t vocab = 257, dim = 64, layers = 2, heads = 2, kv_heads = 0, ffn = 0, length = 64;
  double dropout = 0, rope_theta = 10000, norm_eps = 1e-5, init_std = 0.02;
  bool tied = true;
  template <class V> void fields(V& v) {
    v("vocab", vocab, within(2, 1 << 24), "vocabulary; bytes need 257");
    v("dim", dim, within(2, 1 << 16), "model width D");
    v("layers", layers, within(1, 1024), "blocks");
    v("heads", heads, within(1, 1024), "query heads; must divide dim into even parts");
    v("kv_heads", kv_heads, within(0, 1024), "key and value heads; must divide heads; 0: as many");
    v("ffn", ffn, within(0, 1 << 18), "inner width; 0: 8/3 dim rounded up to a multiple of 32");
    v("length", length, within(1, 1 << 24), "longest sequence");
    v("dropout", dropout, half_open(0, 1), "after attention and feed-forward");
    v("rope_theta", rope_theta, positive(), "base of the rotary positions");
    v("norm_eps", norm_eps, positive(), "epsilon of the norms");
    v("init_std", init_std, positive(), "deviation of the initial weights; what enters the residual stream is divided by sqrt(2 layers)");
    v("tied", tied, "output weights are the embedding's");
  }
};

/// Errors: Code::config when heads, kv_heads or dim do not fit.
std::shared_ptr<LanguageModel> make_decoder(const DecoderOptions& options);
std::shared_ptr<LanguageModel> make_decoder(const Part& part);

}  // namespace etude
