#pragma once
// Weights that move from an artifact into a net: strict, so that nothing is left behind or started anew by accident.

#include <set>
#include <string>
#include <vector>

#include "etude/nn/net.h"
#include "etude/train/artifact.h"
#include "etude/train/stage.h"

namespace etude {

/// Whether a dotted name is the selector or lies below it: "model.layers.1" covers "model.layers.1.weight", and not
/// "model.layers.10.weight". "" covers all.
bool covers(const std::string& selector, const std::string& name);

/// Whether a learner's selector means a parameter: a dotted name that covers it, and the tag behind a ':' if there is
/// one ("model:adapter"). What is tagged "frozen" is never meant.
bool selects(const std::string& selector, const std::string& name, const std::set<std::string>& tags);

/// What became of all tensors of one init.
struct WeightMove {
  std::vector<std::string> moved;    ///< by their names in the net
  std::vector<std::string> fresh;    ///< of the net: they keep their initial values
  std::vector<std::string> dropped;  ///< of the artifact: not taken
  std::string text() const;          ///< "12 tensors moved, 2 fresh (lm_head.weight, ...), none dropped"
};

/// Copies the net `init.net` of the artifact into `net`. Errors (Code::config, at `place`): no such net in the
/// artifact, a tensor without its other half, another shape, a rename, drop or fresh that meets nothing.
WeightMove move_weights(const InitSpec& init, const Artifact& artifact, Net& net, const std::string& place);

}  // namespace etude
