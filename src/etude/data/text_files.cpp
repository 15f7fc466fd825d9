#include "etude/data/text_files.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "etude/base/error.h"
#include "etude/base/mapped_file.h"
#include "etude/data/corpus/bytes.h"
#include "etude/data/corpus/errors.h"
#include "etude/data/corpus/readers.h"
#include "etude/data/corpus/token_file.h"
#include "etude/data/sets.h"

namespace etude {
namespace {

using corpus::circle;
using corpus::failed;
using corpus::Packing;
using corpus::refuse;
using corpus::require_regular;

constexpr const char* kGiveText = "give a .txt file, a folder of them, or builtin:web";

using FileId = std::pair<dev_t, ino_t>;
FileId id_of(const struct stat& info) { return {info.st_dev, info.st_ino}; }

std::string last_part(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? path : path.substr(slash + 1);
}

std::string lower(std::string_view text) {
  std::string made(text);
  for (char& c : made) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
  return made;
}

/// What the name of a file says, if it says that it is one of ours.
struct Named {
  std::optional<TextFormat> format;
  Packing packing = Packing::none;
};

/// Errors: Code::data for kinds that users may take for ours.
Named named(const std::string& path) {
  static constexpr std::pair<std::string_view, TextFormat> kEnds[] = {{".txt", TextFormat::plain},
                                                                      {".jsonl", TextFormat::json_lines},
                                                                      {".ndjson", TextFormat::json_lines},
                                                                      {".jsonlines", TextFormat::json_lines},
                                                                      {".json-lines", TextFormat::json_lines},
                                                                      {".csv", TextFormat::csv},
                                                                      {".tsv", TextFormat::tsv},
                                                                      {".bin", TextFormat::tokens},
                                                                      {".npy", TextFormat::tokens}};
  Named said{{}, corpus::packing_of(path)};
  std::string name = lower(last_part(path));
  if (said.packing != Packing::none) name.resize(name.rfind('.'));
  for (const auto& [end, format] : kEnds) {
    if (name.ends_with(end)) said.format = format;
  }
  if (name.ends_with(".parquet")) {
    throw refuse("Parquet files are not read", path,
                 "convert it: python3 -c \"import pandas; pandas.read_parquet('IN').to_json('OUT.jsonl', "
                 "orient='records', lines=True, force_ascii=False)\"");
  }
  if (said.format == TextFormat::tokens && said.packing != Packing::none) {
    throw refuse("token ids are read in place, so they can't be packed", path, "unpack the file");
  }
  return said;
}

/// Names in a folder but hidden ones, sorted by their bytes.
std::vector<std::string> names_in(const std::string& folder) {
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(opendir(folder.c_str()), closedir);
  if (!stream) throw failed("the folder can't be read", errno, folder);
  std::vector<std::string> names;
  while (true) {
    errno = 0;
    const dirent* entry = readdir(stream.get());
    if (!entry) break;
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  if (errno != 0) throw failed("the folder can't be read", errno, folder);
  std::sort(names.begin(), names.end());
  return names;
}

/// Collects the text files below a folder.
class Walk {
 public:
  void into(const std::string& folder, const std::string& below) {
    struct stat info {};
    if (stat(folder.c_str(), &info) != 0) throw failed("the folder can't be read", errno, folder);
    const FileId id = id_of(info);
    if (std::find(above_.begin(), above_.end(), id) != above_.end()) throw circle(folder);
    if (!seen_.insert(id).second) return;
    above_.push_back(id);
    for (const std::string& name : names_in(folder)) visit(folder + "/" + name, below + name);
    above_.pop_back();
  }
  std::vector<TextFile> files;

 private:
  void visit(const std::string& path, const std::string& below) {
    struct stat info {};
    if (stat(path.c_str(), &info) != 0) {
      if (errno == ELOOP) throw circle(path);
      if (!named(path).format) return;  // not ours, whatever is wrong with it
      if (errno == ENOENT)
        throw refuse("this link points to nothing", path, "remove it, or put back what it points to");
      throw failed("the text can't be read", errno, path);
    }
    if (S_ISDIR(info.st_mode)) {
      into(path, below + "/");
    } else if (const Named said = named(path); said.format) {
      require_regular(info, path);
      files.push_back({path, below, *said.format, said.packing});
    }
  }

  std::vector<FileId> above_;
  std::set<FileId> seen_;
};

/// "did you mean": the nearest name beside the first part of the path that is missing.
[[noreturn]] void throw_missing(const std::string& path) {
  std::string there, missing = path;
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1)) {
    struct stat info {};
    const std::string begin = path.substr(0, slash);
    if (stat(begin.c_str(), &info) != 0) break;
    there = begin;
    missing = path.substr(slash + 1);
  }
  if (there.empty() && path[0] == '/') {
    there = "/";
    missing = path.substr(1);
  }
  const std::string first = missing.substr(0, missing.find('/'));
  std::vector<std::string> beside;
  try {
    beside = names_in(there.empty() ? "." : there);
  } catch (const Error&) {
    // Without its names there is no suggestion.
  }
  throw refuse("there is no file or folder '" + path + "'", "data.path", did_you_mean(first, beside, kGiveText));
}

std::vector<TextFile> folder_files(const std::string& path) {
  Walk walk;
  walk.into(path, "");
  if (walk.files.empty()) {
    const bool empty = names_in(path).empty();
    throw refuse(
        empty ? "the folder is empty"
              : "there is no .txt file and none of another kind of text in this folder or below",
        path,
        "texts are the files whose names end in .txt, .jsonl, .csv or .tsv, also with .gz, .zst or .xz behind, "
        "and in .bin or .npy for token ids");
  }
  std::sort(walk.files.begin(), walk.files.end(), [](const TextFile& a, const TextFile& b) { return a.name < b.name; });
  return std::move(walk.files);
}

/// A built-in text, cut at its blank lines.
class BuiltinDocuments : public DocumentReader {
 public:
  explicit BuiltinDocuments(const std::string& name) : name_(name), text_(builtin_text(name)) {}

  bool next(Document& document) override {
    if (begin_ >= text_.size()) return false;
    const size_t blank = text_.find("\n\n", begin_);
    const size_t end = blank == std::string_view::npos ? text_.size() : blank + 1;
    document = {.name = name_ + "#" + std::to_string(count_++),
                .text = std::string(text_.substr(begin_, end - begin_))};
    begin_ = end + 1;
    return true;
  }
  int64_t bytes() const override { return static_cast<int64_t>(std::min(begin_, text_.size())); }

 private:
  std::string name_;
  std::string_view text_;
  size_t begin_ = 0;
  int64_t count_ = 0;
};

/// Token ids of one file, in pieces.
class TokenDocuments : public DocumentReader {
 public:
  explicit TokenDocuments(const TextFile& file)
      : name_(file.name),
        bytes_(file.path, file::Mapped::Access::sequential),
        run_(corpus::token_run(bytes_.bytes().substr(0, corpus::kTokenHead), static_cast<int64_t>(bytes_.size()),
                               file.path)) {}

  bool next(Document& document) override {
    constexpr int64_t kPiece = int64_t{1} << 20, kAnyId = int64_t{1} << 31;
    const int64_t count = std::min(kPiece, run_.count - begin_);
    if (count == 0) return false;
    document = {.name = name_, .tokens = std::vector<int32_t>(static_cast<size_t>(count))};
    corpus::read_tokens(bytes_.bytes(), run_, begin_, count, kAnyId, bytes_.path(), document.tokens.data());
    bytes_.require_whole();
    begin_ += count;
    document.ends = begin_ == run_.count;
    return true;
  }
  int64_t bytes() const override { return begin_ * run_.width(); }

 private:
  std::string name_;
  file::Mapped bytes_;
  corpus::TokenRun run_;
  int64_t begin_ = 0;
};

/// Adds up what is taken out of the file below.
class Counted : public corpus::Bytes {
 public:
  Counted(const std::string& path, int64_t& sum) : file_(path), sum_(sum) {}
  std::string_view next() override {
    const std::string_view piece = file_.next();
    sum_ += static_cast<int64_t>(piece.size());
    return piece;
  }
  const std::string& name() const override { return file_.name(); }

 private:
  corpus::FileBytes file_;
  int64_t& sum_;
};

/// The documents of all files, one file after the other.
class FileDocuments : public DocumentReader {
 public:
  FileDocuments(std::vector<TextFile> files, std::string field) : files_(std::move(files)), field_(std::move(field)) {}

  bool next(Document& document) override {
    for (; at_ < files_.size() || reader_; reader_.reset()) {
      if (!reader_) reader_ = open(files_[at_++]);
      if (reader_->next(document)) return true;
      empty_ += reader_->empty();
      if (files_[at_ - 1].format == TextFormat::tokens) bytes_ += reader_->bytes();
    }
    return false;
  }
  int64_t empty() const override { return empty_ + (reader_ ? reader_->empty() : 0); }
  int64_t bytes() const override { return bytes_; }

 private:
  std::unique_ptr<DocumentReader> open(const TextFile& file) {
    if (file.format == TextFormat::tokens) return std::make_unique<TokenDocuments>(file);
    auto bytes = corpus::unpacked(std::make_unique<Counted>(file.path, bytes_), file.packing);
    switch (file.format) {
      case TextFormat::json_lines:
        return corpus::json_lines(std::move(bytes), file.name, field_);
      case TextFormat::csv:
        return corpus::delimited(std::move(bytes), file.name, field_, ',');
      case TextFormat::tsv:
        return corpus::delimited(std::move(bytes), file.name, field_, '\t');
      default:
        return corpus::plain_text(std::move(bytes), file.name);
    }
  }

  std::vector<TextFile> files_;
  std::string field_;
  size_t at_ = 0;
  std::unique_ptr<DocumentReader> reader_;
  int64_t empty_ = 0, bytes_ = 0;
};

}  // namespace

bool TextSource::is_tokens() const {
  return !files.empty() && std::all_of(files.begin(), files.end(),
                                       [](const TextFile& file) { return file.format == TextFormat::tokens; });
}

TextSource find_texts(const std::string& path) {
  static constexpr std::string_view kBuiltin = "builtin:", kSet = "set:";
  TextSource source{path, {}, {}};
  if (path.starts_with(kBuiltin)) {
    source.builtin = path.substr(kBuiltin.size());
    const std::vector<DataCard> sets = data_sets();
    const auto is_it = [&](const DataCard& set) { return set.name == source.builtin; };
    if (std::none_of(sets.begin(), sets.end(), is_it)) builtin_text(source.builtin);  // says which there are
    return source;
  }
  if (path.starts_with(kSet)) {
    source.files = {{fetched_set(path.substr(kSet.size())), path.substr(kSet.size()), TextFormat::json_lines}};
    return source;
  }
  if (path.empty() || path.find('\0') != std::string::npos) {
    throw refuse("the path of the text is empty", "data.path", kGiveText);
  }
  struct stat info {};
  if (stat(path.c_str(), &info) != 0) {
    if (errno != ENOENT && errno != ENOTDIR) throw failed("the text can't be read", errno, path);
    if (lstat(path.c_str(), &info) == 0) {
      throw refuse("this link points to nothing", path, "remove it, or put back what it points to");
    }
    throw_missing(path);
  }
  if (S_ISDIR(info.st_mode)) {
    source.files = folder_files(path);
  } else {
    const Named said = named(path);
    source.files = {{path, last_part(path), said.format.value_or(TextFormat::plain), said.packing}};
  }
  return source;
}

std::unique_ptr<DocumentReader> open_documents(const TextSource& source, const std::string& field) {
  if (source.files.empty()) return std::make_unique<BuiltinDocuments>(source.builtin);
  return std::make_unique<FileDocuments>(source.files, field);
}

std::vector<Document> read_documents(const std::string& path) {
  const TextSource source = find_texts(path);
  int64_t bytes = 0;
  for (const TextFile& file : source.files) {
    struct stat info {};
    if (stat(file.path.c_str(), &info) == 0) bytes += info.st_size;
  }
  corpus::require_memory(bytes, path);
  std::vector<Document> documents;
  const auto reader = open_documents(source, "text");
  bool begun = false;
  for (Document piece; reader->next(piece);) {
    if (begun) {
      documents.back().text += piece.text;
      documents.back().tokens.insert(documents.back().tokens.end(), piece.tokens.begin(), piece.tokens.end());
    } else {
      documents.push_back(std::move(piece));
    }
    begun = !piece.ends;
    documents.back().ends = true;
  }
  return documents;
}

std::string read_text_file(const std::string& path, const std::function<void(int64_t)>& after_chunk) {
  auto bytes = std::make_unique<corpus::FileBytes>(path, after_chunk);
  corpus::require_memory(bytes->size(), path);
  const auto whole = static_cast<size_t>(bytes->size()) + 8;
  Document document;
  corpus::plain_text(std::move(bytes), path, whole)->next(document);
  return document.text;
}

}  // namespace etude
