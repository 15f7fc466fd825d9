#pragma once
// Pages in XML or HTML as the blocks of text that a reader sees: paragraphs, headings, items, cells.

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace etude {

struct TextPage {
  std::string id;     ///< of the outermost element; may be empty
  std::string lang;   ///< as the outermost element tells it; may be empty
  std::string title;  ///< the first heading
  /// The innermost element that is no part of a line ("p", "title", "td") and its text: one line, but for what
  /// is preformatted. Empty ones are left out.
  std::vector<std::pair<std::string, std::string>> blocks;

  std::string text() const;  ///< the blocks with an empty line between them
};

/// A page of Mallard (http://projectmallard.org/1.0/): without credits, comments and texts for links. Nothing is
/// fetched and no entity of the page's own is replaced. Errors: Code::data at "PLACE:LINE".
TextPage read_mallard(std::string_view xml, const std::string& place);

/// A page of HTML or XHTML without what leads around in the book: navigation, tables of contents, banners. What is no
/// HTML is read as browsers do. Errors: Code::data at `place` where nothing can be read.
TextPage read_html(std::string_view html, const std::string& place);

}  // namespace etude
