#include "etude/data/sets/pages.h"

#include <libxml/HTMLparser.h>
#include <libxml/parser.h>
#include <libxml/tree.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "etude/base/text.h"
#include "etude/data/sets/converters.h"

namespace etude {
namespace {

using Document = std::unique_ptr<xmlDoc, decltype(&xmlFreeDoc)>;

std::string_view view(const xmlChar* text) {
  return text ? std::string_view(reinterpret_cast<const char*>(text)) : std::string_view();
}

std::string attribute(const xmlNode* node, const char* name) {
  xmlChar* value = xmlGetProp(node, reinterpret_cast<const xmlChar*>(name));
  const std::string text(view(value));
  if (value) xmlFree(value);
  return text;
}

template <size_t N>
bool among(const std::string_view (&words)[N], std::string_view word) {
  return std::find(std::begin(words), std::end(words), word) != std::end(words);
}

/// Whether one of the words of an attribute ("section warning") is among these.
template <size_t N>
bool has_word(const xmlNode* node, const char* name, const std::string_view (&words)[N]) {
  const std::string value = attribute(node, name);
  for (size_t begin = 0; begin < value.size();) {
    const size_t end = std::min(value.find(' ', begin), value.size());
    if (among(words, std::string_view(value).substr(begin, end - begin))) return true;
    begin = end + 1;
  }
  return false;
}

/// What a kind of page means by its elements.
struct Reading {
  bool (*skipped)(const xmlNode*);
  bool (*within_line)(const xmlNode*);
  bool (*preformatted)(const xmlNode*);
  bool (*title)(const xmlNode*);
};

class Collector {
 public:
  Collector(const Reading& reading, TextPage& page) : reading_(reading), page_(page) {}

  void element(const xmlNode* node) {
    if (reading_.skipped(node)) return;
    const bool within_line = reading_.within_line(node);
    const Outer outer{block_, keep_lines_};
    if (within_line) {
      text_ += separator(node);
    } else {
      end_block();
      block_ = node;
      keep_lines_ = reading_.preformatted(node);
    }
    if (view(node->name) == "br") text_ += '\n';
    for (const xmlNode* child = node->children; child; child = child->next) {
      if (child->type == XML_TEXT_NODE || child->type == XML_CDATA_SECTION_NODE) text_ += view(child->content);
      if (child->type == XML_ELEMENT_NODE) element(child);
    }
    if (!within_line) {
      end_block();
      block_ = outer.block;
      keep_lines_ = outer.keep_lines;
    }
  }

 private:
  struct Outer {
    const xmlNode* block;
    bool keep_lines;
  };

  /// Between the keys of "Ctrl+A" and the menus of "File > Open", which the markup only lists.
  static std::string_view separator(const xmlNode* node) {
    if (!node->parent || !xmlPreviousElementSibling(const_cast<xmlNode*>(node))) return "";
    const std::string_view parent = view(node->parent->name);
    return parent == "keyseq" ? "+" : parent == "guiseq" ? " \u25B8 " : "";
  }

  void end_block() {
    std::string text = std::exchange(text_, {});
    std::erase(text, '\r');
    if (keep_lines_) {
      const size_t last = text.find_last_not_of(" \t\n");
      text.resize(last == text.npos ? 0 : last + 1);
      text.erase(0, text.find_first_not_of('\n'));
    } else {
      text = one_line(text);
    }
    if (text.empty() || !block_) return;
    if (page_.title.empty() && reading_.title(block_)) page_.title = text;
    page_.blocks.emplace_back(view(block_->name), std::move(text));
  }

  const Reading& reading_;
  TextPage& page_;
  std::string text_;
  const xmlNode* block_ = nullptr;
  bool keep_lines_ = false;
};

bool in_mallard_head(const xmlNode* node) { return node->parent && view(node->parent->name) == "info"; }

constexpr Reading kMallard = {
    .skipped =
        [](const xmlNode* node) {
          constexpr std::string_view kSkipped[] = {"comment", "rules", "credit", "links"};
          return among(kSkipped, view(node->name)) || (in_mallard_head(node) && view(node->name) != "desc");
        },
    .within_line =
        [](const xmlNode* node) {
          constexpr std::string_view kInline[] = {"app",  "cmd",    "code", "email", "em",  "file",
                                                  "gui",  "guiseq", "hi",   "input", "key", "keyseq",
                                                  "link", "output", "span", "sys",   "tt",  "var"};
          return among(kInline, view(node->name));
        },
    .preformatted = [](const xmlNode* node) { return view(node->name) == "screen"; },
    .title =
        [](const xmlNode* node) {
          return view(node->name) == "title" && node->parent && view(node->parent->name) == "page";
        },
};

constexpr Reading kHtml = {
    .skipped =
        [](const xmlNode* node) {
          constexpr std::string_view kSkipped[] = {"head", "script", "style", "nav", "form", "footer", "noscript"};
          constexpr std::string_view kClasses[] = {"docnav", "toc",         "toctree-wrapper", "headerlink", "related",
                                                   "footer", "legalnotice", "sphinxsidebar",   "clearer"};
          constexpr std::string_view kIds[] = {"banner", "title"};
          constexpr std::string_view kRoles[] = {"navigation", "search", "contentinfo"};
          return among(kSkipped, view(node->name)) || has_word(node, "class", kClasses) || has_word(node, "id", kIds) ||
                 has_word(node, "role", kRoles);
        },
    .within_line =
        [](const xmlNode* node) {
          constexpr std::string_view kInline[] = {"a",      "abbr",   "acronym", "b",   "bdi", "bdo",  "big",   "br",
                                                  "cite",   "code",   "del",     "dfn", "em",  "font", "i",     "img",
                                                  "ins",    "kbd",    "mark",    "q",   "s",   "samp", "small", "span",
                                                  "strike", "strong", "sub",     "sup", "tt",  "u",    "var",   "wbr"};
          return among(kInline, view(node->name));
        },
    .preformatted = [](const xmlNode* node) { return view(node->name) == "pre"; },
    .title =
        [](const xmlNode* node) {
          const std::string_view name = view(node->name);
          return name.size() == 2 && name[0] == 'h' && name[1] >= '1' && name[1] <= '6';
        },
};

TextPage collected(const Document& document, const Reading& reading, const std::string& place) {
  const xmlNode* root = xmlDocGetRootElement(document.get());
  if (!root) refuse_member(place, "the page has no element");
  TextPage page;
  page.id = attribute(root, "id");
  page.lang = attribute(root, "lang");
  Collector(reading, page).element(root);
  return page;
}

}  // namespace

std::string TextPage::text() const {
  std::string all;
  for (const auto& [name, text] : blocks) {
    if (!all.empty()) all += "\n\n";
    all += text;
  }
  return all;
}

TextPage read_mallard(std::string_view xml, const std::string& place) {
  const std::unique_ptr<xmlParserCtxt, decltype(&xmlFreeParserCtxt)> parser(xmlNewParserCtxt(), xmlFreeParserCtxt);
  if (xml.size() > INT32_MAX) refuse_member(place, "the page has more than 2 GiB");
  const Document document(xmlCtxtReadMemory(parser.get(), xml.data(), static_cast<int>(xml.size()), nullptr, nullptr,
                                            XML_PARSE_NONET | XML_PARSE_NOERROR | XML_PARSE_NOWARNING),
                          xmlFreeDoc);
  if (!document) {
    const xmlError* error = xmlCtxtGetLastError(parser.get());
    const std::string message = error && error->message ? printable(trim(error->message)) : "it is empty";
    refuse_member(place, "the page is no XML: " + message, error ? error->line : 0);
  }
  TextPage page = collected(document, kMallard, place);
  if (view(xmlDocGetRootElement(document.get())->name) != "page") refuse_member(place, "it is no page of Mallard", 1);
  return page;
}

TextPage read_html(std::string_view html, const std::string& place) {
  if (html.size() > INT32_MAX) refuse_member(place, "the page has more than 2 GiB");
  const Document document(
      htmlReadMemory(html.data(), static_cast<int>(html.size()), nullptr, "UTF-8",
                     HTML_PARSE_NONET | HTML_PARSE_NOERROR | HTML_PARSE_NOWARNING | HTML_PARSE_RECOVER),
      xmlFreeDoc);
  if (!document) refuse_member(place, "the page can't be read as HTML");
  return collected(document, kHtml, place);
}

}  // namespace etude
