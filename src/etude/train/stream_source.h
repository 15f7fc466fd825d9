#pragma once
// A pure stream as the source of a stage: an epoch or sharded plan over a data set, read ahead.

#include <memory>
#include <string>

#include "etude/base/options.h"
#include "etude/data/source.h"
#include "etude/train/stage.h"

namespace etude {

struct SourceOptions {
  int64_t batch = 4;
  int64_t shards = 1;
  bool shuffle = true;
  template <class V>
  void fields(V& v) {
    v("batch", batch, at_least(1), "samples of one replica in a step");
    v("shards", shards, at_least(1),
      "contiguous ranges that the data is cut into; replica r of R draws from shards r*shards/R ...");
    v("shuffle", shuffle, "a new order in every epoch");
  }
};

/// `name`: that of the source in its stage, under which the run state keeps its position. `batch` samples per replica
/// and draw, or as many as a plan's owner asks for: the same on every replica, else Code::config.
std::shared_ptr<Source> stream_source(const std::string& name, std::shared_ptr<Dataset> data,
                                      const SourceOptions& options, uint64_t seed);

}  // namespace etude
