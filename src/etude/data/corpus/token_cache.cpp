#include "etude/data/corpus/token_cache.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <filesystem>
#include <utility>

#include "etude/base/error.h"
#include "etude/base/file_ops.h"
#include "etude/base/log.h"
#include "etude/base/mapped_file.h"
#include "etude/data/corpus/cache_place.h"

namespace etude::corpus {
namespace {

/// A descriptor of a file without a name, and a path that leads to it.
class Nameless {
 public:
  Nameless() {
    std::error_code problem;
    const std::filesystem::path folder = std::filesystem::temp_directory_path(problem);
    std::string name = (problem ? std::string("/tmp") : folder.string()) + "/etude-tokens-XXXXXX";
    fd_ = mkostemp(name.data(), O_CLOEXEC);
    if (fd_ < 0) {
      throw Error(Code::io, "there is no place for tokens: " + file::ops::failure("write", name, errno).message(), name,
                  "ETUDE_CACHE=FOLDER names one that this user may write into");
    }
    unlink(name.c_str());
  }
  ~Nameless() { close(fd_); }
  Nameless(const Nameless&) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(fd_); }

 private:
  int fd_ = -1;
};

/// Errors: Code::data if it is damaged or another's; of the disk.
std::shared_ptr<const TokenSequence> map_cache(const std::string& path, const std::string& key, int64_t vocabulary) {
  auto file = std::make_shared<file::Mapped>(path);
  const std::string_view bytes = file->bytes();
  const size_t tail = bytes.size() - std::min(bytes.size(), static_cast<size_t>(kCacheTail));
  const TokenCacheInfo info = token_cache_info(bytes.substr(0, static_cast<size_t>(kCacheHead)), bytes.substr(tail),
                                               static_cast<int64_t>(bytes.size()), path);
  file->require_whole();
  if (info.key != key) {
    throw Error(Code::data, "it holds other tokens, with the key " + info.key, path,
                "remove the file: it is made anew");
  }
  const TokenRun run{info.width == 2 ? TokenRun::Type::u2 : TokenRun::Type::u4, kCacheHead, info.tokens};
  return mapped_tokens({{std::move(file), run}}, vocabulary, info.documents, info.empty);
}

/// None if there is no such file, or a damaged one.
std::shared_ptr<const TokenSequence> try_cache(const std::string& path, const std::string& key, int64_t vocabulary,
                                               bool warns) {
  try {
    if (!file::exists(path)) return nullptr;
    return map_cache(path, key, vocabulary);
  } catch (const Error& error) {
    if (warns) warn("the tokens in '" + path + "' are made anew: " + error.message());
    return nullptr;
  }
}

}  // namespace

std::shared_ptr<const TokenSequence> open_token_cache(const std::string& path, const std::string& key,
                                                      int64_t vocabulary) {
  return try_cache(path, key, vocabulary, true);
}

std::shared_ptr<const TokenSequence> cached_tokens(const std::string& key, int64_t vocabulary, const std::string& about,
                                                   const std::function<void(TokenCacheWriter&)>& make) {
  const auto fill = [&](file::Writer& writer) {
    TokenCacheWriter tokens(writer, key, vocabulary);
    make(tokens);
  };
  const std::string folder = cache_folder("tokens", "tokens are made anew in every run");
  if (folder.empty()) {
    const Nameless file;
    file::Writer writer(file.path(), file::Writer::Mode::create);
    fill(writer);
    return map_cache(file.path(), key, vocabulary);
  }
  const std::string path = folder + "/" + key + ".tokens";
  if (auto found = try_cache(path, key, vocabulary, false)) return found;
  const BuildLock lock(folder + "/" + key + ".lock", "the tokens of " + about);
  if (auto found = open_token_cache(path, key, vocabulary)) return found;
  // An error of the text is told as it is, not as one of the file that its tokens would have gone to.
  std::exception_ptr of_text;
  try {
    file::write_atomically(path, [&](file::Writer& writer) {
      try {
        fill(writer);
      } catch (const Error& error) {
        if (error.code() != Code::io) of_text = std::current_exception();
        throw;
      }
    });
  } catch (const Error& error) {
    if (of_text) std::rethrow_exception(of_text);
    throw Error(error.code(), error.message(), error.where(),
                "free some space, or keep such files elsewhere: ETUDE_CACHE=FOLDER");
  }
  return map_cache(path, key, vocabulary);
}

}  // namespace etude::corpus
