#pragma once
// Rows of a table by number, with a gradient that does not depend on the number of threads.
//
// V rows of the table, D width, N any dimensions of ids.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "etude/tensor/tensor.h"

namespace etude {

/// Refuses int64 values outside [0, limit) other than `except`: one cheap pass (on an accelerator one reduction and one
/// wait; nothing on `meta`). Errors: Code::data naming value and place, as "<tensor>[3, 17]", with `hint`.
void require_below(const Tensor& values, int64_t limit, std::string_view tensor, const std::string& hint,
                   std::optional<int64_t> except = {});

/// weight[id], of ids' shape with D behind. Required: ids int64 in [0, V), see require_below(). The gradient of the
/// weight is a whole table; a row's is the sum of its places' in their order. Differentiable twice.
Tensor embed_ids(const Tensor& weight_VD, const Tensor& ids_N);

}  // namespace etude
