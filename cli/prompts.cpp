#include "cli/prompts.h"

#include <nlohmann/json.hpp>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/text.h"

namespace etude::cli {
namespace {

/// The text "prompt" of a line, or its tokens "ids". Errors: Code::data.
Prompt json_prompt(std::string_view line, const std::string& where) {
  const std::string hint = "each line is an object such as {\"prompt\": \"In the beginning\"}, or {\"ids\": [12, 7]}";
  const nlohmann::json object = nlohmann::json::parse(line, nullptr, false);
  if (object.is_discarded()) throw Error(Code::data, "the line is no JSON", where, hint);
  const bool has_text = object.is_object() && object.contains("prompt") && object["prompt"].is_string();
  if (has_text) return {object["prompt"].get<std::string>()};
  const bool has_ids = object.is_object() && object.contains("ids") && object["ids"].is_array();
  if (!has_ids) throw Error(Code::data, "the line has no text \"prompt\"", where, hint);
  Prompt prompt;
  for (const nlohmann::json& id : object["ids"]) {
    if (!id.is_number_integer())
      throw Error(Code::data, "ids holds " + printable(id.dump(-1, ' ', true)) + ", which is no token", where, hint);
    prompt.ids.push_back(id.get<int64_t>());
  }
  return prompt;
}

}  // namespace

std::vector<Prompt> read_prompts(const std::string& path) {
  const std::string text = file::read(path);
  const bool json = trim(text).starts_with('{');
  std::vector<Prompt> prompts;
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    std::string_view line = std::string_view(text).substr(begin, end - begin);
    if (line.ends_with('\r')) line.remove_suffix(1);
    begin = end + 1;
    const std::string where = path + ":" + std::to_string(++number);
    if (trim(line).empty()) continue;
    prompts.push_back(json ? json_prompt(line, where) : Prompt{std::string(line)});
    if (prompts.back().text.empty() && prompts.back().ids.empty())
      throw Error(Code::data, "the prompt is empty", where);
  }
  if (prompts.empty()) throw Error(Code::data, "the file has no prompts", path, "write one a line");
  return prompts;
}

}  // namespace etude::cli
