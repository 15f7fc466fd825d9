#pragma once
// Which instructions the own kernels use: the best that the processor has, or what ETUDE_ISA names.

#include <string>
#include <string_view>
#include <vector>

namespace etude {

/// In ascending order; each has those before it. `aten`: no kernel of our own, LibTorch's operators alone.
enum class Isa { aten, avx2, avx512, avx512_bf16, amx };
std::string_view isa_name(Isa isa);

/// The best of this processor.
Isa detected_isa();
/// What kernels choose by: detected_isa(), or less where it was forced.
Isa isa();
/// Errors: Code::config where the processor does not have it. The product kernels of LibTorch's oneDNN obey only a
/// choice that was made before the first of them: obey_isa_switch().
void force_isa(Isa isa);
/// Takes the environment variable ETUDE_ISA (a name of isa_name()) into account; called before anything is computed.
/// Errors: Code::config for a name that is unknown, or instructions that the processor does not have.
void obey_isa_switch();

/// All that this processor has, ascending.
std::vector<Isa> available_isas();

}  // namespace etude
