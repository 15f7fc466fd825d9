#pragma once
// Checkpoints of Hugging Face's model folders, in and out: config.json with model.safetensors, or several such files
// with an index. Weights are float32 in the net, whatever they are in the files.
//
//   [net.model]
//   kind = "hugging_face"
//   path = "folder"
//
// Names are those of transformers, with or without "model.", "transformer." or "bert." before them (base models are
// saved without). GPT-2's projections lie transposed in files. A head that the config ties may be there too, equal to
// the embedding. Buffers that are computed anew (rotary frequencies, GPT-2's causal masks), and what BERT has to
// predict the next sentence by, are kept for writing only.

#include "etude/base/torch_pch.h"

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "etude/base/options.h"
#include "etude/nn/adapter_options.h"
#include "etude/nn/hugging_face_config.h"
#include "etude/nn/net.h"
#include "etude/tensor/tensor_files.h"

namespace etude {

struct HuggingFaceOptions {
  std::string path;
  int64_t length = 0;
  double dropout = 0;
  AdapterOptions adapter;
  std::string config;
  template <class V>
  void fields(V& v) {
    v("path", path, any(), "folder with config.json and model.safetensors");
    v("length", length, within(0, 1 << 24), "longest row; 0: as the config says");
    v("dropout", dropout, half_open(0, 1), "of the embeddings and of what each block adds to the residual stream");
    v("adapter", adapter, "low-rank corrections that train in place of the weights");
    v("config", config, any(), "what config.json said when the recipe was read; left out: it is read");
  }
};

/// A parameter of a net and where its value lies.
struct WeightPlace {
  std::string name;            ///< in the net
  std::vector<int64_t> shape;  ///< in files
  bool transposed = false;     ///< in files
  /// Other names that files have for it, in its place or beside it with an equal value.
  std::vector<std::string> also = {};
};
/// The parameters of the net that a config describes. Nothing is allocated.
std::vector<WeightPlace> weight_places(const HuggingFaceConfig& config);

/// Which tensor of a checkpoint is which parameter.
struct WeightMap {
  struct Pair {
    WeightPlace place;
    std::string theirs;
  };
  std::vector<Pair> pairs;
  std::map<std::string, size_t> copies;  ///< tensors that repeat a pair: a tied head
  std::vector<std::string> passed_over;  ///< what the net does not have, and nothing here needs
};
/// Only headers are read. Errors: Code::checkpoint naming the file, the tensor and both shapes, for tensors that are
/// missing, left over, of another shape or of a type that is none of float32, bfloat16, float16, and for copies that
/// differ, such as a tied head.
WeightMap match_weights(const HuggingFaceConfig& config, const TensorReader& from);

/// Fills a net that weight_places(config) describes. Errors: those of match_weights(); Code::io.
void load_weights(const HuggingFaceConfig& config, const TensorReader& from, Net& net);

/// How weights are written.
enum class WeightType { as_loaded, float32, bfloat16, float16 };
/// The tensors of a net's checkpoint, to be written by write_tensors(), without those of an adapter (merge_adapter()
/// puts it into the weights). With `loaded`, the checkpoint that it began from: in its order, under its names, what has
/// its value still to the bit as it lies there (unless another type is asked for), and the buffers. as_loaded without
/// `loaded` is float32. `net` and `loaded` must outlive the result.
std::vector<TensorSource> weights_to_write(const HuggingFaceConfig& config, const Net& net, const TensorReader* loaded,
                                           WeightType type);

/// The part with its config read and its weights' headers checked, if that is not done yet. Errors: Code::checkpoint,
/// Code::io; Code::config for a length that the net can't have.
HuggingFaceOptions complete(HuggingFaceOptions options);
/// The config that the options hold, with their length and dropout. Required: complete() options.
HuggingFaceConfig config_of(const HuggingFaceOptions& options);
/// A Decoder, a Gpt2 or an Encoder whose initialise() loads the weights, whatever the seed.
std::shared_ptr<TokenNet> make_hugging_face(const HuggingFaceOptions& options);

/// SHA-256 over config.json and the files of weights.
std::string checkpoint_hash(const std::string& folder);

}  // namespace etude
