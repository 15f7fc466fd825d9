#include "etude/data/corpus/token_cache_format.h"

#include <cstring>

#include "etude/data/corpus/errors.h"

namespace etude::corpus {
namespace {

constexpr std::string_view kEnd = "etudeend";
constexpr uint32_t kVersion = 1;
constexpr size_t kKey = 64, kNumbers = 24, kBuffer = size_t{1} << 20;
constexpr int64_t kMostTokens = int64_t{1} << 60;
constexpr const char* kRemove = "remove the file: it is made anew";

template <class T>
void put(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

template <class T>
T get(std::string_view bytes, size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::string filled(std::string bytes, int64_t size) {
  bytes.resize(static_cast<size_t>(size), '\0');
  return bytes;
}

std::string seal(std::string_view head, std::string_view numbers) {
  return file::sha256(std::string(head) + std::string(numbers));
}

}  // namespace

TokenCacheInfo token_cache_info(std::string_view head, std::string_view tail, int64_t size, const std::string& name) {
  const auto bad = [&](const std::string& why) { return refuse(why, name, kRemove); };
  if (size < kCacheHead + kCacheTail || static_cast<int64_t>(head.size()) != kCacheHead ||
      static_cast<int64_t>(tail.size()) != kCacheTail) {
    throw bad("it has only " + std::to_string(size) + " bytes");
  }
  if (!head.starts_with(kCacheMagic)) throw bad("it doesn't begin as a token cache");
  if (!tail.ends_with(kEnd)) throw bad("it doesn't end as a token cache: it was cut");
  if (const auto version = get<uint32_t>(head, 8); version != kVersion) {
    throw bad("it has the version " + std::to_string(version) + "; known is " + std::to_string(kVersion));
  }
  if (tail.substr(kNumbers, kKey) != seal(head, tail.substr(0, kNumbers))) throw bad("its head or end has changed");
  TokenCacheInfo info;
  info.width = get<uint32_t>(head, 12);
  info.key = head.substr(16, kKey);
  info.tokens = get<int64_t>(tail, 0);
  info.documents = get<int64_t>(tail, 8);
  info.empty = get<int64_t>(tail, 16);
  if (info.width != 2 && info.width != 4) throw bad("its ids have " + std::to_string(info.width) + " bytes");
  if (info.tokens < 0 || info.tokens > kMostTokens || info.documents < 0 || info.empty < 0 ||
      info.tokens * info.width != size - kCacheHead - kCacheTail) {
    throw bad("it has " + std::to_string(size) + " bytes, which are not those of " + std::to_string(info.tokens) +
              " ids of " + std::to_string(info.width));
  }
  return info;
}

TokenCacheWriter::TokenCacheWriter(file::Writer& writer, const std::string& key, int64_t vocabulary)
    : writer_(writer), width_(vocabulary <= (1 << 16) ? 2 : 4) {
  ETUDE_CHECK(key.size() == kKey && vocabulary >= 1 && vocabulary <= (int64_t{1} << 31), "a key and a vocabulary");
  head_ = kCacheMagic;
  put(head_, kVersion);
  put(head_, static_cast<uint32_t>(width_));
  head_ = filled(head_ + key, kCacheHead);
  writer_.write(head_);
}

void TokenCacheWriter::add(std::span<const int32_t> ids) {
  for (const int32_t id : ids) {
    if (width_ == 2) {
      put(buffer_, static_cast<uint16_t>(id));
    } else {
      put(buffer_, id);
    }
    if (buffer_.size() >= kBuffer) flush();
  }
  tokens_ += static_cast<int64_t>(ids.size());
}

void TokenCacheWriter::finish(int64_t documents, int64_t empty) {
  flush();
  std::string tail;
  for (const int64_t number : {tokens_, documents, empty}) put(tail, number);
  tail += seal(head_, tail);
  writer_.write(filled(tail, kCacheTail - static_cast<int64_t>(kEnd.size())).append(kEnd));
}

void TokenCacheWriter::flush() {
  writer_.write(buffer_);
  buffer_.clear();
}

}  // namespace etude::corpus
