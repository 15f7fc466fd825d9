#pragma once
// Which way each operator went, for `etude bench --explain` and for tests that a fast path was really taken.

#include <cstdint>
#include <map>
#include <string>

namespace etude {

/// Counts one call. Both are string literals: "linear", "own bfloat16" or "aten: double backward". Costs an atomic
/// read unless watched.
void took_path(const char* op, const char* path);

/// Counts from here on, and forgets what was counted.
void watch_paths(bool on);
/// op -> path -> calls since watch_paths(true).
std::map<std::string, std::map<std::string, int64_t>> paths_taken();

}  // namespace etude
