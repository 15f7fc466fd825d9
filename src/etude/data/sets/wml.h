#pragma once
// The Battle for Wesnoth's markup language, as far as dialogue needs it: tags, and keys with their texts. Macros are
// not expanded, but tags that they are given are read; preprocessor lines are passed over, so that both branches of a
// condition are read.
//
//   [message]
//       speaker=Konrad
//       message= _ "So it is ""done""." + _ "
//   Farewell."                                  # a comment
//   [/message]

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace etude {

class WmlReader {
 public:
  virtual ~WmlReader() = default;
  /// Errors: Code::data at "PLACE:LINE" for a text, a macro or a tag without its end.
  void read(std::string_view text, const std::string& place);

 protected:
  virtual void open(std::string_view tag, int64_t line) = 0;
  virtual void close(std::string_view tag) = 0;
  /// The literal parts of a value; empty where it consists of macros.
  virtual void attribute(std::string_view key, const std::string& value) = 0;

 private:
  void statement();
  void tag();
  std::string value();
  std::string quoted();
  void macro();
  void skip_line();
  std::string_view until(std::string_view end, std::string_view what);
  [[noreturn]] void fail(std::string_view what, size_t at) const;

  std::string_view text_;
  size_t at_ = 0;
  size_t counted_ = 0;  ///< bytes whose line ends are in line_
  int64_t line_ = 1;
  std::string place_;
};

/// Something said.
struct WmlLine {
  std::string speaker;  ///< empty where it is whoever fits a condition
  std::string text;
  std::vector<std::string> options;  ///< answers that the player may choose
  std::string event;                 ///< when it is said ("prestart", "last breath"); empty outside of events
  int dialogue = 0;                  ///< number of the event in the file, from 1; 0 outside of events
  int turn = 0;                      ///< within the dialogue, from 1
  int64_t line = 0;                  ///< where it stands
};

/// The [message]s of a file that say something, in their order.
std::vector<WmlLine> read_wml_dialogue(std::string_view text, const std::string& place);

}  // namespace etude
