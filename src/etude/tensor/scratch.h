#pragma once
// Memory of one thread that stays for its next calls of an operator.

#include <cstdint>
#include <memory>
#include <new>

namespace etude {

/// At least `count` values, aligned to a line of the cache, as the last call with this type and purpose left them.
/// Purpose: an enumerator of the caller's own, so that no two callers share memory.
template <class T, auto purpose>
T* thread_scratch(int64_t count) {
  struct Free {
    void operator()(T* p) const { ::operator delete[](p, std::align_val_t(64)); }
  };
  thread_local std::unique_ptr<T[], Free> memory;
  thread_local int64_t held = 0;
  if (count > held) {
    memory.reset();
    held = 0;
    memory.reset(static_cast<T*>(::operator new[](static_cast<size_t>(count) * sizeof(T), std::align_val_t(64))));
    held = count;
  }
  return memory.get();
}

}  // namespace etude
