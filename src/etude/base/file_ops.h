#pragma once
// The layer below etude/base/file.h: each operation that changes the disk is one function here, is
// counted, and is where a fault strikes. They return -1 with errno like the system calls they wrap.

#include <cstddef>
#include <string>

#include "etude/base/error.h"

namespace etude::file::ops {

/// "can't ACTION 'PATH': TEXT OF ERRNO", with a hint for that number.
Error failure(const std::string& action, const std::string& path, int problem);
/// A descriptor of a regular file for reading; anything else (a FIFO would block for ever) is refused. Not counted.
int open_regular(const std::string& path);

int open_create(const std::string& path);  ///< for reading and writing, emptied
int open_append(const std::string& path);
int write(int fd, const char* data, size_t size);  ///< all of it; 0 or -1
int truncate(int fd, long long size);
int sync(int fd);
int sync_directory(const std::string& path);
int rename(const std::string& from, const std::string& to);
int unlink(const std::string& path);
int rmdir(const std::string& path);
int mkdir(const std::string& path);

/// Ends the process as the armed fault would, a power cut included.
[[noreturn]] void die_now();

}  // namespace etude::file::ops
