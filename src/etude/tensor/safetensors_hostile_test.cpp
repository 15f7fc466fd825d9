// Files that lie, each with the error that it must end in, and with no more time and memory than its size allows.

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <set>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/testing.h"
#include "etude/tensor/tensor_files.h"

namespace etude::safetensors_hostile_test {
namespace {

std::string file_of(const std::string& header, const std::string& data, uint64_t length) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &length, 8);
  return bytes + header + data;
}
std::string file_of(const std::string& header, const std::string& data = "") {
  return file_of(header, data, header.size());
}

std::string tensor(const std::string& name, const std::string& dtype, const std::string& shape,
                   const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}";
}
std::string one(const std::string& dtype, const std::string& shape, const std::string& offsets,
                const std::string& data = "") {
  return file_of("{" + tensor("t", dtype, shape, offsets) + "}", data);
}

struct Hostile {
  const char* kind;
  std::string bytes;
  const char* message;
  const char* where = "";  ///< the tensor
};

std::vector<Hostile> hostile_files() {
  const std::string good = tensor("t", "U8", "[2]", "[0,2]"), max = "18446744073709551615";
  const auto pair = [&](const std::string& offsets, const std::string& data) {
    return file_of("{" + good + "," + tensor("u", "U8", "[2]", offsets) + "}", data);
  };
  return {
      {"cut short", "", "the file has 0 bytes"},
      {"cut short", "\x10", "the file has 1 bytes"},
      {"cut short", std::string(7, '\0'), "the file has 7 bytes"},
      {"cut short", file_of("{" + good, "12", good.size() + 1), "no JSON at byte"},
      {"cut short", file_of("{\"t\":{\"dty"), "no JSON at byte 6"},
      {"cut short", file_of("{" + good + "}", "x"), "ends at byte 2 of 1", "t"},
      {"length lies", file_of("{}", "", 3), "claims 3 bytes, 2 are left"},
      {"length lies", file_of("{}", "", UINT64_MAX), "claims 18446744073709551615 bytes, at most 100000000"},
      {"length lies", file_of("{}", "", uint64_t{1} << 63), "claims 9223372036854775808 bytes, at most"},
      {"length lies", file_of("{}", "", 0), "does not begin with '{'"},
      {"length lies", file_of("{" + good + "}", "xy", 1), "no JSON at byte 1"},
      {"length lies", file_of("{" + good + "}", "12", good.size() + 4), "ends at byte 2 of 0", "t"},
      {"overflow", one("F64", "[4294967296,4294967296]", "[0,0]"), "too large", "t"},
      {"overflow", one("F64", "[2305843009213693952]", "[0,0]"), "too large", "t"},
      {"overflow", one("U8", "[0,9223372036854775807,3]", "[0,0]"), "too large", "t"},
      {"overflow", one("U8", "[" + max + "]", "[0,0]"), "too large", "t"},
      {"overflow", one("F4", "[9223372036854775807,2]", "[0,0]"), "too large", "t"},
      {"overflow", one("F6_E2M3", "[4611686018427387904]", "[0,0]"), "too large", "t"},
      {"places", pair("[3,5]", "12345"), "a hole before the data", "u"},
      {"places", pair("[1,3]", "123"), "overlaps another tensor's", "u"},
      {"places", pair("[0,2]", "12"), "overlaps another tensor's", "u"},
      {"places", file_of("{" + tensor("t", "U8", "[1]", "[1,2]") + "}", "12"), "a hole before the data", "t"},
      {"places", one("U8", "[2]", "[2,0]", "12"), "run backwards", "t"},
      {"places", one("U8", "[2]", "[0,3]", "12"), "ends at byte 3 of 2", "t"},
      {"places", one("U8", "[2]", "[0," + max + "]", "12"), "ends at byte 18446744073709551615 of 2", "t"},
      {"keys twice", file_of("{" + good + "," + good + "}", "12"), "stands twice in the header", "t"},
      {"keys twice", file_of("{" + good + "," + tensor("\\u0074", "U8", "[0]", "[2,2]") + "}", "12"), "stands twice",
       "t"},
      {"keys twice", file_of("{\"t\":{\"dtype\":\"U8\",\"dtype\":\"I8\",\"shape\":[],\"data_offsets\":[0,1]}}", "1"),
       "'dtype' stands twice", "t"},
      {"keys twice", file_of("{\"__metadata__\":{},\"__metadata__\":{}}"), "'__metadata__' stands twice"},
      {"keys twice", file_of("{\"__metadata__\":{\"a\":\"\",\"\\u0061\":\"\"}}"), "metadata key 'a' stands twice"},
      {"nesting", file_of(std::string(1'000'000, '[')), "does not begin with '{'"},
      {"nesting", file_of("{\"t\":" + std::string(1'000'000, '[')), "a list stands where none belongs", "t"},
      {"nesting", file_of("{\"t\":{\"shape\":" + std::string(1'000'000, '[')), "a list stands", "t"},
      {"nesting", file_of("{\"t\":{\"dtype\":{\"dtype\":{}}}}"), "a table stands where none belongs", "t"},
      {"no UTF-8", file_of("{\"t\xff\":{}}"), "not UTF-8 in the text at byte 1"},
      {"no UTF-8", file_of("{\"\xc0\xaf\":{}}"), "not UTF-8"},
      {"no UTF-8", file_of("{\"\xed\xa0\x80\":{}}"), "not UTF-8"},
      {"no UTF-8", file_of("{\"\\ud800\":{}}"), "no JSON"},
      {"no UTF-8", file_of("\xef\xbb\xbf{}"), "does not begin with '{'"},
      {"no UTF-8", file_of(std::string("{\"t\0\":{}}", 9)), "no JSON"},
      {"types", one("F31", "[2]", "[0,2]", "12"), "unknown dtype 'F31'", "t"},
      {"types", one("", "[2]", "[0,2]", "12"), "unknown dtype ''", "t"},
      {"types", one("f32", "[0]", "[0,0]"), "unknown dtype 'f32'", "t"},
      {"types", one("F32\\n\\u001b[31m", "[0]", "[0,0]"), "unknown dtype 'F32??[31m'", "t"},
      {"types", one("F4", "[3]", "[0,2]", "12"), "no whole number of bytes", "t"},
      {"sizes", one("F32", "[2]", "[0,2]", "12"), "needs 8 bytes, the offsets give 2", "t"},
      {"sizes", one("U8", "[]", "[0,2]", "12"), "needs 1 bytes, the offsets give 2", "t"},
      {"sizes", one("U8", "[1000000000000]", "[0,2]", "12"), "needs 1000000000000 bytes, the offsets give 2", "t"},
      {"sizes", one("U8", "[0]", "[0,2]", "12"), "needs 0 bytes, the offsets give 2", "t"},
      {"numbers", one("U8", "[-2]", "[0,2]", "12"), "the negative number -2", "t"},
      {"numbers", one("U8", "[2.0]", "[0,2]", "12"), "the number 2.0 is no count", "t"},
      {"numbers", one("U8", "[2e0]", "[0,2]", "12"), "the number 2e0 is no count", "t"},
      {"numbers", one("U8", "[18446744073709551616]", "[0,2]", "12"), "is no count", "t"},
      {"numbers", one("U8", "[" + std::string(1'000'000, '9') + "]", "[0,2]", "12"), "9... is no count", "t"},
      {"numbers", one("U8", "[02]", "[0,2]", "12"), "no JSON", "t"},
      {"numbers", one("U8", "[0x2]", "[0,2]", "12"), "no JSON", "t"},
      {"numbers", one("U8", "[NaN]", "[0,2]", "12"), "no JSON", "t"},
      {"numbers", one("U8", "[true]", "[0,2]", "12"), "true or false stands", "t"},
      {"numbers", one("U8", "[\"2\"]", "[0,2]", "12"), "a text stands where none belongs", "t"},
      {"numbers", one("U8", "[2]", "[0]", "12"), "needs two numbers", "t"},
      {"numbers", one("U8", "[2]", "[0,2,2]", "12"), "a list is too long", "t"},
      {"numbers", one("U8", "[2" + std::string(1'000'000, '0') + "]", "[0,2]", "12"), "is no count", "t"},
      {"metadata", file_of("{\"__metadata__\":7}"), "a number stands"},
      {"metadata", file_of("{\"__metadata__\":[]}"), "a list stands"},
      {"metadata", file_of("{\"__metadata__\":\"x\"}"), "a text stands"},
      {"metadata", file_of("{\"__metadata__\":{\"a\":1}}"), "a number stands"},
      {"metadata", file_of("{\"__metadata__\":{\"a\":null}}"), "null stands"},
      {"metadata", file_of("{\"__metadata__\":{\"a\":{}}}"), "a table stands"},
      {"trailing", file_of("{" + good + "}", "123"), "1 bytes at the end belong to no tensor"},
      {"trailing", file_of("{}", "x"), "1 bytes at the end belong to no tensor"},
      {"trailing", file_of("{" + good + "}x", "12"), "no JSON at byte"},
      {"trailing", file_of("{" + good + "}{}", "12"), "no JSON at byte"},
      {"entries", file_of("{\"t\":{}}"), "needs dtype, shape and data_offsets", "t"},
      {"entries", file_of("{\"t\":null}"), "null stands", "t"},
      {"entries", file_of("{\"t\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1],\"run\":\"rm\"}}", "1"),
       "an entry has no field 'run'", "t"},
      {"entries", file_of("{\"" + std::string(1'000'000, 'n') + "\":{}}"), "needs dtype", "nnnn..."},
  };
}

TEST(HostileSafetensors, EachEndsInItsError) {
  const TestFolder folder;
  std::set<std::string> kinds;
  const std::vector<Hostile> all = hostile_files();
  EXPECT_GE(all.size(), 40U);
  for (const Hostile& hostile : all) {
    SCOPED_TRACE(std::string(hostile.kind) + ": " + hostile.message);
    kinds.insert(hostile.kind);
    const std::string path = folder.write("model.safetensors", hostile.bytes);
    const std::string where = *hostile.where ? "model.safetensors, tensor " : "model.safetensors";
    expect_error([&] { SafetensorsReader reader(path); }, Code::checkpoint, hostile.message, where);
    expect_error([&] { open_tensors(folder.path()); }, Code::checkpoint, hostile.message, hostile.where);
    try {
      SafetensorsReader reader(path);
    } catch (const Error& error) {
      EXPECT_LT(std::string_view(error.what()).size(), 700U);
    }
  }
  EXPECT_GE(kinds.size(), 12U);
}

/// A folder with two shards and this index.
void expect_index(const std::string& index, std::string_view message, std::string_view where,
                  Code code = Code::checkpoint) {
  const TestFolder folder;
  folder.write("a.safetensors", file_of("{" + tensor("t", "U8", "[1]", "[0,1]") + "}", "1"));
  folder.write("b.safetensors", file_of("{" + tensor("u", "U8", "[1]", "[0,1]") + "}", "2"));
  folder.link(folder.at("loop.safetensors"), "loop.safetensors");
  folder.make("folder.safetensors");
  folder.write("model.safetensors.index.json", index);
  expect_error([&] { open_tensors(folder.path()); }, code, message, where);
}

TEST(HostileSafetensors, IndexesThatLie) {
  const auto map = [](const std::string& entries) { return "{\"weight_map\":{" + entries + "}}"; };
  const std::string t = "\"t\":\"a.safetensors\"", u = "\"u\":\"b.safetensors\"";
  expect_index(map(t + ",\"u\":\"c.safetensors\""), "names c.safetensors, which is not there", "index.json");
  expect_index(map(t + ",\"u\":\"../b.safetensors\""), "is not beside the index", "tensor u");
  expect_index(map(t + ",\"u\":\"/etc/passwd\""), "is not beside the index", "tensor u");
  expect_index(map(t + ",\"u\":\"model.safetensors.index.json\""), "is no name of a .safetensors file", "tensor u");
  expect_index(map(t + ",\"u\":\"loop.safetensors\""), "symbolic links", "loop.safetensors", Code::io);
  expect_index(map(t + ",\"u\":\"folder.safetensors\""), "", "folder.safetensors", Code::io);
  expect_index(map(t + ",\"u\":\"a.safetensors\""), "a.safetensors lacks a tensor", "tensor u");
  expect_index(map("\"t\":\"b.safetensors\",\"u\":\"a.safetensors\""), "lacks a tensor", "tensor t");
  expect_index(map(t + "," + u + ",\"v\":\"b.safetensors\""), "b.safetensors lacks a tensor", "tensor v");
  expect_index(map("\"v\":\"a.safetensors\""), "a.safetensors lacks a tensor", "tensor v");
  expect_index("", "the index is no JSON", "index.json");
  const TestFolder folder;
  folder.write("a.safetensors", file_of("{" + tensor("t", "U8", "[1]", "[0,1]") + "}", "1"));
  folder.write("b.safetensors",
               file_of("{" + tensor("t", "U8", "[1]", "[0,1]") + "," + tensor("u", "U8", "[1]", "[1,2]") + "}", "12"));
  folder.write("model.safetensors.index.json", map(t + "," + u));
  expect_error([&] { open_tensors(folder.path()); }, Code::checkpoint, "has a tensor that the index does not say",
               "tensor t");
}

TEST(HostileSafetensors, FoldersWithoutTensors) {
  const TestFolder folder;
  expect_error([&] { open_tensors(folder.path()); }, Code::io, "there are no tensors", folder.path(),
               "model.safetensors");
  folder.write("x.safetensors", file_of("{}"));
  folder.write("y.safetensors", file_of("{}"));
  expect_error([&] { open_tensors(folder.path()); }, Code::io, "2 .safetensors files and no index", folder.path());
  expect_error([&] { open_tensors(folder.at("z.safetensors")); }, Code::io, "", "z.safetensors");
}

/// Bytes that a child process takes more while it opens the file.
int64_t memory_of_opening(const std::string& path) {
  int ends[2];
  if (pipe(ends) != 0) return -1;
  const pid_t child = fork();
  if (child == 0) {
    const auto peak = [] {
      rusage usage{};
      getrusage(RUSAGE_SELF, &usage);
      return static_cast<int64_t>(usage.ru_maxrss) * 1024;
    };
    const int64_t before = peak();
    try {
      const auto reader = open_tensors(path);
    } catch (const Error&) {
    }
    const int64_t taken = peak() - before;
    _exit(write(ends[1], &taken, sizeof taken) == sizeof taken ? 0 : 1);
  }
  int64_t taken = -1;
  if (read(ends[0], &taken, sizeof taken) != sizeof taken) taken = -1;
  int status = 0;
  waitpid(child, &status, 0);
  close(ends[0]);
  close(ends[1]);
  return taken;
}

std::string many(size_t bytes, const std::function<std::string(int)>& entry) {
  std::string header = "{";
  for (int i = 0; header.size() < bytes; ++i) header += entry(i) + ",";
  header.back() = '}';
  return header;
}

/// At most twice the file and 16 MB, where 64 MB would be allowed, in whatever way the header is filled.
TEST(HostileSafetensors, NoHeaderTakesMoreMemoryThanTwiceTheFile) {
  const TestFolder folder;
  constexpr size_t kSize = 24'000'000;
  std::string sides = "[0";
  for (int i = 0; i < 63; ++i) sides += ",1";
  const auto empty = [](int i) { return tensor(std::to_string(i), "U8", "[0]", "[0,0]"); };
  const std::pair<const char*, std::string> headers[] = {
      {"many entries", many(kSize, empty)},
      {"many entries, one twice", many(kSize, empty).replace(1, 3, "\"1\"")},
      {"many sides", many(kSize, [&](int i) { return tensor(std::to_string(i), "U8", sides + "]", "[0,0]"); })},
      {"a long name", "{" + tensor(std::string(kSize, 'n'), "U8", "[0]", "[0,0]") + "}"},
      {"a long escaped name", "{\"" + many(kSize, [](int) { return std::string("\\u0041"); }).substr(1) + "\":7}"},
      {"long metadata", "{\"__metadata__\":{\"a\":\"" + std::string(kSize, 'm') + "\"}}"},
      {"much metadata",
       "{\"__metadata__\":" + many(kSize, [](int i) { return "\"" + std::to_string(i) + "\":\"\""; }) + "}"},
      {"blanks", "{" + std::string(kSize, ' ') + "}"},
      {"braces", std::string(kSize, '{')},
      {"a long number", "{\"t\":{\"shape\":[" + std::string(kSize, '1') + "]}}"},
      {"a long shape",
       "{\"t\":{\"shape\":" + many(kSize, [](int) { return std::string("1"); }).replace(0, 1, "[") + "}}"},
  };
  for (const auto& [kind, header] : headers) {
    const std::string path = folder.write("model.safetensors", file_of(header));
    const int64_t taken = memory_of_opening(path);
    EXPECT_GE(taken, 0) << kind;
    EXPECT_LT(taken, 2 * static_cast<int64_t>(header.size()) + 16'000'000) << kind;
  }
}

/// A gigabyte that is all holes, with a header that claims the rest in one lie or another.
TEST(HostileSafetensors, LargeFilesAreNotRead) {
  const TestFolder folder;
  constexpr int64_t kSize = int64_t{1} << 30;
  for (const std::string& header :
       {"{" + tensor("t", "U8", "[" + std::to_string(kSize) + "]", "[0," + std::to_string(kSize) + "]") + "}",
        "{" + tensor("t", "U8", "[8]", "[0,8]") + "}", std::string("{}")}) {
    const std::string path = folder.write("model.safetensors", file_of(header));
    ASSERT_EQ(truncate(path.c_str(), kSize), 0);
    const int64_t taken = memory_of_opening(path);
    EXPECT_GE(taken, 0);
    EXPECT_LT(taken, 16'000'000);
  }
  const std::string path = folder.write("model.safetensors", file_of("", "", 99'999'999));
  ASSERT_EQ(truncate(path.c_str(), kSize), 0);
  EXPECT_LT(memory_of_opening(path), 16'000'000);
}

TEST(HostileSafetensors, NoIndexTakesMoreMemoryThanTwiceTheFile) {
  const TestFolder folder;
  constexpr size_t kSize = 12'000'000;
  const auto shard = [](int i) { return "\"" + std::to_string(i) + "\":\"" + std::to_string(i) + ".safetensors\""; };
  const std::string indexes[] = {
      many(kSize, [](int i) { return "\"" + std::to_string(i) + "\":\"a.safetensors\""; }),
      many(kSize, [](int i) { return "\"" + std::string(20, 'x') + std::to_string(i) + "\":\"a.safetensors\""; }),
      many(kSize, shard)};
  for (const std::string& map : indexes) {
    folder.write("model.safetensors.index.json", "{\"weight_map\":" + map + "}");
    const int64_t taken = memory_of_opening(folder.path());
    EXPECT_GE(taken, 0);
    EXPECT_LT(taken, 2 * static_cast<int64_t>(map.size()) + 32'000'000);
  }
}

}  // namespace
}  // namespace etude::safetensors_hostile_test
