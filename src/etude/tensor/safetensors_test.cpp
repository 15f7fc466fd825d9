#include "etude/tensor/safetensors.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <cstring>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/testing.h"

namespace etude::safetensors_test {
namespace {

/// The file as the format's description lays it out: length, header, data.
std::string laid_out(const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  uint64_t length = header.size();
  for (size_t i = 0; i < 8; ++i, length >>= 8) bytes[i] = static_cast<char>(length & 255);
  return bytes + header + data;
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, int64_t begin,
                  int64_t end) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape + ",\"data_offsets\":[" +
         std::to_string(begin) + "," + std::to_string(end) + "]}";
}

bool same_bits(const Tensor& a, const Tensor& b) {
  if (a.sizes() != b.sizes() || a.scalar_type() != b.scalar_type()) return false;
  const Tensor x = a.contiguous(), y = b.contiguous();
  return x.nbytes() == 0 || std::memcmp(x.const_data_ptr(), y.const_data_ptr(), x.nbytes()) == 0;
}

void expect_refused(const std::string& bytes, const std::string& message, const std::string& tensor = {}) {
  try {
    parse_safetensors(bytes, "bad.safetensors");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::checkpoint) << error.what();
    EXPECT_NE(error.message().find(message), std::string::npos) << error.what();
    EXPECT_EQ(error.where(), "bad.safetensors" + (tensor.empty() ? "" : ", tensor " + tensor)) << error.what();
    EXPECT_FALSE(error.hint().empty()) << error.what();
    return;
  }
  ADD_FAILURE() << "accepted; expected: " << message;
}

/// Of the whole process so far.
int64_t peak_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss * 1024;
}

TEST(Safetensors, WritesTheBytesOfTheFormat) {
  const NamedTensors tensors = {{"b", torch::tensor({1.0f, -2.0f})},                       // 00 00 80 3f, 00 00 00 c0
                                {"a", torch::tensor({{1}, {-1}}, torch::kInt16)},          // 01 00, ff ff
                                {"t", torch::tensor({true, false, true}, torch::kBool)}};  // 01 00 01
  std::string header = "{\"__metadata__\":{\"k\":\"v\"}," + entry("b", "F32", "[2]", 0, 8) + "," +
                       entry("a", "I16", "[2,1]", 8, 12) + "," + entry("t", "BOOL", "[3]", 12, 15) + "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string data("\x00\x00\x80\x3f\x00\x00\x00\xc0\x01\x00\xff\xff\x01\x00\x01", 15);
  EXPECT_EQ(to_safetensors(tensors, {{"k", "v"}}), laid_out(header, data));
}

TEST(Safetensors, ReadsTheBytesOfTheFormat) {
  // As another writer may lay it out: no padding, blanks, data in another order than the header, escapes in names.
  const std::string header = " {\n" + entry("second", "U8", "[1]", 8, 9) + " , " +
                             entry("\\u0061\\n", "F64", "[ ]", 0, 8) + ", \"__metadata__\": {\"x\": \"\"} }";
  const std::string data("\x00\x00\x00\x00\x00\x00\xf8\x3f\xc8", 9);
  expect_refused(laid_out(header, data), "does not begin with '{'");
  const SafetensorsFile file = parse_safetensors(laid_out(header.substr(1), data), "f");
  ASSERT_EQ(file.tensors.size(), 2U);
  EXPECT_EQ(file.tensors[0].first, "a\n");
  EXPECT_EQ(file.tensors[0].second.dim(), 0);
  EXPECT_EQ(file.tensors[0].second.item<double>(), 1.5);
  EXPECT_EQ(file.tensors[1].first, "second");
  EXPECT_EQ(file.tensors[1].second.item<uint8_t>(), 200);
  EXPECT_EQ(file.metadata, (Metadata{{"x", ""}}));
}

TEST(Safetensors, EveryTypeSurvivesToTheBit) {
  NamedTensors tensors;
  for (const auto type : {torch::kFloat64, torch::kFloat32, torch::kFloat16, torch::kBFloat16}) {
    const double inf = std::numeric_limits<double>::infinity();
    tensors.emplace_back(c10::toString(type), torch::tensor({0.1, -0.0, 1e-40, inf, -inf, std::nan("")}).to(type));
  }
  // A not-a-number whose payload arithmetic would not keep.
  const Tensor odd = torch::empty({1});
  const uint32_t payload = 0xffa12345;
  std::memcpy(odd.mutable_data_ptr(), &payload, 4);
  tensors.emplace_back("odd", odd);
  for (const auto type : {torch::kInt64, torch::kInt32, torch::kInt16, torch::kInt8, torch::kUInt8}) {
    tensors.emplace_back(c10::toString(type), torch::tensor({0, 1, 127, -128}, torch::kInt64).to(type));
  }
  tensors.emplace_back("int64 ends", torch::tensor({INT64_MAX, INT64_MIN}));
  tensors.emplace_back("bool", torch::tensor({true, false}));
  tensors.emplace_back("scalar", torch::tensor(7.5));
  tensors.emplace_back("empty", torch::empty({0}));
  tensors.emplace_back("empty with sides", torch::empty({3, 0, 5}, torch::kInt8));
  tensors.emplace_back("Ünïcode \"quoted\" \\ \n", torch::ones({2, 2}));
  const SafetensorsFile back = parse_safetensors(to_safetensors(tensors), "f");
  ASSERT_EQ(back.tensors.size(), tensors.size());
  // Empty tensors lie where their neighbours begin, so only names are compared in order of data.
  std::map<std::string, Tensor> found(back.tensors.begin(), back.tensors.end());
  for (const auto& [name, value] : tensors) {
    ASSERT_TRUE(found.count(name)) << name;
    EXPECT_TRUE(same_bits(found[name], value)) << name;
  }
  EXPECT_EQ(to_safetensors(back.tensors).size(), to_safetensors(tensors).size());
}

TEST(Safetensors, ViewsAreWrittenAsTheyLook) {
  const Tensor base = torch::arange(24, torch::kFloat32).view({4, 6});
  const NamedTensors views = {{"transposed", base.t()},
                              {"columns", base.slice(1, 1, 6, 2)},
                              {"expanded", torch::ones({1, 3}).expand({4, 3})},
                              {"trained", torch::ones({2}).requires_grad_()}};
  NamedTensors copies;
  for (const auto& [name, value] : views) copies.emplace_back(name, value.detach().clone().contiguous());
  EXPECT_EQ(to_safetensors(views), to_safetensors(copies));
  const auto back = parse_safetensors(to_safetensors(views), "f").tensors;
  EXPECT_TRUE(torch::equal(back[0].second, base.t()));
  EXPECT_TRUE(torch::equal(back[1].second, torch::tensor({{1, 3, 5}, {7, 9, 11}, {13, 15, 17}, {19, 21, 23}})));
}

TEST(Safetensors, FilesHashesAndMeasuresAgree) {
  const TestFolder folder;
  const NamedTensors tensors = {{"w", torch::randn({3, 5})}, {"n", torch::tensor(3)}};
  const std::string bytes = to_safetensors(tensors, {{"a", "b"}}), path = folder.at("f.safetensors");
  EXPECT_EQ(write_safetensors(path, tensors, {{"a", "b"}}), file::sha256(bytes));
  EXPECT_EQ(file::read(path), bytes);
  write_safetensors_atomically(path, {{"other", torch::tensor(1)}});
  EXPECT_EQ(read_safetensors(path).tensors.front().first, "other");
  EXPECT_EQ(file::list(folder.path()), std::vector<std::string>{"f.safetensors"});
  const SafetensorsMeasure measure = measure_safetensors(tensors, {{"a", "b"}});
  EXPECT_EQ(measure.sha256, file::sha256(bytes));
  EXPECT_EQ(measure.bytes, static_cast<int64_t>(bytes.size()));
  EXPECT_TRUE(parse_safetensors(to_safetensors({}), "none").tensors.empty());
}

TEST(Safetensors, TypesThatTheFormatLacks) {
  try {
    to_safetensors({{"z", torch::zeros({1}, torch::kComplexDouble)}});
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::checkpoint);
    EXPECT_EQ(error.where(), "tensor z");
  }
}

TEST(Safetensors, RefusesBadLengths) {
  expect_refused("", "the file has 0 bytes");
  expect_refused("1234567", "the file has 7 bytes");
  expect_refused(std::string("\xe8\x03\0\0\0\0\0\0{}", 10), "the header claims 1000 bytes, 2 are left");
  expect_refused(std::string("\xff\xff\xff\xff\xff\xff\xff\xff{}", 10), "claims 18446744073709551615 bytes");
  expect_refused(laid_out(std::string(100'000'001, ' '), ""), "at most 100000000 are allowed");
  expect_refused(laid_out("", ""), "does not begin with '{'");
}

TEST(Safetensors, RefusesHeadersThatAreNone) {
  const std::string good = entry("a", "U8", "[1]", 0, 1);
  expect_refused(laid_out("[]", ""), "does not begin with '{'");
  expect_refused(laid_out("{", ""), "is no JSON");
  expect_refused(laid_out("{}}", ""), "is no JSON");
  expect_refused(laid_out("{" + good, "x"), "is no JSON");
  expect_refused(laid_out("{\"a\xff\":{}}", ""), "is not UTF-8 in the text at byte 1");
  expect_refused(laid_out("{" + good + ",}", "x"), "is no JSON");
  expect_refused(laid_out("{" + std::string(100'000, '['), ""), "is no JSON");
  expect_refused(laid_out("{\"a\":" + std::string(100'000, '['), ""), "a list stands where none belongs", "a");
  expect_refused(laid_out("{\"a\":1}", ""), "a number stands where none belongs", "a");
  expect_refused(laid_out("{\"a\":null}", ""), "null stands", "a");
  expect_refused(laid_out("{\"a\":\"x\"}", ""), "a text stands", "a");
  expect_refused(laid_out("{\"a\":true}", ""), "true or false stands", "a");
  expect_refused(laid_out("{\"__metadata__\":{\"a\":1}}", ""), "a number stands");
  expect_refused(laid_out("{\"__metadata__\":{\"a\":\"1\",\"a\":\"2\"}}", ""), "'a' stands twice");
  expect_refused(laid_out("{\"__metadata__\":{},\"__metadata__\":{}}", ""), "stands twice");
  expect_refused(laid_out("{\"__metadata__\":[]}", ""), "a list stands");
  expect_refused(laid_out("{" + good + "," + good + "}", "x"), "stands twice", "a");
}

TEST(Safetensors, RefusesEntriesThatAreNone) {
  const auto one = [](const std::string& fields) { return laid_out("{\"a\":{" + fields + "}}", "12345678"); };
  const std::string dtype = "\"dtype\":\"U8\"", shape = "\"shape\":[8]", offsets = "\"data_offsets\":[0,8]";
  EXPECT_EQ(parse_safetensors(one(shape + "," + offsets + "," + dtype), "f").tensors.size(), 1U);
  expect_refused(one(""), "needs dtype, shape and data_offsets", "a");
  expect_refused(one(dtype + "," + shape), "needs dtype, shape and data_offsets", "a");
  expect_refused(one(dtype + "," + shape + "," + offsets + "," + shape), "'shape' stands twice", "a");
  expect_refused(one(dtype + "," + shape + "," + offsets + ",\"more\":1"), "no field 'more'", "a");
  expect_refused(one("\"dtype\":\"U9\"," + shape + "," + offsets), "unknown dtype 'U9'", "a");
  expect_refused(one("\"dtype\":\"f8_e4m3\"," + shape + "," + offsets), "unknown dtype", "a");
  expect_refused(one("\"dtype\":\"F4\",\"shape\":[16]," + offsets), "type F4 can't be read as a tensor", "a");
  expect_refused(one("\"dtype\":\"F4\",\"shape\":[15]," + offsets), "no whole number of bytes", "a");
  expect_refused(one("\"dtype\":7," + shape + "," + offsets), "a number stands", "a");
  expect_refused(one(dtype + ",\"shape\":8," + offsets), "a number stands", "a");
  expect_refused(one(dtype + ",\"shape\":[-8]," + offsets), "negative number -8", "a");
  expect_refused(one(dtype + ",\"shape\":[8.0]," + offsets), "the number 8.0 is no count", "a");
  expect_refused(one(dtype + ",\"shape\":[[8]]," + offsets), "a list stands", "a");
  expect_refused(one(dtype + ",\"shape\":[\"8\"]," + offsets), "a text stands", "a");
  expect_refused(one(dtype + ",\"shape\":[7]," + offsets), "needs 7 bytes, the offsets give 8", "a");
  expect_refused(one("\"dtype\":\"F32\"," + shape + "," + offsets), "needs 32 bytes, the offsets give 8", "a");
  expect_refused(one(dtype + "," + shape + ",\"data_offsets\":[0]"), "needs two numbers", "a");
  expect_refused(one(dtype + "," + shape + ",\"data_offsets\":[0,8,8]"), "too long", "a");
  expect_refused(one(dtype + "," + shape + ",\"data_offsets\":[8,0]"), "run backwards", "a");
  expect_refused(one(dtype + "," + shape + ",\"data_offsets\":[0,9]"), "ends at byte 9 of 8", "a");
  expect_refused(one(dtype + "," + shape + ",\"data_offsets\":[0,18446744073709551615]"), "ends at byte", "a");
  expect_refused(one(dtype + "," + shape + ",\"data_offsets\":[0,18446744073709551616]"), "is no count", "a");
  expect_refused(one("\"dtype\":\"BOOL\"," + shape + "," + offsets), "neither 0 nor 1", "a");
}

TEST(Safetensors, RefusesShapesThatOverflow) {
  const auto one = [](const std::string& shape) {
    return laid_out("{\"a\":{\"dtype\":\"F64\",\"shape\":" + shape + ",\"data_offsets\":[0,0]}}", "");
  };
  expect_refused(one("[4294967296,4294967296]"), "too large", "a");  // 2^64 values: 0 when it wraps
  expect_refused(one("[2305843009213693952]"), "too large", "a");    // 2^61 doubles: 2^64 bytes
  expect_refused(one("[0,9223372036854775807,9223372036854775807]"), "too large", "a");
  expect_refused(one("[18446744073709551615]"), "too large", "a");
  expect_refused(one("[1099511627776]"), "needs 8796093022208 bytes", "a");  // fits, but is not there
  std::string deep = "[0";
  for (int i = 0; i < 64; ++i) deep += ",1";
  expect_refused(one(deep + "]"), "too long", "a");
  EXPECT_EQ(parse_safetensors(one("[0,1099511627776]"), "f").tensors[0].second.size(1), 1099511627776);
}

TEST(Safetensors, RefusesDataThatIsNotCovered) {
  const std::string a = entry("a", "U8", "[2]", 0, 2);
  const auto two = [&](const std::string& second, size_t bytes) {
    return laid_out("{" + a + "," + second + "}", std::string(bytes, '\1'));
  };
  EXPECT_EQ(parse_safetensors(two(entry("b", "U8", "[2]", 2, 4), 4), "f").tensors.size(), 2U);
  expect_refused(two(entry("b", "U8", "[2]", 3, 5), 5), "a hole", "b");
  expect_refused(two(entry("b", "U8", "[2]", 1, 3), 3), "overlaps", "b");
  expect_refused(two(entry("b", "U8", "[2]", 0, 2), 2), "overlaps", "b");
  expect_refused(two(entry("b", "U8", "[2]", 2, 4), 5), "1 bytes at the end belong to no tensor");
  expect_refused(laid_out("{" + entry("a", "U8", "[1]", 1, 2) + "}", "xy"), "a hole", "a");
  expect_refused(laid_out("{}", "x"), "belong to no tensor");
}

TEST(Safetensors, EveryTruncationAndByteIsRefusedOrHarmless) {
  const std::string good = to_safetensors({{"w", torch::arange(4)}, {"b", torch::tensor({true, false})}}, {{"k", "v"}});
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_THROW(parse_safetensors(std::string_view(good).substr(0, length), "f"), Error) << length;
  }
  int refused = 0;
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int value : {0, 1, 34, 44, 48, 57, 91, 123, 125, 255}) {
      std::string bad = good;
      bad[i] = static_cast<char>(value);
      try {
        parse_safetensors(bad, "f");
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Code::checkpoint);
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, static_cast<int>(good.size()));  // names, metadata and numbers in the data may be others
}

/// The format's own attack scripts: many entries for the same bytes. Refused, with memory in proportion to the file.
TEST(Safetensors, ManyEntriesCostNoMoreThanTheFile) {
  std::string header = "{";
  for (int i = 0; i < 200'000; ++i) header += entry(std::to_string(i), "U8", "[65536]", 0, 65536) + ",";
  header.back() = '}';
  const std::string bytes = laid_out(header, std::string(65536, 'x'));
  const int64_t before = peak_bytes();
  expect_refused(bytes, "overlaps", "1");
  EXPECT_LT(peak_bytes() - before, 16 * static_cast<int64_t>(bytes.size()));
}

}  // namespace
}  // namespace etude::safetensors_test
