#pragma once
// Averages of weights, over the steps of a run or over its checkpoints.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "etude/tensor/tensor.h"

namespace etude {

/// The decay of an exponential moving average that has taken `averaged` values in: min(decay, (1 + n) / (10 + n)), so
/// that what it began with is soon forgotten. As num_updates of TensorFlow's ExponentialMovingAverage.
double warmed_up_decay(double decay, int64_t averaged);

/// What the average of such a value begins with: a copy, in float32 where the value is narrower, as a share of 0.001
/// would be lost in bfloat16.
Tensor begin_average(const Tensor& value);

/// average <- decay * average + (1 - decay) * value, for each. Required: equal shapes.
void move_averages(const std::vector<Tensor>& averages, const std::vector<Tensor>& values, double decay);

/// The mean of several states of the same tensors, each with the same weight, summed in double. Integers have no mean:
/// they are those of the state that was added last.
class UniformMean {
 public:
  /// Errors: Code::checkpoint at `where` when a tensor is missing, new, or of another shape or type than before.
  void add(const NamedTensors& state, const std::string& where);
  /// In the order and the types of the first state. Required: one was added.
  NamedTensors mean() const;

 private:
  struct Sum {
    Tensor total;  ///< in double; of integers the newest
    c10::ScalarType type;
  };
  std::vector<std::string> order_;
  std::map<std::string, Sum> sums_;
  int64_t count_ = 0;
};

}  // namespace etude
