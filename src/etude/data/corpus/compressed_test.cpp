#include "etude/data/corpus/compressed.h"

#include <archive.h>
#include <archive_entry.h>
#include <zlib.h>

#include <random>

#include "etude/data/corpus/readers.h"
#include "etude/data/corpus/testing.h"

namespace etude::corpus::compressed_test {
namespace {

std::string gzipped(const std::string& text) {
  z_stream z{};
  EXPECT_EQ(deflateInit2(&z, 9, Z_DEFLATED, MAX_WBITS + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
  std::string out(deflateBound(&z, text.size()), '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  z.avail_in = static_cast<uInt>(text.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  EXPECT_EQ(deflate(&z, Z_FINISH), Z_STREAM_END);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string archived(const std::string& text, Packing packing) {
  archive* const a = archive_write_new();
  if (packing == Packing::zstd)
    archive_write_add_filter_zstd(a);
  else
    archive_write_add_filter_xz(a);
  archive_write_set_format_raw(a);
  archive_write_set_bytes_in_last_block(a, 1);
  std::string out(text.size() + (size_t{1} << 20), '\0');
  size_t used = 0;
  EXPECT_EQ(archive_write_open_memory(a, out.data(), out.size(), &used), ARCHIVE_OK);
  archive_entry* const entry = archive_entry_new();
  archive_entry_set_filetype(entry, AE_IFREG);
  EXPECT_EQ(archive_write_header(a, entry), ARCHIVE_OK);
  EXPECT_EQ(archive_write_data(a, text.data(), text.size()), static_cast<la_ssize_t>(text.size()));
  archive_entry_free(entry);
  EXPECT_EQ(archive_write_close(a), ARCHIVE_OK);
  archive_write_free(a);
  out.resize(used);
  return out;
}

std::string packed(const std::string& text, Packing packing) {
  return packing == Packing::gzip ? gzipped(text) : archived(text, packing);
}

std::string unpack(const std::string& bytes, Packing packing, size_t piece = 1000, const UnpackLimits& limits = {}) {
  const auto source = unpacked(in_memory(bytes, piece), packing, limits);
  std::string all;
  for (std::string_view more; !(more = source->next()).empty();) all += more;
  EXPECT_TRUE(source->next().empty());
  return all;
}

std::string words(size_t size) {
  std::mt19937 random(2);
  std::string text;
  while (text.size() < size) text += "word" + std::to_string(random() % 10000) + (random() % 9 ? " " : "\n");
  return text;
}

const std::vector<Packing> kAll = {Packing::gzip, Packing::zstd, Packing::xz};

TEST(CorpusCompressed, NamesTell) {
  EXPECT_EQ(packing_of("a.jsonl.gz"), Packing::gzip);
  EXPECT_EQ(packing_of("a.txt.ZST"), Packing::zstd);
  EXPECT_EQ(packing_of("a.xz"), Packing::xz);
  for (const char* name : {"a.txt", ".gz", "agz", "a.gz.txt", "a\x0egz", ""})
    EXPECT_EQ(packing_of(name), Packing::none) << name;
}

TEST(CorpusCompressed, GivesWhatWasPacked) {
  for (const Packing packing : kAll) {
    for (const size_t size : {size_t{1}, size_t{1000}, size_t{1000000}}) {
      const std::string text = words(size), bytes = packed(text, packing);
      EXPECT_LT(bytes.size(), text.size() + 100);
      for (const size_t piece : {size_t{1}, size_t{4097}, size_t{10000000}}) {
        if (piece > 1 || size < 10000) {
          EXPECT_EQ(unpack(bytes, packing, piece), text) << size;
        }
      }
    }
  }
  EXPECT_EQ(unpack("as it is", Packing::none), "as it is");
}

TEST(CorpusCompressed, SeveralOneAfterTheOtherAreOneText) {
  for (const Packing packing : kAll) {
    EXPECT_EQ(unpack(packed("one\n", packing) + packed("two\n", packing) + packed(words(70000), packing), packing),
              "one\ntwo\n" + words(70000));
  }
}

TEST(CorpusCompressed, HostileGzip) {
  const std::string text = words(5000), good = gzipped(text);
  const auto changed = [&](size_t at, int by) {
    std::string bytes = good;
    bytes[at] = static_cast<char>(bytes[at] + by);
    return bytes;
  };
  std::vector<Hostile> all = {
      {"", "the file is empty, not even packed", "here", "again"},
      {"some text that nobody packed", "this is not packed with gzip", "here", "name the file"},
      {archived(text, Packing::zstd), "this is not packed with gzip", "here", "name the file"},
      {archived(text, Packing::xz), "this is not packed with gzip", "here", "name the file"},
      {std::string("PK\x03\x04 zip"), "this is not packed with gzip", "here", "name the file"},
      {std::string(100, '\0'), "this is not packed with gzip", "here", "name the file"},
      {changed(0, 1), "this is not packed with gzip", "here", "name the file"},
      {changed(2, 1), "this is not packed with gzip (unknown compression method)", "here", "name the file"},
      {changed(good.size() - 8, 1), "damaged (incorrect data check)", "here", "again"},
      {changed(good.size() - 4, 1), "damaged (incorrect length check)", "here", "again"},
      {good + "tail", "other bytes follow the packed ones", "here", "again"},
      {good + good.substr(0, 20), "ends too early", "here", "again"},
      {good + changed(0, 1), "other bytes follow the packed ones", "here", "again"},
      {gzipped(std::string(1 << 20, 'x')), "more than 20 times its size", "here", "unpack it by hand"},
      {gzipped(std::string(1 << 20, 'x')) + good, "more than 20 times its size", "here", "unpack it by hand"},
  };
  for (const size_t size : {size_t{1}, size_t{9}, size_t{10}, size_t{500}, good.size() - 8, good.size() - 1}) {
    all.push_back({good.substr(0, size), "ends too early", "here", "again"});
  }
  refuse_all(all, [](const std::string& content) { unpack(content, Packing::gzip, 300, {20, 1 << 16}); });
}

TEST(CorpusCompressed, HostileZstdAndXz) {
  const std::string text = words(200000);
  for (const Packing packing : {Packing::zstd, Packing::xz}) {
    const std::string good = archived(text, packing), name = packing == Packing::zstd ? "zstd" : "xz";
    std::vector<Hostile> all = {
        {"", "the file is empty, not even packed", "here", "name the file"},
        {"some text that nobody packed", "this is not packed with " + name, "here", "name the file"},
        {gzipped(text), "this is not packed with " + name, "here", "name the file"},
        {archived(text, packing == Packing::zstd ? Packing::xz : Packing::zstd), "this is not packed with " + name,
         "here", "name the file"},
        {std::string(1000, '\0'), "this is not packed with " + name, "here", "name the file"},
        {archived(std::string(1 << 22, 'x'), packing), "more than 20 times its size", "here", "unpack it by hand"},
        {archived(good, packing), "packed more than once", "here", "unpack it once"},
    };
    for (size_t at = 20; at < good.size() - 40; at += good.size() / 8) {
      std::string bytes = good;
      for (size_t i = 0; i < 12; ++i) bytes[at + i] = static_cast<char>(~bytes[at + i]);
      all.push_back({bytes, "the packed file is damaged or cut", "here", "again"});
    }
    for (size_t size = 30; size < good.size(); size += good.size() / 8) {
      all.push_back({good.substr(0, size), "the packed file is damaged or cut", "here", "again"});
    }
    refuse_all(all, [&](const std::string& content) { unpack(content, packing, 3000, {20, 1 << 16}); });
  }
}

TEST(CorpusCompressed, ErrorsOfTheFileBelowPassThrough) {
  class Failing : public Bytes {
   public:
    std::string_view next() override { throw Error(Code::data, "the text shrank", "below", "hint"); }
    const std::string& name() const override { return name_; }

   private:
    std::string name_ = "below";
  };
  for (const Packing packing : kAll) {
    expect_error([&] { unpacked(std::make_unique<Failing>(), packing)->next(); }, Code::data, "shrank", "below");
  }
}

TEST(CorpusCompressed, BombsAreGivenUpWithLittleMemory) {
  for (const Packing packing : kAll) {
    std::string bomb;  // some MB in some kB, many times
    for (const std::string once = packed(std::string(8 << 20, ' '), packing); bomb.size() < 4 * once.size() + 100000;)
      bomb += once;
    const PeakMemory memory;
    const auto reader = plain_text(unpacked(in_memory(bomb, 1 << 16), packing), "name");
    int64_t bytes = 0;
    expect_error(
        [&] {
          for (Document document; reader->next(document);) bytes += static_cast<int64_t>(document.text.size());
        },
        Code::data, "more than 200 times its size", "here", "no text shrinks");
    EXPECT_LT(bytes, int64_t{200} << 20);
    EXPECT_LT(memory.grown(), int64_t{96} << 20);
  }
}

}  // namespace
}  // namespace etude::corpus::compressed_test
