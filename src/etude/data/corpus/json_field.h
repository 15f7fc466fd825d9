#pragma once
// One field of a JSON object (RFC 8259), without building the rest in memory.

#include <string>
#include <string_view>
#include <vector>

namespace etude::corpus {

struct JsonField {
  enum class Kind { absent, null, text } kind = Kind::absent;
  std::string text;  ///< without NUL; UTF-8 if the JSON is
};

/// The string at `field` of the object that `json` is. A name with dots leads into objects: "message.text" is found in
/// {"message": {"text": ...}} and in {"message.text": ...}.
/// Errors: Code::data at "place:column" (a byte, from 1): anything that is not one JSON object, a value of the field
/// that is no string, a field that is there twice, characters that no text has (NUL, half of a surrogate pair), more
/// than 200 levels. Required of nobody: `json` may hold any bytes.
JsonField json_field(std::string_view json, std::string_view field, const std::string& place);

/// Dotted names of what the object has, at most 100, strings first: for suggestions. Requires what json_field() took.
std::vector<std::string> json_names(std::string_view json);

}  // namespace etude::corpus
