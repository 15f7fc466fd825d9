#include "etude/data/sets/rdata.h"

#include <gtest/gtest.h>
#include <zlib.h>

#include <bit>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "etude/base/testing.h"
#include "etude/data/sets/converters.h"

namespace etude::rdata_test {
namespace {

// R's serialisation written by hand: every number has its high byte first.

std::string big32(uint32_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8) bytes += static_cast<char>(value >> shift);
  return bytes;
}

std::string big64(double value) {
  const auto bits = std::bit_cast<uint64_t>(value);
  return big32(static_cast<uint32_t>(bits >> 32)) + big32(static_cast<uint32_t>(bits));
}

using Texts = std::map<std::string, std::string>;

const std::string kHeader = "X\n" + big32(2) + big32(0x040201) + big32(0x020300);
const std::string kEnd = big32(254);  // R_NilValue
constexpr uint32_t kAttributes = 0x200, kTag = 0x400;

std::string chars(const std::string& text) { return big32(0x40009) + big32(static_cast<uint32_t>(text.size())) + text; }
std::string symbol(const std::string& name) { return big32(1) + chars(name); }
std::string ints(const std::vector<int32_t>& values, uint32_t flags = 0) {
  std::string bytes = big32(13 | flags) + big32(static_cast<uint32_t>(values.size()));
  for (const int32_t value : values) bytes += big32(static_cast<uint32_t>(value));
  return bytes;
}
std::string reals(const std::vector<double>& values, uint32_t flags = 0) {
  std::string bytes = big32(14 | flags) + big32(static_cast<uint32_t>(values.size()));
  for (const double value : values) bytes += big64(value);
  return bytes;
}
std::string texts(const std::vector<std::string>& values, uint32_t flags = 0) {
  std::string bytes = big32(16 | flags) + big32(static_cast<uint32_t>(values.size()));
  for (const std::string& value : values) bytes += chars(value);
  return bytes;
}
std::string list(const std::vector<std::string>& values, uint32_t flags = 0) {
  std::string bytes = big32(19 | flags) + big32(static_cast<uint32_t>(values.size()));
  for (const std::string& value : values) bytes += value;
  return bytes;
}
/// A pairlist; what has no name has no tag.
std::string pairs(const std::vector<std::pair<std::string, std::string>>& values) {
  std::string bytes;
  for (const auto& [name, value] : values) {
    bytes += name.empty() ? big32(2) + value : big32(2 | kTag) + symbol(name) + value;
  }
  return bytes + kEnd;
}
std::string alternative(const std::string& name, const std::string& state, const std::string& attributes = kEnd) {
  return big32(238) + pairs({{"", symbol(name)}, {"", symbol("base")}, {"", ints({13})}}) + state + attributes;
}

RValue read(const std::string& body) { return read_rds(kHeader + body, "x.rds"); }

const std::string kNA = big32(9) + big32(0xFFFFFFFF);

TEST(RData, Vectors) {
  EXPECT_EQ(read(kEnd)->kind, RKind::null);
  EXPECT_EQ(read(ints({1, -2, kRMissing}))->integers(), (std::vector<int32_t>{1, -2, kRMissing}));
  const RValue numbers = read(reals({0.1, -1e300, std::numeric_limits<double>::quiet_NaN()}));
  EXPECT_EQ(numbers->reals()[0], 0.1);
  EXPECT_EQ(numbers->reals()[1], -1e300);
  EXPECT_EQ(numbers->text(0), "0.1");
  EXPECT_EQ(numbers->text(2), std::nullopt);
  EXPECT_EQ(numbers->text(3), std::nullopt);
  const RValue words = read(big32(16) + big32(3) + chars("a\xc3\xa9") + kNA + chars("\xe9"));
  EXPECT_EQ(words->texts(), (std::vector<std::string>{"aé", "", "é"}));
  EXPECT_EQ(words->text(1), std::nullopt);
  EXPECT_EQ(words->text(2), "é");
  const RValue logical = read(big32(10) + big32(3) + big32(1) + big32(0) + big32(0x80000000));
  EXPECT_EQ(logical->text(0), "TRUE");
  EXPECT_EQ(logical->text(1), "FALSE");
  EXPECT_EQ(logical->text(2), std::nullopt);
  const RValue complex = read(big32(15) + big32(1) + big64(1) + big64(2));
  EXPECT_EQ(complex->reals(), (std::vector<double>{1, 2}));
  EXPECT_EQ(complex->size(), 1u);
  EXPECT_EQ(std::get<std::string>(read(big32(24) + big32(2) + "ab")->data), "ab");
  const RValue nested = read(list({ints({7}), list({texts({"x"})}), kEnd}));
  EXPECT_EQ(nested->items()[1]->items()[0]->text(0), "x");
  EXPECT_EQ(nested->items()[2]->kind, RKind::null);
  // A vector of more than 2^31 elements writes its length as -1 and two words.
  EXPECT_EQ(read(big32(13) + big32(0xFFFFFFFF) + big32(0) + big32(1) + big32(9))->integers()[0], 9);
}

TEST(RData, VersionThreeNamesItsEncoding) {
  const std::string header = "X\n" + big32(3) + big32(0x040201) + big32(0x030500) + big32(5) + "UTF-8";
  EXPECT_EQ(read_rds(header + ints({5}), "x")->integers()[0], 5);
}

TEST(RData, AttributesFactorsAndNames) {
  const RValue factor = read(ints({2, 1, kRMissing, 9}, kAttributes) +
                             pairs({{"levels", texts({"low", "high"})}, {"class", texts({"ordered", "factor"})}}));
  EXPECT_TRUE(factor->is("factor"));
  EXPECT_EQ(factor->text(0), "high");
  EXPECT_EQ(factor->text(1), "low");
  EXPECT_EQ(factor->text(2), std::nullopt);
  EXPECT_EQ(factor->text(3), std::nullopt);
  const RValue named = read(list({ints({1}), ints({2})}, kAttributes) + pairs({{"names", texts({"a", "b"})}}));
  EXPECT_EQ(named->item("b")->integers()[0], 2);
  EXPECT_EQ(named->item("c"), nullptr);
}

TEST(RData, ReferencesAreNumberedInTheOrderOfSymbolsAndEnvironments) {
  // The second use of the symbol "k" refers to the first; so does the long form of a reference.
  const RValue value = read(
      list({big32(2 | kTag) + symbol("k") + ints({1}) + kEnd, big32(2 | kTag) + big32(1 << 8 | 255) + ints({2}) + kEnd,
            big32(2 | kTag) + big32(255) + big32(1) + ints({3}) + kEnd}));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(value->items()[static_cast<size_t>(i)]->item("k")->integers()[0], i + 1);
  // An environment is numbered before what is in it: here its parent is the environment itself.
  const std::string environment = big32(4) + big32(0) + big32(1 << 8 | 255) + pairs({{"x", ints({1})}}) + kEnd + kEnd;
  const std::string persistent = big32(247) + big32(0) + big32(1) + chars("env::1");
  const RValue all = read(list({environment, persistent, symbol("s"), big32(4 << 8 | 255)}));
  EXPECT_EQ(all->items()[0]->kind, RKind::other);
  EXPECT_EQ(all->items()[1]->kind, RKind::other);
  EXPECT_EQ(all->items()[3]->texts()[0], "s");  // after the environment (1), "x" (2) and the persistent one (3)
}

TEST(RData, CodeIsReadOverAndKeptWithoutContent) {
  const std::string call = big32(6) + symbol("~") + big32(2) + symbol("y") + kEnd;
  const std::string closure = big32(3 | kTag) + big32(253) + kEnd + call;
  const RValue value = read(list({call, closure, big32(8) + big32(1) + "c", ints({4})}));
  EXPECT_EQ(value->items()[0]->kind, RKind::code);
  EXPECT_EQ(value->items()[1]->kind, RKind::code);
  EXPECT_EQ(value->items()[2]->kind, RKind::code);
  EXPECT_EQ(value->items()[3]->integers()[0], 4);
}

TEST(RData, VectorsInAnotherForm) {
  EXPECT_EQ(read(alternative("compact_intseq", reals({3, 5, 1})))->integers(), (std::vector<int32_t>{5, 6, 7}));
  EXPECT_EQ(read(alternative("compact_realseq", reals({2, 0, -1})))->reals(), (std::vector<double>{0, -1}));
  const std::string class_x = pairs({{"class", texts({"x"})}});
  const RValue wrapped = read(alternative("wrap_string", list({texts({"w"}), ints({0, 0})}), class_x));
  EXPECT_EQ(wrapped->text(0), "w");
  EXPECT_TRUE(wrapped->is("x"));
  const RValue deferred = read(alternative("deferred_string", pairs({{"", ints({7, kRMissing})}, {"", ints({0})}})));
  EXPECT_EQ(deferred->texts(), (std::vector<std::string>{"7", ""}));
  EXPECT_EQ(deferred->text(1), std::nullopt);
}

TEST(RData, NamedValuesAndDataFrames) {
  const std::string frame = list({ints({1, 2}), texts({"a", "b"})}, kAttributes) +
                            pairs({{"names", texts({"n", "t"})}, {"class", texts({"data.frame"})}});
  const auto named = read_rda("RDX2\n" + kHeader + pairs({{"first", frame}, {"second", ints({})}}), "x.rda");
  ASSERT_EQ(named.size(), 2u);
  EXPECT_EQ(named[1].first, "second");
  const RFrame table = data_frame(*named[0].second, "x.rda");
  EXPECT_EQ(table.rows, 2u);
  EXPECT_EQ(table.column("t").text(1), "b");
  expect_error([&] { table.column("tt"); }, Code::data, "there is no column 'tt'", "", "did you mean 't'?");
  expect_error([&] { data_frame(*named[1].second, "x.rda"); }, Code::data, "a value is integer, no data frame",
               "x.rda");
  expect_error([&] { named[1].second->texts(); }, Code::data, "a value of R is integer where text is needed", "");
  const RValue uneven = read(list({ints({1}), ints({1, 2})}, kAttributes) +
                             pairs({{"names", texts({"n", "t"})}, {"class", texts({"data.frame"})}}));
  expect_error([&] { data_frame(*uneven, "x"); }, Code::data, "column 't' has 2 rows, the first 1", "x");
  EXPECT_TRUE(read_rda("RDX3\n" + kHeader + kEnd, "x").empty());
}

TEST(RData, HostileBytesAreRefused) {
  const auto refused = [](const std::string& bytes, std::string_view what, std::string_view where = "x.rds: byte") {
    expect_error([&] { read_rds(bytes, "x.rds"); }, Code::data, what, where, "R");
  };
  const auto body = [&](const std::string& bytes, std::string_view what, std::string_view where = "x.rds: byte") {
    refused(kHeader + bytes, what, where);
  };
  refused("", "it ends after 0 of the 2 bytes", "x.rds: byte 0");
  refused("PK\3\4", "it doesn't begin as R's data do", "x.rds: byte 2");
  refused("A\n2\n", "written as text", "x.rds: byte 2");
  refused("X\n" + big32(9) + big32(0) + big32(0), "its version of R's serialisation is 9", "x.rds: byte 6");
  refused("X\n" + big32(3) + big32(0) + big32(0) + big32(0xFFFFFFF0), "of the 4294967280 bytes that should follow");
  body("", "it ends after 0 of the 4 bytes", "x.rds: byte 14");
  body(big32(99), "there is no value of type 99", "x.rds: byte 18");
  body(big32(21), "it holds compiled code");
  body(big32(13) + big32(0x7FFFFFFF), "a vector of 2147483647 elements doesn't fit into the 0 bytes", "x.rds: byte 22");
  body(big32(14) + big32(0xFFFFFFFF) + big32(0xFFFFFFFF) + big32(0xFFFFFFFF),
       "a vector of 18446744073709551615 elements doesn't fit");
  body(big32(15) + big32(0xFFFFFFFF) + big32(0x10000000) + big32(1), "elements doesn't fit");  // x 16 overflows
  body(big32(16) + big32(0x20000000) + chars("a"), "a vector of 536870912 elements doesn't fit");
  body(big32(19) + big32(0x40000000), "a vector of 1073741824 elements doesn't fit");
  body(big32(24) + big32(0x80000000), "a vector of 2147483648 elements doesn't fit");
  body(big32(16) + big32(1) + ints({1}), "a text has type 13");
  body(big32(16) + big32(1) + big32(9) + big32(0xFFFFFFF0), "of the 4294967280 bytes that should follow");
  body(big32(16) + big32(1) + chars(std::string("a\0b", 3)), "a text has a NUL byte");
  body(big32(255), "it ends after 0 of the 4 bytes");
  body(big32(7 << 8 | 255), "it refers to value 7 of 0");
  body(ints({1}, kAttributes) + ints({1}), "attributes are no list");
  body(big32(8) + big32(0xFFFFFFFF), "of the 4294967295 bytes that should follow");
  body(big32(247) + big32(0) + big32(0x7FFFFFFF), "elements doesn't fit");
  std::string deep;
  for (int i = 0; i < 10000; ++i) deep += big32(19) + big32(1);
  body(deep, "values are nested more than 200 deep");
  std::string deep_attributes;
  for (int i = 0; i < 10000; ++i) deep_attributes += big32(2 | kAttributes);
  body(deep_attributes, "values are nested more than 200 deep");
  body(alternative("compact_intseq", reals({1e18, 1, 1})), "a sequence of 1e18 numbers from 1 is too long");
  body(alternative("compact_intseq", reals({-1, 1, 1})), "is too long");
  body(alternative("compact_intseq", reals({std::nan(""), 1, 1})), "is too long");
  body(alternative("compact_intseq", reals({10, 2147483640, 1})), "a sequence leaves the range of integers");
  body(alternative("compact_intseq", ints({1})), "a sequence has no three numbers");
  const std::string sequence = alternative("compact_intseq", reals({2000000, 1, 1}));
  body(list({sequence, sequence, sequence}), "is too long");
  body(alternative("wrap_real", ints({1})), "a wrapped vector is empty");
  body(alternative("mmap_real", kEnd), "vectors of the form 'mmap_real' are not read");
  body(big32(238) + kEnd + kEnd + kEnd, "doesn't tell which");
  body(alternative("deferred_string", pairs({{"", texts({"x"})}})), "texts of numbers lack the numbers");
  expect_error([] { read_rda(kHeader, "x.rda"); }, Code::data, "it doesn't begin with RDX2 or RDX3", "x.rda");
  expect_error([] { read_rda("RDX2\n" + kHeader + ints({1}), "x.rda"); }, Code::data, "it holds no named values",
               "x.rda");
}

TEST(RData, ALongPairListTakesNoStack) {
  std::string bytes;
  for (int i = 0; i < 300000; ++i) bytes += big32(2) + kEnd;
  EXPECT_EQ(read(bytes + kEnd)->size(), 300000u);
}

std::string zipped(const std::string& text) {
  uLongf size = compressBound(text.size());
  std::string packed(size, '\0');
  compress(reinterpret_cast<Bytef*>(packed.data()), &size, reinterpret_cast<const Bytef*>(text.data()), text.size());
  return big32(static_cast<uint32_t>(text.size())) + packed.substr(0, size);
}

std::string index_of(const std::vector<std::pair<std::string, std::string>>& variables, int compressed) {
  std::vector<std::string> names, parts;
  for (const auto& [name, part] : variables) {
    names.push_back(name);
    parts.push_back(part);
  }
  return kHeader +
         list({list(parts, kAttributes) + pairs({{"names", texts(names)}}), list({}),
               big32(10) + big32(1) + big32(static_cast<uint32_t>(compressed))},
              kAttributes) +
         pairs({{"names", texts({"variables", "references", "compressed"})}});
}

TEST(RData, ValuesOfPackages) {
  const std::string one = zipped(kHeader + ints({11})), two = zipped(kHeader + texts({"zwei"}));
  const int first = static_cast<int>(one.size()), second = static_cast<int>(two.size());
  const std::string rdb = one + two;
  const std::string rdx = index_of({{"b", ints({0, first})}, {"a", reals({1. * first, 1. * second})}}, 1);
  const RLazyData data(rdx, rdb, "p/Rdata");
  EXPECT_EQ(data.names(), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(data.read("a")->text(0), "zwei");
  EXPECT_EQ(data.read("b")->integers()[0], 11);
  expect_error([&] { data.read("c"); }, Code::data, "there is no value 'c'", "p/Rdata.rdx");
}

TEST(RData, PackagesPackedAsLzma) {
  // A chunk of LZMA2 that is stored as it is: 1, its size less one in two bytes, the bytes; and 0, the end.
  const std::string raw = kHeader + ints({1, 2, 3});
  const std::string stored = std::string("\x01\x00", 2) + static_cast<char>(raw.size() - 1) + raw + '\0';
  const std::string rdb = big32(static_cast<uint32_t>(raw.size())) + "Z" + stored;
  const std::string plain = big32(static_cast<uint32_t>(raw.size())) + "0" + raw;
  const std::string bad = big32(static_cast<uint32_t>(raw.size())) + "?" + raw;
  const auto all = [](const std::string& bytes) { return ints({0, static_cast<int>(bytes.size())}); };
  EXPECT_EQ(RLazyData(index_of({{"v", all(rdb)}}, 3), rdb, "p").read("v")->integers()[2], 3);
  EXPECT_EQ(RLazyData(index_of({{"v", all(plain)}}, 3), plain, "p").read("v")->integers()[2], 3);
  expect_error(
      [&] {
        RLazyData(index_of({{"v", all(bad)}}, 3), bad, "p").read("v");
      },
      Code::data, "how it is packed is told by '?'", "p.rdb: v: byte 5");
}

TEST(RData, DamagedPackagesAreRefused) {
  const std::string rdb = zipped(kHeader + ints({11}));
  const auto refused = [&](const std::string& part, std::string_view what, std::string_view where) {
    expect_error([&] { RLazyData(index_of({{"v", part}}, 1), rdb, "p").read("v"); }, Code::data, what, where);
  };
  refused(ints({-1, 4}), "the index has no offset and length", "p.rdx");
  refused(ints({1}), "the index has no offset and length", "p.rdx");
  refused(texts({"x", "y"}), "the index has no offset and length", "p.rdx");
  refused(reals({0.5, 4}), "the index has no offset and length", "p.rdx");
  refused(ints({1000000, 4}), "it refers to byte 1000000 of", "p.rdb: byte 0");
  refused(ints({0, 1000000}), "of the 1000000 bytes that should follow", "p.rdb: byte 0");
  refused(ints({0, 3}), "it ends after 3 of the 4 bytes", "p.rdb: v: byte 0");
  refused(ints({1, 20}), "", "p.rdb: v");
  refused(ints({0, 20}), "a block is no whole zlib stream", "p.rdb: v");
  expect_error([&] { RLazyData(kHeader + ints({1}), rdb, "p"); }, Code::data, "no list 'variables'", "p.rdx");
}

TEST(RData, RowsAndChaptersAreDocuments) {
  const std::string frame = list({texts({"good", " "}), ints({5, 1}), reals({0.5, 1})}, kAttributes) +
                            pairs({{"names", texts({"review", "stars", "w"})}, {"class", texts({"data.frame"})}});
  const std::string book = texts({"TITLE", "", "CHAPTER I", "", "One.", "", "Chapter 2", "Two.", ""});
  const std::string rda = "RDX2\n" + kHeader + pairs({{"train", frame}, {"novel", book}, {"unwanted", ints({1})}});
  SetDescription set;
  set.options = {{"values", "train novel"}, {"text", "review"}, {"split:train", "train"}};
  std::vector<nlohmann::json> found;
  convert::r_data(MemberTexts(Texts{{"d/x.rda", rda}}), set, [&](const nlohmann::json& d) { found.push_back(d); });
  ASSERT_EQ(found.size(), 4u);
  EXPECT_EQ(found[0],
            nlohmann::json::parse(R"({"id": "train#1", "text": "good", "stars": 5, "w": 0.5, "split": "train"})"));
  EXPECT_EQ(found[1]["text"], "TITLE");
  EXPECT_EQ(found[2]["id"], "novel#1");
  EXPECT_EQ(found[2]["text"], "CHAPTER I\n\nOne.");
  EXPECT_EQ(found[2]["lines"], 4);
  EXPECT_EQ(found[3]["heading"], "Chapter 2");
  expect_error(
      [&] {
        convert::r_data(MemberTexts(Texts{{"d/x.rdx", ""}}), set, [](const nlohmann::json&) {});
      },
      Code::data, "the values of this index are missing", "d/x.rdb");
}

}  // namespace
}  // namespace etude::rdata_test
