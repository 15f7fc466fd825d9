// tokenize PATH: reads strings as JSON, a line each, and writes for each what the tokenizer makes of it:
//   {"ids": [...], "offsets": [[begin, end], ...], "decoded": "..."}
// "decoded" is null where the text of the ids is not UTF-8. For tests/interop/tokenizers_check.py.

#include <iostream>

#include "etude/base/text.h"
#include "etude/data/tokenizer.h"
#include "etude/data/tokenizers/json_view.h"

namespace {

std::string described(const etude::Tokenizer& tokenizer, const std::string& text) {
  const std::vector<int32_t> ids = tokenizer.encode(text);
  const etude::Encoding encoding = tokenizer.encode_with_offsets(text);
  if (encoding.ids != ids) throw std::runtime_error("the ids with offsets differ from those without");
  std::string list, offsets;
  for (size_t i = 0; i < ids.size(); ++i) {
    const char* comma = i > 0 ? "," : "";
    const auto& [begin, end] = encoding.offsets[i];
    list += comma + std::to_string(ids[i]);
    offsets += std::string(comma) + "[" + std::to_string(begin) + "," + std::to_string(end) + "]";
  }
  const std::string decoded = tokenizer.decode({ids.begin(), ids.end()});
  return "{\"ids\":[" + list + "],\"offsets\":[" + offsets +
         "],\"decoded\":" + (etude::valid_utf8(decoded) ? etude::json_quoted(decoded) : "null") + "}";
}

}  // namespace

int main(int count, char** arguments) {
  try {
    if (count != 2) throw std::runtime_error("usage: tokenize PATH < strings.jsonl");
    const auto tokenizer = etude::open_tokenizer(arguments[1]);
    std::string line;
    while (std::getline(std::cin, line)) {
      std::cout << described(*tokenizer, etude::JsonView::parse(line, "stdin").as_string("line")) << '\n';
    }
    return 0;
  } catch (const std::exception& error) {
    std::cerr << error.what() << '\n';
    return 1;
  }
}
