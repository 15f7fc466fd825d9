#pragma once
// JSON read token by token by a reader that knows what must come: for files that strangers wrote. Strict (RFC 8259);
// what does not belong is refused where it stands, nothing is built for what is not used, nothing recurses without
// a bound, and time is linear in the text.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace etude {

class JsonCursor {
 public:
  /// `refuse` is called with what is wrong and must throw. The text must outlive the cursor. `what` names it in
  /// messages: "the header is no JSON at byte 17".
  JsonCursor(std::string_view text, std::string what, std::function<void(const std::string&)> refuse);

  /// A table: member(key) is called with the cursor before each value, which it must take. Keys may come twice.
  template <class Member>
  void table(const Member& member) {
    open('{');
    for (bool more = !closes('}'); more; more = goes_on('}')) {
      if (next() != '"') no_json();
      std::string key = text();
      require(':');
      member(std::move(key));
    }
  }
  /// A list: item() is called with the cursor before each value, which it must take.
  template <class Item>
  void list(const Item& item) {
    open('[');
    for (bool more = !closes(']'); more; more = goes_on(']')) item();
  }
  /// A string, unescaped. UTF-8.
  std::string text();
  /// A whole number of 0 .. 2^64 - 1 without point or exponent.
  uint64_t count();
  /// Whether a number of nothing but digits stands here.
  bool at_digits();
  /// Takes `null` if that is what stands here.
  bool null();
  /// A value of any kind, nested at most so deep.
  void skip(int depth = 32);
  /// What kind of value stands here: its first character, 0 at the end of the text.
  char next();
  /// Requires that nothing follows.
  void finish();

 private:
  void open(char c);
  bool closes(char c);
  bool goes_on(char end);
  void require(char c);
  uint32_t hexadecimal(size_t at);
  /// Where the text that begins here ends, and whether it stands for itself: ASCII without escapes.
  std::pair<size_t, bool> end_of_text() const;
  std::string unescaped(size_t end);
  std::string_view number() const;
  void skip_word(std::string_view word);
  /// Says what stands here, where it does not belong.
  [[noreturn]] void misplaced();
  [[noreturn]] void no_json();
  [[noreturn]] void refuse(const std::string& what);

  std::string_view text_;
  std::string what_;
  std::function<void(const std::string&)> refuse_;
  size_t at_ = 0;
};

/// For messages: printable, on one line, and no longer than that can hold.
std::string shortened(std::string_view text);

}  // namespace etude
