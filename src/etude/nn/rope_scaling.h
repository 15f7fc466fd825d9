#pragma once
// How rotary frequencies are stretched, so that a model reads texts longer than those it was trained on first. Free of
// LibTorch.

#include <cstdint>

#include "etude/base/options.h"

namespace etude {

struct NoRopeScaling {
  static constexpr const char* kName = "none";
  template <class V>
  void fields(V&) {}
};

/// All frequencies divided by one factor (Chen et al. 2023, "Extending context window of large language models via
/// positional interpolation", equation 4).
struct LinearRopeScaling {
  static constexpr const char* kName = "linear";
  double factor = 1;
  template <class V>
  void fields(V& v) {
    v("factor", factor, at_least(1), "all frequencies are divided by it");
  }
};

/// That of the Llama 3.1 release: frequencies are divided by `factor` if they turn fewer than low_freq_factor times in
/// the original length, kept if more than high_freq_factor times, and in between mixed linearly in that number.
struct Llama3RopeScaling {
  static constexpr const char* kName = "llama3";
  double factor = 8, low_freq_factor = 1, high_freq_factor = 4;
  int64_t original_length = 8192;
  template <class V>
  void fields(V& v) {
    v("factor", factor, at_least(1), "low frequencies are divided by it");
    v("low_freq_factor", low_freq_factor, positive(), "turns in the original length below which a frequency is low");
    v("high_freq_factor", high_freq_factor, positive(), "turns above which it is high; more than low_freq_factor");
    v("original_length", original_length, within(1, 1 << 24), "longest row before it was stretched");
  }
};

using RopeScaling = Kind<NoRopeScaling, LinearRopeScaling, Llama3RopeScaling>;

/// The angle per position that takes the place of `frequency` > 0.
double scaled(const RopeScaling& scaling, double frequency);

}  // namespace etude
