#pragma once
// What this machine has.

#include <string>

namespace etude::cli {

/// Bytes of memory that are free and that this process may take: limits of its control group count.
double free_memory();
/// Bytes of memory that this process may take in all.
double total_memory();
/// The best instruction set for products that the processor has, in LibTorch's words where it has some.
std::string best_instruction_set();

}  // namespace etude::cli
