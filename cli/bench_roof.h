#pragma once
// The roof: the best product that this machine does, in the same minutes as the steps that are held against it.

#include <nlohmann/json.hpp>

namespace etude::cli {

/// wanted: {"format": "fp32" | "bf16", "shapes": [[M, N, K], ...]}. Both LibTorch's product and our own do each of the
/// shapes, of matrices that lie in memory as steps have them. Returns {"flops": of the best one a second, "product":
/// which that was, "all": [{"product", "flops"}, ...]}.
nlohmann::json measure_roof(const nlohmann::json& wanted);

}  // namespace etude::cli
