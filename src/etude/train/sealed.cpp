#include "etude/train/sealed.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <bit>
#include <charconv>
#include <cmath>
#include <filesystem>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/log.h"
#include "etude/base/text.h"
#include "etude/tensor/safetensors.h"

namespace etude::sealed {
namespace {

constexpr const char* kManifest = "/manifest.json";
constexpr std::string_view kOpening = "{\"sha256\":\"", kMiddle = "\",\"body\":", kEnd = "}\n";
constexpr size_t kHashLength = 64;
constexpr int kDeepest = 100;  ///< nesting of values; deeper ones could only come from a made-up file

std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

std::string aside(const std::string& parent, const std::string& label) {
  static std::atomic<int> counter = 0;
  return parent + "/" + file::kTemporary + std::to_string(getpid()) + "-" + std::to_string(++counter) + "-" + label;
}

Error damaged(const std::string& what, const std::string& path) {
  return {Code::checkpoint, what, path, "it is damaged"};
}

std::string hexadecimal(std::string_view bytes) {
  constexpr const char* kDigits = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

/// Whether all of `text` is a hexadecimal number.
bool read_hexadecimal(std::string_view text, uint64_t& number) {
  const auto [stop, problem] = std::from_chars(text.data(), text.data() + text.size(), number, 16);
  return problem == std::errc() && stop == text.data() + text.size() && text.size() <= 16;
}

/// An object that could be taken for a value that JSON lacks, or for one that was set apart from those.
bool is_marked(const nlohmann::json& value) {
  return value.is_object() && value.size() == 1 && value.begin().key().starts_with('$');
}

Error no_value(const std::string& what) {
  return {Code::checkpoint, what, "", "it is damaged, or was not written by Etude"};
}

void restore_portable(nlohmann::json& value, int depth) {
  if (depth > kDeepest) throw no_value("values are nested too deeply");
  if (is_marked(value) && value.begin().key().starts_with("$$")) {
    nlohmann::json own = value.begin().value();
    restore_portable(own, depth + 1);
    value = nlohmann::json::object({{value.begin().key().substr(1), std::move(own)}});
    return;
  }
  if (is_marked(value) && value.begin()->is_string()) {
    const std::string text = value.begin()->get<std::string>();
    if (value.begin().key() == "$double") {
      uint64_t bits = 0;
      if (!read_hexadecimal(text, bits)) throw no_value("'" + printable(text) + "' is no stored value");
      value = std::bit_cast<double>(bits);
      return;
    }
    if (value.begin().key() == "$bytes") {
      std::string bytes;
      uint64_t byte = 0;
      for (size_t i = 0; i < text.size(); i += 2) {
        if (text.size() % 2 != 0 || !read_hexadecimal(std::string_view(text).substr(i, 2), byte))
          throw no_value("'" + printable(text) + "' is no stored value");
        bytes += static_cast<char>(byte);
      }
      value = std::move(bytes);
      return;
    }
  }
  if (!value.is_structured()) return;
  for (nlohmann::json& part : value) restore_portable(part, depth + 1);
}

}  // namespace

/// The lock of a directory. Its holder's death frees it, so a draft that can be locked was left behind.
class Draft::Claim {
 public:
  Claim(const std::string& path, int how) : fd_(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    // Another process may have removed it, and its writer made it anew, between opening and locking.
    struct stat locked {
    }, there{};
    holds_ = fd_ >= 0 && flock(fd_, LOCK_EX | how) == 0 && fstat(fd_, &locked) == 0 &&
             stat(path.c_str(), &there) == 0 && locked.st_dev == there.st_dev && locked.st_ino == there.st_ino;
  }
  ~Claim() {
    if (fd_ >= 0) ::close(fd_);
  }
  Claim(const Claim&) = delete;
  bool holds() const { return holds_; }

 private:
  int fd_;
  bool holds_ = false;
};

Draft::Draft(const std::string& parent, const std::string& label) : path_(aside(parent, label)) {
  try {
    do {  // again if another process took it for a leftover before it was locked
      file::make_directories(path_);
      claim_ = std::make_unique<Claim>(path_, 0);
    } while (!file::exists(path_));
  } catch (...) {
    remove();
    throw;
  }
}

Draft::~Draft() { remove(); }

void Draft::remove() const {
  try {
    file::remove_all(path_);
  } catch (const Error& error) {
    note(error.what());
  }
}

void Draft::add(const std::string& name, std::string_view content) {
  file::Writer out(path_ + "/" + name, file::Writer::Mode::create);
  out.write(content);
  out.sync();
  files_[name] = {{"bytes", content.size()}, {"sha256", file::sha256(content)}};
}

void Draft::add(const std::string& name, const NamedTensors& tensors) {
  const std::string path = path_ + "/" + name, hash = write_safetensors(path, tensors);
  files_[name] = {{"bytes", file::size(path)}, {"sha256", hash}};
}

void Draft::publish(const std::string& path, nlohmann::json body) {
  body["files"] = files_;
  const std::string text = body.dump();
  {
    file::Writer out(path_ + kManifest, file::Writer::Mode::create);
    out.write(std::string(kOpening) + file::sha256(text) + std::string(kMiddle) + text + std::string(kEnd));
    out.sync();
  }
  file::sync_directory(path_);
  try {
    file::rename_durably(path_, path);
  } catch (const Error&) {
    // Renamed, but perhaps not for good: what may be gone after a power cut must not count as stored.
    if (file::exists(path) && !file::exists(path_)) file::remove_all(path);
    throw;
  }
}

nlohmann::json read_manifest(const std::string& directory) {
  const std::string path = directory + kManifest;
  if (!file::exists(path)) throw damaged("manifest.json is missing", path);
  const std::string text = file::read(path);
  const size_t hash_at = kOpening.size(), body_at = hash_at + kHashLength + kMiddle.size();
  if (text.size() < body_at + kEnd.size() || !text.starts_with(kOpening) || !text.ends_with(kEnd) ||
      text.compare(hash_at + kHashLength, kMiddle.size(), kMiddle) != 0) {
    throw damaged("manifest.json is incomplete or no manifest", path);
  }
  const std::string_view body = std::string_view(text).substr(body_at, text.size() - body_at - kEnd.size());
  if (text.compare(hash_at, kHashLength, file::sha256(body)) != 0) {
    throw damaged("manifest.json does not have its own hash", path);
  }
  nlohmann::json manifest = nlohmann::json::parse(body, nullptr, false);
  if (!manifest.is_object() || !manifest.contains("files") || !manifest["files"].is_object()) {
    throw damaged("manifest.json counts no files", path);
  }
  return manifest;
}

namespace {

/// Errors unless the file is there with the size that the manifest counts; gives the hash.
std::string expected_hash(const std::string& path, const nlohmann::json& entry) {
  if (!entry.is_object() || !entry.contains("bytes") || !entry["bytes"].is_number_integer() ||
      !entry.contains("sha256") || !entry["sha256"].is_string()) {
    throw damaged("the manifest does not count " + name_of(path), path);
  }
  if (!file::exists(path)) throw damaged(name_of(path) + " is missing", path);
  const int64_t size = file::size(path);
  if (entry["bytes"] != size) {
    throw damaged(name_of(path) + " has " + std::to_string(size) + " bytes, expected " + entry["bytes"].dump(), path);
  }
  return entry["sha256"];
}

void compare(const std::string& found, const std::string& expected, const std::string& path) {
  if (found != expected) throw damaged("the content of " + name_of(path) + " does not have its hash", path);
}

}  // namespace

std::string read_file(const std::string& path, const nlohmann::json& entry) {
  const std::string expected = expected_hash(path, entry);
  std::string bytes = file::read(path);
  compare(file::sha256(bytes), expected, path);
  return bytes;
}

void verify_file(const std::string& path, const nlohmann::json& entry) {
  const std::string expected = expected_hash(path, entry);
  compare(file::sha256_file(path), expected, path);
}

void verify(const std::string& directory) {
  const nlohmann::json manifest = read_manifest(directory);
  for (const auto& [name, entry] : manifest["files"].items()) {
    if (name.find('/') != std::string::npos)
      throw Error(Code::checkpoint, "the manifest names '" + printable(name) + "', which lies elsewhere", directory,
                  "the manifest is damaged or was made by somebody else");
    verify_file(directory + "/" + name, entry);
  }
}

void discard(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string gone = aside(path.substr(0, slash), path.substr(slash + 1));
  file::remove_all(gone);
  file::rename_durably(path, gone);
  file::remove_all(gone);
}

void remove_leftovers(const std::string& parent) {
  try {
    for (const std::string& name : file::list(parent)) {
      const std::string path = parent + "/" + name;
      if (!file::is_temporary(name)) continue;
      const Draft::Claim claim(path, LOCK_NB);  // held until all of it is gone
      if (claim.holds() || std::filesystem::is_regular_file(std::filesystem::symlink_status(path)))
        file::remove_all(path);
    }
  } catch (const Error& error) {
    note(error.what());
  }
}

void make_portable(nlohmann::json& value) {
  if (value.is_number_float() && !std::isfinite(value.get<double>())) {
    const uint64_t bits = std::bit_cast<uint64_t>(value.get<double>());
    std::string text(16, '0');
    for (int i = 0; i < 16; ++i) text[static_cast<size_t>(i)] = "0123456789abcdef"[bits >> (60 - 4 * i) & 15];
    value = nlohmann::json::object({{"$double", text}});
  } else if (value.is_string() && !valid_utf8(value.get_ref<const std::string&>())) {
    value = nlohmann::json::object({{"$bytes", hexadecimal(value.get_ref<const std::string&>())}});
  } else if (value.is_structured()) {
    const bool marked = is_marked(value);
    for (nlohmann::json& part : value) make_portable(part);
    if (marked) value = nlohmann::json::object({{"$" + value.begin().key(), value.begin().value()}});
  }
}

void restore_portable(nlohmann::json& value) { restore_portable(value, 0); }

std::string to_text(nlohmann::json value) {
  make_portable(value);
  try {
    return value.dump();
  } catch (const nlohmann::json::exception& error) {
    throw Error(Code::internal, std::string("a value can't be stored: ") + error.what());
  }
}

nlohmann::json from_text(const std::string& text, const std::string& where) {
  nlohmann::json value = nlohmann::json::parse(text, nullptr, false);
  if (value.is_discarded()) throw damaged(name_of(where) + " is no JSON", where);
  try {
    restore_portable(value);
  } catch (const Error& error) {
    throw error.at(where);
  }
  return value;
}

}  // namespace etude::sealed
