#pragma once
// Variants: other values of a replica's trained parameters, such as an average of them, that a technique keeps. It
// names them in Contract::variants and keeps the value of each trained parameter in step.store() under variant_key().
// The frame evaluates each replica with them too ("ema/valid/loss" beside "valid/loss"), and publishes them with the
// run as nets of their own: "model@ema/lm_head.weight" beside "model/lm_head.weight".

#include <string>
#include <vector>

#include "etude/optim/optimizer.h"
#include "etude/tensor/tensor.h"
#include "etude/train/store.h"

namespace etude {

/// What the names of all variants begin with in a store.
inline constexpr const char* kVariants = "variant/";
/// "variant/ema/model.lm_head.weight"
std::string variant_key(const std::string& variant, const std::string& parameter);

/// The values of a variant, in the order of the parameters. Errors: Code::internal when one isn't there.
std::vector<Tensor> variant_values(Store& store, const std::string& variant, const Parameters& parameters);

/// Adds to nets ("model/lm_head.weight") those that variants of them make ("model@ema/lm_head.weight"), each whole and
/// in the types of the net: what the variant doesn't have, such as a buffer, is that of the net. `kept`: tensors under
/// variant_key().
void add_variants(NamedTensors& nets, const NamedTensors& kept);

}  // namespace etude
