#pragma once
// A data set in memory, for tests, probes and small tables.

#include <map>
#include <memory>
#include <string>

#include "etude/data/source.h"

namespace etude {

/// Records are the rows of tensors under their contract names; all have the same first dimension. The tensors are
/// copied to the CPU. A batch has them in x and the numbers of its rows as ids.
/// Errors: Code::data naming the tensor that is undefined, has no dimension or another number of rows.
std::shared_ptr<Dataset> tensor_dataset(const std::map<std::string, Tensor>& columns,
                                        const std::string& name = "tensors");

}  // namespace etude
