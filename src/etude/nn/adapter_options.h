#pragma once
// Which low-rank corrections a net has. Free of LibTorch.

#include <string>
#include <vector>

#include "etude/base/options.h"

namespace etude {

/// adapter = {rank = 8, alpha = 16, targets = ["q_proj", "v_proj"]}, or adapter = {path = "FOLDER"}
struct AdapterOptions {
  int64_t rank = 0;
  double alpha = 16;
  std::vector<std::string> targets;
  double dropout = 0;
  bool rslora = false;
  std::string path;

  bool on() const { return rank > 0 || !path.empty(); }

  template <class V>
  void fields(V& v) {
    v("rank", rank, within(0, 1 << 16), "rank of the corrections (r, section 4.1 of LoRA); 0: no adapter");
    v("alpha", alpha, positive(), "corrections are scaled by alpha / rank");
    v("targets", targets,
      "linear layers that have one, by the ends of their names; all-linear: all but the head; none named: projections "
      "of queries and values");
    v("dropout", dropout, half_open(0, 1), "of what corrections read");
    v("rslora", rslora, "scale by alpha / sqrt(rank) (Kalajdzievski 2023, section 3)");
    v("path", path, "folder of an adapter in PEFT's layout to begin from, which says all of the above");
  }
};

}  // namespace etude
