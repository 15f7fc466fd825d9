#pragma once
// Errors of reading texts that users point at.

#include <sys/stat.h>

#include <string>

#include "etude/base/error.h"

namespace etude::corpus {

/// Of Code::data.
Error refuse(const std::string& what, const std::string& where, const std::string& hint);
/// Of a system call on a path.
Error failed(const std::string& what, int problem, const std::string& path);
/// "links form a circle"
Error circle(const std::string& path);
/// Errors: Code::data that names what it is (a FIFO, a device, ...).
void require_regular(const struct stat& info, const std::string& path);
/// Errors: Code::data when three times these bytes don't fit into the machine's memory.
void require_memory(int64_t bytes, const std::string& path);

}  // namespace etude::corpus
