#include <algorithm>

#include "etude/base/file.h"
#include "etude/base/text.h"
#include "etude/data/tokenizer.h"
#include "etude/data/tokenizers/sentencepiece_tokenizer.h"
#include "etude/data/tokenizers/tokenizer_readers.h"

namespace etude {
namespace {

constexpr int64_t kLargest = int64_t{2} << 30;

bool ends_with(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

std::string folder_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string name_of(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string read_file(const std::string& path) {
  if (const int64_t size = file::size(path); size > kLargest) {
    throw Error(Code::data, "the file has " + std::to_string(size) + " bytes, more than any tokenizer", path,
                "is this the file that you meant?");
  }
  return file::read(path);
}

std::shared_ptr<Tokenizer> open_pair(const std::string& folder) {
  const std::string vocabulary = folder + "/vocab.json", merges = folder + "/merges.txt";
  for (const std::string& path : {vocabulary, merges}) {
    if (!file::exists(path)) {
      throw Error(Code::data, "the file '" + name_of(path) + "' is missing", path,
                  "vocab.json and merges.txt are one tokenizer");
    }
  }
  return parse_merges(read_file(vocabulary), vocabulary, read_file(merges), merges, read_tokenizer_settings(folder));
}

std::shared_ptr<Tokenizer> open_file(const std::string& path) {
  const std::string name = name_of(path), folder = folder_of(path);
  if (name == "vocab.json" || name == "merges.txt") return open_pair(folder);
  if (ends_with(name, ".json")) return parse_tokenizer_json(read_file(path), path, read_tokenizer_settings(folder));
  if (ends_with(name, ".model")) return parse_sentencepiece(read_file(path), path, read_tokenizer_settings(folder));
  if (ends_with(name, ".txt")) return parse_vocabulary_txt(read_file(path), path, read_tokenizer_settings(folder));
  throw Error(Code::data, "'" + fitted(printable(name), 60) + "' is no file of a tokenizer", path,
              "known are tokenizer.json, a sentencepiece .model, vocab.txt, and vocab.json with merges.txt");
}

/// The file of a folder that says most.
std::string best_file(const std::string& folder) {
  const std::vector<std::string> names = file::list(folder);
  const auto has = [&](const char* name) { return std::find(names.begin(), names.end(), name) != names.end(); };
  if (has("tokenizer.json")) return "tokenizer.json";
  std::vector<std::string> models;
  for (const std::string& name : names) {
    if (ends_with(name, ".model") && !file::is_directory(folder + "/" + name)) models.push_back(name);
  }
  for (const char* usual : {"tokenizer.model", "spiece.model", "sentencepiece.bpe.model"}) {
    if (std::find(models.begin(), models.end(), usual) != models.end()) return usual;
  }
  if (models.size() == 1) return models.front();
  if (models.size() > 1) {
    throw Error(
        Code::data,
        "the folder has several sentencepiece models: '" + printable(models[0]) + "', '" + printable(models[1]) + "'",
        folder, "name the one that you mean");
  }
  if (has("vocab.txt")) return "vocab.txt";
  if (has("vocab.json")) return "vocab.json";
  if (has("merges.txt")) return "merges.txt";
  throw Error(Code::data, "the folder has no file of a tokenizer", folder,
              "expected tokenizer.json, a sentencepiece .model, vocab.txt, or vocab.json with merges.txt");
}

}  // namespace

std::shared_ptr<Tokenizer> open_tokenizer(const std::string& path) {
  if (path == "bytes") return byte_tokenizer();
  if (path.empty() || path.find('\0') != std::string::npos) {
    throw Error(Code::data, "the path of the tokenizer is empty", {}, "name a file or a folder, or 'bytes'");
  }
  if (!file::exists(path)) {
    std::vector<std::string> beside;
    if (file::is_directory(folder_of(path))) beside = file::list(folder_of(path));
    throw Error(Code::data, "there is no tokenizer '" + printable(path) + "'", path,
                did_you_mean(name_of(path), beside, "name a file or a folder, or 'bytes'"));
  }
  return open_file(file::is_directory(path) ? path + "/" + best_file(path) : path);
}

}  // namespace etude
