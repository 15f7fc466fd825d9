#include "etude/data/tokenizers/tokenizer_readers.h"

#include <algorithm>

#include "etude/base/text.h"
#include "etude/data/tokenizers/bpe.h"
#include "etude/data/tokenizers/pipeline_tokenizer.h"
#include "etude/data/tokenizers/word_models.h"

namespace etude {
namespace {

// ---- tokenizer.json -----------------------------------------------------------------------------

/// The token that a pair of BertProcessing names: ["[SEP]", 102].
std::string first_of_pair(const JsonView& json, std::string_view key) {
  std::string token;
  bool first = true;
  json.at(key).each_element(key, [&](JsonView element) {
    if (first) token = element.as_string(key);
    first = false;
  });
  return token;
}

/// What a template puts before and behind the text.
void read_template(const JsonView& json, TokenizerParts& parts) {
  bool behind = false;
  json.at("single").each_element("single", [&](JsonView piece) {
    if (piece.find("Sequence")) {
      behind = true;
    } else if (const auto special = piece.find("SpecialToken")) {
      auto& token = behind ? parts.document_end : parts.document_begin;
      if (!token) token = special->at("id").as_string("id");
    } else {
      piece.fail("a piece of a template must be {\"Sequence\": ...} or {\"SpecialToken\": ...}");
    }
  });
}

void read_trim(const JsonView& json, TokenizerParts& parts) {
  const auto trim = json.find("trim_offsets"), prefix = json.find("add_prefix_space");
  if (trim && !trim->as_bool("trim_offsets")) return;
  parts.trim = TokenizerParts::Trim{prefix ? prefix->as_bool("add_prefix_space") : true};
}

/// Documents are not closed by encode(): of a post-processor remain the names of what opens and closes them, and how
/// it trims offsets.
void read_post_processor(const JsonView& json, TokenizerParts& parts) {
  const JsonView type_json = json.at("type");
  const std::string type = type_json.as_string("type");
  if (type == "Sequence") {
    json.at("processors").each_element("processors", [&](JsonView step) { read_post_processor(step, parts); });
  } else if (type == "TemplateProcessing") {
    read_template(json, parts);
  } else if (type == "BertProcessing" || type == "RobertaProcessing") {
    parts.document_begin = first_of_pair(json, "cls");
    parts.document_end = first_of_pair(json, "sep");
    if (type == "RobertaProcessing") read_trim(json, parts);
  } else if (type == "ByteLevel") {
    read_trim(json, parts);
  } else {
    type_json.fail("the post_processor '" + fitted(printable(type), 40) + "' is not supported",
                   "known are Sequence, TemplateProcessing, BertProcessing, RobertaProcessing and ByteLevel");
  }
}

TokenizerParts read_parts(std::string_view bytes, const std::string& name) {
  const JsonView json = JsonView::parse(bytes, name);
  if (!json.is_table()) json.fail("a tokenizer must be an object, not " + std::string(json.type_name()));
  TokenizerParts parts;
  parts.name = name;
  const JsonView model = json.at("model");
  if (const auto normalizer = json.find("normalizer")) parts.normalizer = read_normalizer(*normalizer);
  if (const auto pre = json.find("pre_tokenizer")) parts.pre_tokenization = read_pre_tokenizer(*pre);
  const bool takes_bytes = model_type(model) == "BPE";
  if (parts.pre_tokenization.ends_in_bytes && !takes_bytes) parts.pre_tokenization.steps.push_back(byte_writer());
  parts.model = read_model(model, parts.pre_tokenization.ends_in_bytes && takes_bytes);
  if (const auto added = json.find("added_tokens")) parts.added = read_added_tokens(*added);
  if (const auto decoder = json.find("decoder")) parts.decoder = read_decoder(*decoder);
  if (const auto post = json.find("post_processor")) read_post_processor(*post, parts);
  return parts;
}

// ---- all ----------------------------------------------------------------------------------------

std::string token_of(const TokenizerParts& parts, int64_t id) {
  for (const AddedToken& token : parts.added) {
    if (token.id == id) return token.content;
  }
  return std::string(parts.model->table().token(id));
}

/// What the settings say goes before what the file itself says.
std::shared_ptr<Tokenizer> finish(TokenizerParts parts, std::vector<Tokenizer::File> files,
                                  TokenizerSettings settings) {
  if (settings.document_end_id && !settings.document_end && !parts.document_end) {
    const std::string token = token_of(parts, *settings.document_end_id);
    if (token.empty()) {
      throw Error(Code::data,
                  "config.json says eos_token_id = " + std::to_string(*settings.document_end_id) +
                      ", which is not in the vocabulary",
                  parts.name, "do config.json and the tokenizer belong together?");
    }
    name_document_end(settings, token);
  }
  if (settings.document_begin) parts.document_begin = settings.document_begin;
  if (settings.document_end) parts.document_end = settings.document_end;
  parts.files = std::move(files);
  for (Tokenizer::File& file : settings.files) parts.files.push_back(std::move(file));
  return pipeline_tokenizer(std::move(parts));
}

/// Tokens of the settings that the vocabulary has, and `usual` ones, are sought in the text as special ones.
void add_special_tokens(const TokenizerSettings& settings, std::vector<std::string> usual, TokenizerParts& parts) {
  parts.added = settings.added;
  for (AddedToken& token : parts.added) token.normalized = false;
  for (const auto& names : {settings.special, usual}) {
    for (const std::string& name : names) {
      const int32_t id = parts.model->table().id(name);
      const auto same = [&](const AddedToken& token) { return token.content == name; };
      if (id == kNoToken || std::any_of(parts.added.begin(), parts.added.end(), same)) continue;
      AddedToken token;
      token.content = name;
      token.id = id;
      token.special = true;
      parts.added.push_back(std::move(token));
    }
  }
}

// ---- vocab.json and merges.txt ------------------------------------------------------------------

void read_merge_lines(std::string_view text, const std::string& name, BpeModel& model) {
  int64_t line_number = 0;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    ++line_number;
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (line.empty() || line.substr(0, 8) == "#version") continue;
    const size_t blank = line.find(' ');
    const bool two = blank != std::string_view::npos && line.find(' ', blank + 1) == std::string_view::npos;
    const auto place = [&] { return name + ":" + std::to_string(line_number); };
    if (!two || blank == 0 || blank + 1 == line.size()) {
      throw Error(Code::data,
                  "a merge must be two tokens with one blank between them, not '" + fitted(printable(line), 40) + "'",
                  place(), "is this a merges.txt?");
    }
    try {
      model.add_merge(line.substr(0, blank), line.substr(blank + 1), {});
    } catch (const Error& error) {
      throw error.at(place());
    }
  }
}

void require_gpt2_kind(const TokenTable& table, const std::string& name) {
  if (table.size() == 0) throw Error(Code::data, "the vocabulary is empty", name, "is the file complete?");
  if (table.id("a</w>") == kNoToken) return;
  throw Error(Code::data, "the vocabulary writes the ends of words as '</w>', which GPT-2's pipeline does not", name,
              "use the tokenizer.json of the same model");
}

constexpr std::string_view kQwen2PreTokenizer = R"({"type": "Sequence", "pretokenizers": [
  {"type": "Split", "behavior": "Isolated", "pattern": {"Regex":
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
  {"type": "ByteLevel", "add_prefix_space": false, "use_regex": false}]})";
constexpr std::string_view kQwen2Normalizer = R"({"type": "NFC"})";

void set_word_pipeline(const TokenizerSettings& settings, TokenizerParts& parts) {
  const std::string_view kind = settings.tokenizer_class;
  if (kind.substr(0, 5) == "Qwen2") {
    parts.normalizer = read_normalizer(JsonView::parse(kQwen2Normalizer, "Qwen 2"));
    parts.pre_tokenization = read_pre_tokenizer(JsonView::parse(kQwen2PreTokenizer, "Qwen 2"));
  } else {
    parts.pre_tokenization = gpt2_pre_tokenization(settings.prefix_space.value_or(false));
  }
  parts.decoder = byte_level_decoder();
}

// ---- vocab.txt ----------------------------------------------------------------------------------

bool has_capitals(const TokenTable& table) {
  for (int64_t id = 0; id < table.limit(); ++id) {
    const std::string_view token = table.token(id);
    if (token.empty() || token.front() == '[' || token.front() == '<') continue;
    if (std::any_of(token.begin(), token.end(), [](char c) { return c >= 'A' && c <= 'Z'; })) return true;
  }
  return false;
}

}  // namespace

std::shared_ptr<Tokenizer> parse_tokenizer_json(std::string bytes, const std::string& name,
                                                TokenizerSettings settings) {
  TokenizerParts parts = read_parts(bytes, name);
  std::vector<Tokenizer::File> files;
  files.push_back({"tokenizer.json", std::move(bytes)});
  return finish(std::move(parts), std::move(files), std::move(settings));
}

std::shared_ptr<Tokenizer> parse_merges(std::string vocabulary, const std::string& vocabulary_name, std::string merges,
                                        const std::string& merges_name, TokenizerSettings settings) {
  BpeOptions options;
  options.bytes = true;
  TokenTable table = read_vocabulary(JsonView::parse(vocabulary, vocabulary_name));
  require_gpt2_kind(table, vocabulary_name);
  auto model = std::make_unique<BpeModel>(std::move(table), std::move(options), vocabulary_name);
  read_merge_lines(merges, merges_name, *model);
  TokenizerParts parts;
  parts.name = vocabulary_name;
  parts.model = std::move(model);
  set_word_pipeline(settings, parts);
  add_special_tokens(settings, {"<|endoftext|>"}, parts);
  std::vector<Tokenizer::File> files;
  files.push_back({"vocab.json", std::move(vocabulary)});
  files.push_back({"merges.txt", std::move(merges)});
  return finish(std::move(parts), std::move(files), std::move(settings));
}

std::shared_ptr<Tokenizer> parse_vocabulary_txt(std::string bytes, const std::string& name,
                                                TokenizerSettings settings) {
  TokenTable table = read_vocabulary_lines(bytes, name);
  BertNormalization normalization;
  normalization.lower = settings.lower_case.value_or(!has_capitals(table));
  normalization.ideographs = settings.ideographs.value_or(true);
  normalization.strip_accents = settings.strip_accents;
  TokenizerParts parts;
  parts.name = name;
  parts.normalizer = bert_normalizer(normalization);
  parts.pre_tokenization = bert_pre_tokenization();
  parts.model = word_piece_model(std::move(table), {}, name);
  parts.decoder = word_piece_decoder("##", true);
  add_special_tokens(settings, {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}, parts);
  if (parts.model->table().id("[CLS]") != kNoToken) parts.document_begin = "[CLS]";
  if (parts.model->table().id("[SEP]") != kNoToken) parts.document_end = "[SEP]";
  std::vector<Tokenizer::File> files;
  files.push_back({"vocab.txt", std::move(bytes)});
  return finish(std::move(parts), std::move(files), std::move(settings));
}

}  // namespace etude
