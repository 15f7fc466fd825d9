#include "etude/data/tokenizers/tokenizer_settings.h"

#include <algorithm>

#include "etude/base/file.h"
#include "etude/base/text.h"

namespace etude {
namespace {

constexpr int64_t kLargest = 64 << 20;
constexpr const char* kConfig = "tokenizer_config.json";

struct ReadFile {
  std::string path, content;
};

std::optional<ReadFile> read_beside(const std::string& folder, const std::string& name) {
  const std::string path = folder + "/" + name;
  if (!file::exists(path) || file::is_directory(path)) return std::nullopt;
  if (const int64_t size = file::size(path); size > kLargest) {
    throw Error(Code::data, "the file has " + std::to_string(size) + " bytes, where settings were expected", path,
                "at most 64 MiB are read");
  }
  return ReadFile{path, file::read(path)};
}

/// "</s>" or {"content": "</s>", ...}
std::optional<std::string> token_text(const JsonView& json, std::string_view key) {
  const auto value = json.find(key);
  if (!value) return std::nullopt;
  if (value->is_table()) return value->at("content").as_string("content");
  return value->as_string(key);
}

void add_special(TokenizerSettings& settings, const std::string& token) {
  auto& all = settings.special;
  if (!token.empty() && std::find(all.begin(), all.end(), token) == all.end()) all.push_back(token);
}

void read_special(const JsonView& json, TokenizerSettings& settings) {
  for (const char* key : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"}) {
    if (const auto token = token_text(json, key)) add_special(settings, *token);
  }
  if (const auto more = json.find("additional_special_tokens"); more && more->is_list()) {
    more->each_element("additional_special_tokens", [&](JsonView token) {
      add_special(settings, token.is_table() ? token.at("content").as_string("content")
                                             : token.as_string("additional_special_tokens"));
    });
  }
}

void read_added(const JsonView& decoder, TokenizerSettings& settings) {
  decoder.each_member("added_tokens_decoder", [&](std::string_view id, JsonView json) {
    AddedToken token = read_added_token(json);
    double value = -1;
    if (!parse_number(id, value) || value < 0 || value > 1e9) {
      json.fail("'" + fitted(printable(id), 40) + "' is no id of a token");
    }
    token.id = static_cast<int64_t>(value);
    settings.added.push_back(std::move(token));
  });
}

void read_config(const JsonView& json, TokenizerSettings& settings) {
  const auto flag = [&](std::string_view key) -> std::optional<bool> {
    const auto value = json.find(key);
    if (!value) return std::nullopt;
    return value->as_bool(key);
  };
  settings.document_end = token_text(json, "eos_token");
  if (flag("add_bos_token").value_or(false)) settings.document_begin = token_text(json, "bos_token");
  settings.lower_case = flag("do_lower_case");
  settings.strip_accents = flag("strip_accents");
  settings.ideographs = flag("tokenize_chinese_chars");
  settings.prefix_space = flag("add_prefix_space");
  if (const auto name = json.find("tokenizer_class")) settings.tokenizer_class = name->as_string("tokenizer_class");
  if (const auto decoder = json.find("added_tokens_decoder")) read_added(*decoder, settings);
  read_special(json, settings);
}

/// {"token": id, ...}, what older versions wrote.
void read_added_file(const JsonView& json, TokenizerSettings& settings) {
  json.each_member("the file", [&](std::string_view content, JsonView id) {
    const auto known = [&](const AddedToken& token) { return token.content == content; };
    if (std::any_of(settings.added.begin(), settings.added.end(), known)) return;
    AddedToken token;
    token.content = std::string(content);
    token.id = id.as_int(content);
    const auto& special = settings.special;
    token.special = std::find(special.begin(), special.end(), token.content) != special.end();
    settings.added.push_back(std::move(token));
  });
}

/// eos_token_id: 2 or [2, 5]
std::optional<int64_t> read_end_id(const JsonView& json) {
  const auto id = json.find("eos_token_id");
  if (!id) return std::nullopt;
  if (!id->is_list()) return id->as_int("eos_token_id");
  std::optional<int64_t> first;
  id->each_element("eos_token_id", [&](JsonView element) {
    if (!first) first = element.as_int("eos_token_id");
  });
  return first;
}

}  // namespace

TokenizerSettings read_tokenizer_settings(const std::string& folder) {
  TokenizerSettings settings;
  const auto keep = [&](const char* name, std::string content) {
    settings.files.push_back({name, std::move(content)});
  };
  if (auto config = read_beside(folder, kConfig)) {
    read_config(JsonView::parse(config->content, config->path), settings);
    keep(kConfig, std::move(config->content));
  }
  if (auto map = read_beside(folder, "special_tokens_map.json")) {
    const JsonView json = JsonView::parse(map->content, map->path);
    if (!settings.document_end) settings.document_end = token_text(json, "eos_token");
    read_special(json, settings);
    keep("special_tokens_map.json", std::move(map->content));
  }
  if (auto added = read_beside(folder, "added_tokens.json")) {
    read_added_file(JsonView::parse(added->content, added->path), settings);
    keep("added_tokens.json", std::move(added->content));
  }
  if (settings.document_end) return settings;
  if (const auto config = read_beside(folder, "config.json")) {
    settings.document_end_id = read_end_id(JsonView::parse(config->content, config->path));
  }
  return settings;
}

void name_document_end(TokenizerSettings& settings, const std::string& token) {
  settings.document_end = token;
  const std::string member = "\"eos_token\": " + json_quoted(token);
  for (Tokenizer::File& kept : settings.files) {
    if (kept.name != kConfig) continue;
    const JsonView json = JsonView::parse(kept.content, kept.name);
    bool empty = true;
    std::string_view null;  // "eos_token": null
    json.each_member("the file", [&](std::string_view key, JsonView value) {
      empty = false;
      if (key == "eos_token") null = value.raw();
    });
    if (!null.empty()) {
      kept.content.replace(static_cast<size_t>(null.data() - kept.content.data()), null.size(), json_quoted(token));
      return;
    }
    const size_t brace = kept.content.find('{');
    kept.content.insert(brace + 1, member + (empty ? "" : ", "));
    return;
  }
  settings.files.push_back({kConfig, "{" + member + "}\n"});
}

std::optional<int64_t> usual_document_end(const std::function<std::optional<int64_t>(std::string_view)>& id) {
  for (const char* token : {"<|endoftext|>", "<|end_of_text|>", "</s>", "<|im_end|>", "<eos>", "[SEP]"}) {
    if (const auto found = id(token)) return found;
  }
  return std::nullopt;
}

std::string hash_of_files(const std::vector<Tokenizer::File>& files) {
  file::Sha256 hash;
  for (const Tokenizer::File& one : files) {
    hash.add(one.name + ":" + std::to_string(one.content.size()) + "\n");
    hash.add(one.content);
  }
  return hash.hex();
}

}  // namespace etude
