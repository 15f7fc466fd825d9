#include "etude/data/sets/inflate.h"

#include <zlib.h>

#include <algorithm>
#include <array>
#include <memory>

#include "etude/base/error.h"

namespace etude {
namespace {

constexpr const char* kHint = "the file is damaged: fetch the set again";
constexpr size_t kChunk = size_t{1} << 16;

[[noreturn]] void damaged(const std::string& what, const std::string& place) {
  throw Error(Code::data, what, place, kHint);
}

}  // namespace

std::string inflated(std::string_view packed, size_t size, const std::string& place) {
  z_stream stream{};
  if (inflateInit(&stream) != Z_OK) damaged("zlib can't begin", place);
  const std::unique_ptr<z_stream, decltype(&inflateEnd)> guard(&stream, inflateEnd);
  std::string out;
  std::array<char, kChunk> chunk;
  int status = Z_OK;
  while (status == Z_OK) {
    if (stream.avail_in == 0) {
      const size_t piece = std::min(packed.size(), kChunk);
      stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(packed.data()));
      stream.avail_in = static_cast<uInt>(piece);
      packed.remove_prefix(piece);
    }
    stream.next_out = reinterpret_cast<Bytef*>(chunk.data());
    stream.avail_out = static_cast<uInt>(chunk.size());
    status = inflate(&stream, Z_NO_FLUSH);
    out.append(chunk.data(), chunk.size() - stream.avail_out);
    if (out.size() > size) damaged("a block unpacks to more than its " + std::to_string(size) + " bytes", place);
  }
  if (status != Z_STREAM_END) damaged("a block is no whole zlib stream", place);
  if (out.size() != size) {
    damaged("a block unpacks to " + std::to_string(out.size()) + " bytes in place of " + std::to_string(size), place);
  }
  return out;
}

}  // namespace etude
