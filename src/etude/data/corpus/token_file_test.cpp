#include "etude/data/corpus/token_file.h"

#include <cstring>
#include <limits>

#include "etude/data/corpus/testing.h"
#include "etude/data/corpus/token_sequence.h"

namespace etude::corpus::token_file_test {
namespace {

using Type = TokenRun::Type;

template <class T>
std::string raw(std::initializer_list<T> values) {
  std::string bytes;
  for (const T value : values) bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  return bytes;
}

/// As numpy.save() writes it: the header ends with a newline, and the ids begin at a multiple of 64.
std::string npy(const std::string& dictionary, const std::string& ids, int version = 1) {
  const size_t begin = version == 1 ? 10 : 12;
  std::string header = dictionary;
  header += std::string((64 - (begin + header.size() + 1) % 64) % 64, ' ') + "\n";
  std::string bytes = "\x93NUMPY" + std::string{static_cast<char>(version), '\0'};
  bytes += version == 1 ? raw({static_cast<uint16_t>(header.size())}) : raw({static_cast<uint32_t>(header.size())});
  return bytes + header + ids;
}

std::string dictionary(const std::string& descr, const std::string& shape, const std::string& order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }";
}

TokenRun run_of(const std::string& bytes, const std::string& name) {
  return token_run(std::string_view(bytes).substr(0, kTokenHead), static_cast<int64_t>(bytes.size()), name);
}

std::vector<int32_t> ids_of(const std::string& bytes, const std::string& name, int64_t limit = int64_t{1} << 31) {
  const TokenRun run = run_of(bytes, name);
  std::vector<int32_t> ids(static_cast<size_t>(run.count));
  read_tokens(bytes, run, 0, run.count, limit, name, ids.data());
  return ids;
}

std::string llm_c(int32_t magic, int32_t version, int32_t count, const std::string& ids) {
  std::string bytes = raw({magic, version, count});
  bytes.resize(1024, '\0');
  return bytes + ids;
}

using Ids = std::vector<int32_t>;

TEST(CorpusTokenFile, ArraysOfEveryTypeAndVersion) {
  for (const int version : {1, 2, 3}) {
    EXPECT_EQ(ids_of(npy(dictionary("<u2", "(3,)"), raw<uint16_t>({1, 50256, 65535}), version), "a.npy"),
              (Ids{1, 50256, 65535}));
    EXPECT_EQ(ids_of(npy(dictionary("<u4", "(2,)"), raw<uint32_t>({7, 128000}), version), "a.npy"), (Ids{7, 128000}));
    EXPECT_EQ(ids_of(npy(dictionary("<i4", "(2,)"), raw<int32_t>({7, 128000}), version), "a.npy"), (Ids{7, 128000}));
    EXPECT_EQ(ids_of(npy(dictionary("<i8", "(2,)"), raw<int64_t>({7, 128000}), version), "a.NPY"), (Ids{7, 128000}));
  }
  // In another order, with other quotes, without the last comma.
  EXPECT_EQ(ids_of(npy("{\"shape\": (1,), \"descr\": \"<u2\", \"fortran_order\": False}", raw<uint16_t>({9})), "a.npy"),
            (Ids{9}));
}

TEST(CorpusTokenFile, AnArrayThatNumPyWrote) {
  // numpy.save(path, numpy.array([5, 6, 300], "<u2")), NumPy 2.3
  std::string bytes = "\x93NUMPY\x01";
  bytes += std::string("\0\x76\0", 3) + "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }";
  bytes.resize(127, ' ');
  EXPECT_EQ(ids_of(bytes + "\n" + std::string("\5\0\6\0\x2c\1", 6), "a.npy"), (Ids{5, 6, 300}));
}

TEST(CorpusTokenFile, BinWithAndWithoutHeader) {
  EXPECT_EQ(ids_of(raw<uint16_t>({1, 2, 40000}), "train.bin"), (Ids{1, 2, 40000}));
  EXPECT_EQ(ids_of(raw<uint32_t>({1, 2, 100000}), "train.u32.bin"), (Ids{1, 2, 100000}));
  EXPECT_EQ(ids_of(raw<uint32_t>({1, 2, 100000}), "train.UINT32.bin"), (Ids{1, 2, 100000}));
  EXPECT_EQ(ids_of(llm_c(20240520, 1, 2, raw<uint16_t>({50256, 3})), "train.bin"), (Ids{50256, 3}));
  EXPECT_EQ(ids_of(llm_c(20240801, 7, 2, raw<uint32_t>({128000, 3})), "train.bin"), (Ids{128000, 3}));
}

TEST(CorpusTokenFile, HostileArrays) {
  const std::string two = raw<uint16_t>({1, 2});
  const std::string good = npy(dictionary("<u2", "(2,)"), two);
  const auto with = [&](const std::string& header) { return npy(header, two); };
  const auto wrong_length = [&](uint16_t length) {
    std::string bytes = good;
    std::memcpy(bytes.data() + 8, &length, 2);
    return bytes;
  };
  const std::vector<Hostile> all = {
      {"", "no .npy file", "a.npy", "numpy.save"},
      {"\x93NUMPY", "no .npy file", "a.npy", "numpy.save"},
      {std::string(200, 'x'), "no .npy file", "a.npy", "numpy.save"},
      {npy(dictionary("<u2", "(2,)"), two, 4), "format 4.0 is unknown", "a.npy", "numpy.save"},
      {wrong_length(0), "it has 0 bytes", "a.npy", "again"},
      {wrong_length(60000), "it has 60000 bytes, which are not there", "a.npy", "again"},
      {wrong_length(40), "the header of the array can't be read", "a.npy", "numpy"},
      {good.substr(0, 60), "bytes, which are not there", "a.npy", "again"},
      {good.substr(0, good.size() - 1), "says it has 2 ids of 2 bytes, but 3 bytes follow", "a.npy", "again"},
      {good + "x", "says it has 2 ids of 2 bytes, but 5 bytes follow", "a.npy", "again"},
      {npy(dictionary("<u2", "(9223372036854775807,)"), two), "says it has 9223372036854775807 ids", "a.npy", "again"},
      {npy(dictionary("<u2", "(99999999999999999999,)"), two), "the shape has no size", "a.npy", "numpy.save"},
      {npy(dictionary("<u2", "(-2,)"), two), "the shape has no size", "a.npy", "numpy.save"},
      {npy(dictionary("<u2", "(0,)"), ""), "no ids", "a.npy", "put ids"},
      {npy(dictionary("<u2", "()"), two), "the shape ()", "a.npy", "reshape(-1)"},
      {npy(dictionary("<u2", "(1, 2)"), two), "the shape (1, 2)", "a.npy", "reshape(-1)"},
      {npy(dictionary("<u2", "(2,)", "True"), two), "in Fortran's order", "a.npy", "reshape"},
      {npy(dictionary(">u2", "(2,)"), two), "elements are '>u2'", "a.npy", "astype('<u2')"},
      {npy(dictionary("<f4", "(1,)"), two), "elements are '<f4'", "a.npy", "astype('<u2')"},
      {npy(dictionary("|O", "(2,)"), two), "elements are '|O'", "a.npy", "astype('<u2')"},
      {with("{'descr': [('a', '<u2')], 'fortran_order': False, 'shape': (2,)}"), "several fields", "a.npy", "numpy"},
      {with("{'descr': '<u2', 'shape': (2,)}"), "fortran_order or shape is missing", "a.npy", "numpy"},
      {with("{'descr': '<u2', 'descr': '<u2', 'fortran_order': False, 'shape': (2,)}"), "'descr' is there twice",
       "a.npy", "numpy"},
      {with("{'descr': '<u2', 'fortran_order': 0, 'shape': (2,)}"), "neither True nor False", "a.npy", "numpy"},
      {with("{'descr': '<u2', 'other': 'x'}"), "a key 'other'", "a.npy", "numpy"},
      {with("{'descr': '<u2"), "not closed", "a.npy", "numpy"},
      {with("__import__('os')"), "'{' is missing at byte 0", "a.npy", "numpy"},
      {with(dictionary("<u2", "(2,)") + " x"), "something follows", "a.npy", "numpy"},
      {npy(dictionary("<i4", "(1,)"), raw<int32_t>({-1})), "id -1 at place 0 is not in the vocabulary", "a.npy", "ids"},
      {npy(dictionary("<i8", "(2,)"), raw<int64_t>({3, int64_t{1} << 40})), "id 1099511627776 at place 1", "a.npy",
       "ids"},
      {npy(dictionary("<u4", "(1,)"), raw<uint32_t>({4294967295})), "id 4294967295 at place 0", "a.npy", "ids"},
  };
  for (const Hostile& one : all) {
    expect_error([&] { ids_of(one.content, "a.npy"); }, Code::data, one.message, one.place, one.hint);
  }
  EXPECT_GE(all.size(), 20u);
}

TEST(CorpusTokenFile, HostileBinFiles) {
  const std::string two = raw<uint16_t>({1, 2});
  struct Bin {
    std::string content, message, hint, name = "a.bin";
    int64_t limit = 50257;
  };
  const std::vector<Bin> all = {
      {"", "no ids", "put ids"},
      {"", "no ids", "put ids", "a.u32.bin"},
      {"x", "1 bytes are no whole number of ids of 2", "uint32 where"},
      {two + "x", "5 bytes are no whole number of ids of 2", "uint32 where"},
      {two + "x", "5 bytes are no whole number of ids of 4", "uint32 where", "a.u32.bin"},
      {two + two.substr(0, 2), "6 bytes are no whole number of ids of 4", "uint32 where", "a.uint32.bin"},
      {raw<uint16_t>({1, 50257}), "id 50257 at place 1 is not in the vocabulary of 50257", "tokenizer"},
      {raw<uint16_t>({65535}), "id 65535 at place 0", "tokenizer"},
      {raw<uint32_t>({1, 2, 0x80000000u}), "id 2147483648 at place 2", "tokenizer", "a.u32.bin", int64_t{1} << 31},
      {raw<uint32_t>({1, 50257}), "id 50257 at place 1", "tokenizer", "a.u32.bin"},
      {"text in place of ids", "is not in the vocabulary of 256", "tokenizer", "a.bin", 256},
      {raw<int32_t>({20240520}), "ends within its header", "again"},
      {raw<int32_t>({20240520, 1, 1}), "ends within its header", "again"},
      {llm_c(20240520, 1, 1, "").substr(0, 1023), "ends within its header", "again"},
      {llm_c(20240801, 7, 1, "").substr(0, 1020), "ends within its header", "again"},
      {llm_c(20240520, 2, 2, two), "version 2; known is 1", "without a header"},
      {llm_c(20240520, 0, 2, two), "version 0; known is 1", "without a header"},
      {llm_c(20240801, 1, 1, two), "version 1; known is 7", "without a header"},
      {llm_c(20240520, 1, 0, ""), "no ids", "put ids"},
      {llm_c(20240520, 1, 3, two), "there are 3 ids of 2 bytes, but 4 bytes follow", "again"},
      {llm_c(20240520, 1, 1, two), "there are 1 ids of 2 bytes, but 4 bytes follow", "again"},
      {llm_c(20240520, 1, 2, two + "x"), "there are 2 ids of 2 bytes, but 5 bytes follow", "again"},
      {llm_c(20240520, 1, -2, two), "there are -2 ids", "again"},
      {llm_c(20240520, 1, std::numeric_limits<int32_t>::max(), two), "there are 2147483647 ids", "again"},
      {llm_c(20240801, 7, 2, two), "there are 2 ids of 4 bytes, but 4 bytes follow", "again"},
  };
  EXPECT_GE(all.size(), 20u);
  for (const Bin& one : all) {
    expect_error([&] { ids_of(one.content, one.name, one.limit); }, Code::data, one.message, one.name, one.hint);
  }
}

TEST(CorpusTokenFile, SequencesGoOverFiles) {
  const TestFolder folder;
  std::vector<MappedRun> runs;
  Ids expected;
  for (int32_t f = 0; f < 4; ++f) {
    std::string bytes;
    for (int32_t i = 0; i < 3 + f; ++i) {
      expected.push_back(100 * f + i);
      bytes += f % 2 ? raw({static_cast<uint32_t>(expected.back())}) : raw({static_cast<uint16_t>(expected.back())});
    }
    const std::string name = "f" + std::to_string(f) + (f % 2 ? ".u32.bin" : ".bin");
    runs.push_back({std::make_shared<file::Mapped>(folder.write(name, bytes)), run_of(bytes, name)});
  }
  const auto tokens = mapped_tokens(std::move(runs), 306, 7);
  EXPECT_EQ(tokens->documents(), 7);
  ASSERT_EQ(tokens->size(), static_cast<int64_t>(expected.size()));
  for (int64_t begin = 0; begin <= tokens->size(); ++begin) {
    for (int64_t n = 0; begin + n <= tokens->size(); ++n) {
      Ids found(static_cast<size_t>(n));
      tokens->will_need(begin, n);
      tokens->read(begin, n, found.data());
      ASSERT_EQ(found, Ids(expected.begin() + begin, expected.begin() + begin + n));
    }
  }
}

TEST(CorpusTokenFile, ALargeFileCostsNoMemory) {
  const TestFolder folder;
  const std::string path = folder.write("a.bin", "");
  if (truncate(path.c_str(), int64_t{1} << 40) != 0) GTEST_SKIP() << "this file system has no files of 1 TiB";
  const PeakMemory memory;
  const auto file = std::make_shared<file::Mapped>(path);
  const TokenRun run = token_run(file->bytes().substr(0, kTokenHead), static_cast<int64_t>(file->size()), path);
  const auto tokens = mapped_tokens({{file, run}}, 10, 1);
  EXPECT_EQ(tokens->size(), int64_t{1} << 39);
  Ids ids(1000, 5);
  tokens->read((int64_t{1} << 39) - 1000, 1000, ids.data());
  EXPECT_EQ(ids, Ids(1000, 0));
  EXPECT_LT(memory.grown(), int64_t{8} << 20);
}

}  // namespace
}  // namespace etude::corpus::token_file_test
