#pragma once
// Manual pages in troff's input language as plain text: the macros of man(7) and mdoc(7), tables, conditions and macros
// that a page defines for itself. Good enough for reading and for language models; not a formatter.

#include <string>
#include <string_view>

namespace etude {

struct ManualPage {
  std::string title, section;  ///< as TH or Dt give them
  /// Headings, paragraphs and lines; empty for a page that only refers to another (.so).
  std::string text;
};

/// Reads UTF-8. Errors: Code::data at "PLACE:LINE" for macros that expand to far more than the page has.
ManualPage read_manual_page(std::string_view source, const std::string& place);

}  // namespace etude
