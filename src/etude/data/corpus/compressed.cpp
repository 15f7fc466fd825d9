#include "etude/data/corpus/compressed.h"

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <exception>

#include "etude/data/corpus/errors.h"

namespace etude::corpus {
namespace {

constexpr size_t kPiece = size_t{1} << 17;
constexpr const char* kCopyAgain = "copy or fetch the file again";

const char* word(Packing packing) {
  return packing == Packing::gzip ? "gzip" : packing == Packing::zstd ? "zstd" : "xz";
}

/// What both kinds share: counting what goes in and comes out.
class Unpacked : public Bytes {
 public:
  Unpacked(std::unique_ptr<Bytes> packed, const UnpackLimits& limits) : packed_(std::move(packed)), limits_(limits) {}
  const std::string& name() const override { return packed_->name(); }

 protected:
  std::string_view more() {
    const std::string_view piece = packed_->next();
    in_ += static_cast<int64_t>(piece.size());
    return piece;
  }

  void count(size_t bytes) {
    out_ += static_cast<int64_t>(bytes);
    if (out_ <= limits_.free || out_ / limits_.ratio <= in_) return;
    throw refuse("the file unpacks to more than " + std::to_string(limits_.ratio) +
                     " times its size: " + std::to_string(out_) + " bytes out of the first " + std::to_string(in_),
                 name(), "no text shrinks so far; unpack it by hand if this one is meant");
  }

  int64_t in_ = 0;

 private:
  std::unique_ptr<Bytes> packed_;
  UnpackLimits limits_;
  int64_t out_ = 0;
};

/// RFC 1952; zlib verifies length and CRC of each member.
class Gunzipped : public Unpacked {
 public:
  Gunzipped(std::unique_ptr<Bytes> packed, const UnpackLimits& limits) : Unpacked(std::move(packed), limits) {
    constexpr int kGzipOnly = 16;
    ETUDE_CHECK(inflateInit2(&zlib_, MAX_WBITS + kGzipOnly) == Z_OK, "zlib starts");
    piece_.resize(kPiece);
  }
  ~Gunzipped() override { inflateEnd(&zlib_); }

  std::string_view next() override {
    zlib_.next_out = reinterpret_cast<Bytef*>(piece_.data());
    zlib_.avail_out = static_cast<uInt>(piece_.size());
    while (zlib_.avail_out == piece_.size() && fill()) step();
    const size_t made = piece_.size() - zlib_.avail_out;
    count(made);
    return {piece_.data(), made};
  }

 private:
  /// Whether there is something to unpack.
  bool fill() {
    if (zlib_.avail_in > 0) return true;
    const std::string_view more = this->more();
    if (more.empty()) {
      if (!in_member_ && in_ > 0) return false;
      throw refuse(in_ == 0 ? "the file is empty, not even packed" : "the packed file ends too early", name(),
                   kCopyAgain);
    }
    zlib_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(more.data()));
    zlib_.avail_in = static_cast<uInt>(more.size());
    return true;
  }

  void step() {
    if (!in_member_) {
      inflateReset(&zlib_);
      in_member_ = true;
      ++members_;
    }
    const int result = inflate(&zlib_, Z_NO_FLUSH);
    if (result == Z_STREAM_END) {
      in_member_ = false;
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      const std::string why = zlib_.msg ? zlib_.msg : "no dictionary";
      const bool header = why.find("header") != std::string::npos || why == "unknown compression method";
      throw refuse(header && members_ == 1 ? "this is not packed with gzip (" + why + ")"
                   : header                ? "other bytes follow the packed ones (" + why + ")"
                                           : "the packed file is damaged (" + why + ")",
                   name(), header && members_ == 1 ? "name the file after what it is" : kCopyAgain);
    }
  }

  z_stream zlib_{};
  bool in_member_ = false;
  int64_t members_ = 0;
  std::string piece_;
};

/// zstd and xz, by libarchive.
class ByArchive : public Unpacked {
 public:
  ByArchive(std::unique_ptr<Bytes> packed, Packing packing, const UnpackLimits& limits)
      : Unpacked(std::move(packed), limits), packing_(packing), archive_(archive_read_new(), archive_read_free) {
    ETUDE_CHECK(archive_, "libarchive starts");
  }

  std::string_view next() override {
    if (!open_) open();
    const void* data = nullptr;
    size_t size = 0;
    la_int64_t offset = 0;
    do {
      const int result = archive_read_data_block(archive_.get(), &data, &size, &offset);
      if (result == ARCHIVE_EOF) return {};
      if (result != ARCHIVE_OK) throw problem();
    } while (size == 0);
    count(size);
    return {static_cast<const char*>(data), size};
  }

 private:
  void open() {
    open_ = true;
    archive* const a = archive_.get();
    const bool zstd = packing_ == Packing::zstd;
    if ((zstd ? archive_read_support_filter_zstd(a) : archive_read_support_filter_xz(a)) != ARCHIVE_OK) {
      throw refuse(std::string("this libarchive can't unpack ") + word(packing_), name(),
                   "unpack the file by hand, or pack it with gzip");
    }
    archive_read_support_format_raw(a);
    archive_read_support_format_empty(a);
    archive_entry* entry = nullptr;
    const bool opened = archive_read_open(a, this, nullptr, &ByArchive::read, nullptr) == ARCHIVE_OK;
    const int header = opened ? archive_read_next_header(a, &entry) : ARCHIVE_FATAL;
    if (header != ARCHIVE_OK && header != ARCHIVE_EOF) throw problem();
    // libarchive passes on what no filter knows, and unpacks what was packed twice as often.
    const int filters = archive_filter_count(a);
    if (filters < 2 || archive_filter_code(a, filters - 2) != (zstd ? ARCHIVE_FILTER_ZSTD : ARCHIVE_FILTER_XZ)) {
      throw refuse(
          in_ == 0 ? "the file is empty, not even packed" : std::string("this is not packed with ") + word(packing_),
          name(), "name the file after what it is");
    }
    if (filters > 2) throw refuse("this file was packed more than once", name(), "unpack it once by hand");
  }

  /// An error of the file below, else what libarchive met.
  Error problem() {
    if (below_) std::rethrow_exception(below_);
    const char* why = archive_error_string(archive_.get());
    return refuse(std::string("the packed file is damaged or cut (") + (why ? why : "it can't be unpacked") + ")",
                  name(), kCopyAgain);
  }

  static la_ssize_t read(archive* a, void* self, const void** data) {
    auto* const source = static_cast<ByArchive*>(self);
    try {
      const std::string_view piece = source->more();
      *data = piece.data();
      return static_cast<la_ssize_t>(piece.size());
    } catch (...) {
      source->below_ = std::current_exception();
      archive_set_error(a, EIO, "the file can't be read");
      return ARCHIVE_FATAL;
    }
  }

  Packing packing_;
  std::exception_ptr below_;
  bool open_ = false;
  std::unique_ptr<archive, int (*)(archive*)> archive_;
};

}  // namespace

Packing packing_of(std::string_view name) {
  const auto ends = [&](std::string_view end) {
    return name.size() > end.size() && std::equal(end.rbegin(), end.rend(), name.rbegin(), [](char a, char b) {
             return a == (b >= 'A' && b <= 'Z' ? static_cast<char>(b | 0x20) : b);
           });
  };
  return ends(".gz") ? Packing::gzip : ends(".zst") ? Packing::zstd : ends(".xz") ? Packing::xz : Packing::none;
}

std::unique_ptr<Bytes> unpacked(std::unique_ptr<Bytes> packed, Packing packing, const UnpackLimits& limits) {
  if (packing == Packing::none) return packed;
  if (packing == Packing::gzip) return std::make_unique<Gunzipped>(std::move(packed), limits);
  return std::make_unique<ByArchive>(std::move(packed), packing, limits);
}

}  // namespace etude::corpus
