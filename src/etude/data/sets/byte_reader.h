#pragma once
// Numbers and pieces of bytes that come from outside: nothing is read past their end, and whatever is wrong is told
// with the offset.

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

#include "etude/base/error.h"

namespace etude {

class ByteReader {
 public:
  /// `place` names the bytes in errors, `hint` says what to do about bytes that can't be read.
  ByteReader(std::string_view bytes, std::string place, std::string hint)
      : bytes_(bytes), place_(std::move(place)), hint_(std::move(hint)) {}

  size_t offset() const { return at_; }
  size_t left() const { return bytes_.size() - at_; }
  const std::string& place() const { return place_; }
  const std::string& hint() const { return hint_; }

  std::string_view take(size_t count) {
    if (count > left()) {
      fail("it ends after " + std::to_string(left()) + " of the " + std::to_string(count) +
           " bytes that should follow");
    }
    at_ += count;
    return bytes_.substr(at_ - count, count);
  }

  template <std::unsigned_integral T>
  T little() {
    T value = 0;
    int shift = 0;
    for (unsigned char byte : take(sizeof(T))) value |= static_cast<T>(static_cast<T>(byte) << shift), shift += 8;
    return value;
  }

  template <std::unsigned_integral T>
  T big() {
    T value = 0;
    for (unsigned char byte : take(sizeof(T))) value = static_cast<T>(static_cast<uint64_t>(value) << 8 | byte);
    return value;
  }

  void seek(size_t offset) {
    if (offset > bytes_.size()) {
      fail("it refers to byte " + std::to_string(offset) + " of " + std::to_string(bytes_.size()));
    }
    at_ = offset;
  }

  /// Errors: Code::data with the place and the offset.
  [[noreturn]] void fail(std::string what) const {
    throw Error(Code::data, std::move(what), place_ + ": byte " + std::to_string(at_), hint_);
  }

 private:
  std::string_view bytes_;
  std::string place_, hint_;
  size_t at_ = 0;
};

}  // namespace etude
