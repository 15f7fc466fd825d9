#include "etude/base/text.h"
#include "etude/data/corpus/errors.h"
#include "etude/data/corpus/json_field.h"
#include "etude/data/corpus/readers.h"
#include "etude/data/corpus/utf8.h"

namespace etude::corpus {
namespace {

class JsonLines : public DocumentReader {
 public:
  JsonLines(std::unique_ptr<Bytes> bytes, std::string name, std::string field, size_t most)
      : lines_(std::move(bytes), most), name_(std::move(name)), field_(std::move(field)) {}

  bool next(Document& document) override {
    std::string_view line;
    while (lines_.next(line)) {
      if (trim(line).empty()) continue;
      seen_ = true;
      JsonField found = read(line);
      if (found.text.empty()) {
        ++empty_;
        continue;
      }
      document = {.name = name_ + ":" + std::to_string(lines_.number()), .text = std::move(found.text)};
      return true;
    }
    if (!seen_) throw refuse("there is no line in this file", lines_.name(), "put JSON objects into it, or remove it");
    return false;
  }

  int64_t empty() const override { return empty_; }

 private:
  JsonField read(std::string_view line) const {
    const std::string place = lines_.place();
    require_text(line, {lines_.name(), 0, lines_.number()});
    JsonField found = json_field(line, field_, place);
    if (found.kind == JsonField::Kind::absent) {
      const std::vector<std::string> names = json_names(line);
      throw refuse(
          "there is no field '" + printable(field_) + "'", place,
          did_you_mean(field_, names,
                       names.empty() ? "the object is empty"
                                     : "name the field that holds the text, e.g. field = \"" + names[0] + "\""));
    }
    return found;
  }

  Lines lines_;
  std::string name_, field_;
  bool seen_ = false;
  int64_t empty_ = 0;
};

}  // namespace

std::unique_ptr<DocumentReader> json_lines(std::unique_ptr<Bytes> bytes, const std::string& name,
                                           const std::string& field, size_t most) {
  return std::make_unique<JsonLines>(std::move(bytes), name, field, most);
}

}  // namespace etude::corpus
