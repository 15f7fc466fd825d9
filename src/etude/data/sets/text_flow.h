#pragma once
// Text as it is set: words of a paragraph on one line, lines that are kept as they are, empty lines between.

#include <string>
#include <string_view>

namespace etude {

class TextFlow {
 public:
  /// Appends to the paragraph, after a space unless the last text said that it goes on.
  void words(std::string_view text, bool goes_on = false) {
    if (!text.empty()) {
      begin();
      if (!at_line_begin() && !goes_on_) text_ += ' ';
      text_ += text;
    }
    goes_on_ = goes_on;
  }
  /// A line of its own, blanks kept.
  void line(std::string_view text) {
    end_line();
    if (text.empty() && !text_.empty()) {
      between_ = true;
      return;
    }
    begin();
    text_ += text;
    text_ += '\n';
  }
  void end_line() {
    if (!at_line_begin()) text_ += '\n';
    goes_on_ = false;
  }
  /// What comes next stands after an empty line.
  void end_paragraph() {
    end_line();
    between_ = true;
  }
  std::string finished() {
    end_line();
    return std::move(text_);
  }

 private:
  bool at_line_begin() const { return text_.empty() || text_.back() == '\n'; }
  void begin() {
    if (between_ && !text_.empty()) text_ += '\n';
    between_ = false;
  }

  std::string text_;
  bool between_ = false, goes_on_ = false;
};

}  // namespace etude
