#include "etude/train/sealed.h"

#include "etude/base/torch_pch.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/file.h>
#include <unistd.h>

#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/testing.h"
#include "etude/tensor/safetensors.h"

namespace etude::sealed_test {
namespace {

using nlohmann::json;

json there_and_back(const json& value) { return sealed::from_text(sealed::to_text(value), "test"); }

uint64_t bits(const json& value) {
  const double number = value.get<double>();
  uint64_t out = 0;
  std::memcpy(&out, &number, 8);
  return out;
}

class Sealed : public ::testing::Test {
 protected:
  void publish(const std::string& name, const std::string& content) {
    sealed::Draft draft(folder_.path(), name);
    draft.add("a.json", content);
    draft.add("b.safetensors", NamedTensors{{"w", torch::arange(3)}});
    draft.publish(folder_.at(name), {{"schema", 1}});
  }
  TestFolder folder_;
};

TEST_F(Sealed, WhatJsonLacksSurvives) {
  const double inf = std::numeric_limits<double>::infinity();
  const json value = {{"inf", inf},
                      {"list", {-inf, std::nan(""), -0.0, 5e-324, 0.1}},
                      {"text", std::string("\xc3\x28\0", 3)},
                      {"plain", "ü"},
                      {"whole", 3},
                      {"nested", {{"$double", "7ff0000000000000"}}},
                      {"more", {{"$$bytes", {{"$bytes", "00"}}}}},
                      {"odd", {{"$other", inf}}}};
  const json back = there_and_back(value);
  EXPECT_EQ(back["inf"].get<double>(), inf);
  EXPECT_EQ(back["list"][0].get<double>(), -inf);
  EXPECT_EQ(bits(back["list"][1]), bits(value["list"][1]));
  EXPECT_EQ(bits(back["list"][2]), uint64_t{1} << 63);
  EXPECT_EQ(bits(back["list"][3]), 1U);
  EXPECT_EQ(bits(back["list"][4]), bits(value["list"][4]));
  EXPECT_EQ(back["text"], value["text"]);
  for (const char* key : {"plain", "whole", "nested", "more", "odd"}) EXPECT_EQ(back[key], value[key]) << key;
  EXPECT_TRUE(back["whole"].is_number_integer());
}

TEST_F(Sealed, EveryPatternOfADouble) {
  for (const uint64_t pattern : {0x0ULL, 0x1ULL, 0x7ff0000000000000ULL, 0xfff0000000000000ULL, 0x7ff8000000000001ULL,
                                 0xfff7ffffffffffffULL, 0x7fefffffffffffffULL, 0x8000000000000000ULL,
                                 0x3fd5555555555555ULL, 0x0010000000000000ULL, 0x000fffffffffffffULL}) {
    double value = 0;
    std::memcpy(&value, &pattern, 8);
    EXPECT_EQ(bits(there_and_back(json(value))), pattern);
  }
}

TEST_F(Sealed, TextThatIsNoStoredValue) {
  for (const char* bad : {"", "{", "nul", R"({"$double":"xy"})", R"({"$double":"12345678901234567"})",
                          R"({"$bytes":"0"})", R"({"$bytes":"0g"})", R"([1,{"a":{"$double":""}}])", "\"\xff\""}) {
    expect_error([&] { sealed::from_text(bad, "place"); }, Code::checkpoint, "", "place");
  }
  expect_error([&] { sealed::from_text(std::string(100000, '[') + std::string(100000, ']'), "place"); },
               Code::checkpoint, "nested too deeply", "place");
}

TEST_F(Sealed, IsThereWholeOrNotAtAll) {
  {
    sealed::Draft draft(folder_.path(), "given up");
    draft.add("a", "x");
    EXPECT_EQ(file::list(folder_.path()).size(), 1U);
  }
  EXPECT_TRUE(file::list(folder_.path()).empty());
  publish("one", "content");
  EXPECT_EQ(file::list(folder_.path()), std::vector<std::string>{"one"});
  EXPECT_EQ(file::list(folder_.at("one")), (std::vector<std::string>{"a.json", "b.safetensors", "manifest.json"}));
  sealed::verify(folder_.at("one"));
  const json manifest = sealed::read_manifest(folder_.at("one"));
  EXPECT_EQ(manifest["schema"], 1);
  EXPECT_EQ(manifest["files"]["a.json"]["bytes"], 7);
  EXPECT_EQ(manifest["files"]["a.json"]["sha256"], file::sha256("content"));
  EXPECT_EQ(manifest["files"]["b.safetensors"]["sha256"], file::sha256(to_safetensors({{"w", torch::arange(3)}})));
  EXPECT_EQ(sealed::read_file(folder_.at("one/a.json"), manifest["files"]["a.json"]), "content");
}

TEST_F(Sealed, WhatIsPublishedStays) {
  publish("one", "first");
  EXPECT_THROW(publish("one", "second"), Error);
  EXPECT_EQ(file::read(folder_.at("one/a.json")), "first");
  EXPECT_EQ(file::list(folder_.path()), std::vector<std::string>{"one"});
}

TEST_F(Sealed, EveryBitOfTheManifestCounts) {
  publish("one", "content");
  const std::string path = folder_.at("one/manifest.json"), good = file::read(path);
  std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
  const auto put = [&](size_t i, int byte) {
    file.seekp(static_cast<std::streamoff>(i));
    file.put(static_cast<char>(byte)).flush();
  };
  for (size_t i = 0; i < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      put(i, good[i] ^ (1 << bit));
      EXPECT_THROW(sealed::read_manifest(folder_.at("one")), Error) << i << " " << bit;
    }
    put(i, good[i]);
  }
  sealed::verify(folder_.at("one"));
  for (size_t length = 0; length < good.size(); ++length) {
    std::ofstream(path, std::ios::binary) << good.substr(0, length);
    EXPECT_THROW(sealed::read_manifest(folder_.at("one")), Error) << length;
  }
  std::ofstream(path, std::ios::binary) << good;
  sealed::verify(folder_.at("one"));
}

TEST_F(Sealed, NamesTheDamagedFile) {
  publish("one", "content");
  std::ofstream(folder_.at("one/a.json"), std::ios::binary) << "Content";
  expect_error([&] { sealed::verify(folder_.at("one")); }, Code::checkpoint, "a.json does not have its hash",
               "one/a.json");
  std::ofstream(folder_.at("one/a.json"), std::ios::binary) << "conten";
  expect_error([&] { sealed::verify(folder_.at("one")); }, Code::checkpoint, "a.json has 6 bytes, expected 7",
               "one/a.json");
  std::filesystem::remove(folder_.at("one/a.json"));
  expect_error([&] { sealed::verify(folder_.at("one")); }, Code::checkpoint, "a.json is missing", "one/a.json");
  std::filesystem::remove(folder_.at("one/manifest.json"));
  expect_error([&] { sealed::verify(folder_.at("one")); }, Code::checkpoint, "manifest.json is missing", "one");
}

TEST_F(Sealed, RefusesEntriesThatCountNothing) {
  folder_.write("f", "x");
  for (const char* entry :
       {"null", "3", "{}", R"({"bytes":1})", R"({"bytes":"1","sha256":"x"})", R"({"bytes":1,"sha256":2})"}) {
    EXPECT_THROW(sealed::read_file(folder_.at("f"), json::parse(entry)), Error) << entry;
  }
  std::ofstream(folder_.at("manifest.json"), std::ios::binary)
      << "{\"sha256\":\"" + file::sha256("[]") + "\",\"body\":[]}\n";
  expect_error([&] { sealed::read_manifest(folder_.path()); }, Code::checkpoint, "counts no files", "manifest.json");
}

TEST_F(Sealed, LooksAtNothingOutside) {
  folder_.write("outside", "x");
  publish("one", "content");
  const std::string body = R"({"files":{"../outside":{"bytes":1,"sha256":")" + file::sha256("x") + R"("}}})";
  std::ofstream(folder_.at("one/manifest.json"), std::ios::binary)
      << "{\"sha256\":\"" + file::sha256(body) + "\",\"body\":" + body + "}\n";
  expect_error([&] { sealed::verify(folder_.at("one")); }, Code::checkpoint, "'../outside', which lies elsewhere",
               "one");
}

TEST_F(Sealed, DiscardLeavesNothing) {
  publish("one", "content");
  sealed::discard(folder_.at("one"));
  EXPECT_TRUE(file::list(folder_.path()).empty());
}

TEST_F(Sealed, LeftoversOfTheDeadGoThoseOfTheLivingStay) {
  folder_.write(".tmp-1-1-left/state", "x");
  folder_.write(".f.tmp-1-1", "x");
  folder_.write("kept/.hidden", "x");
  sealed::Draft living(folder_.path(), "living");
  living.add("a", "x");
  sealed::remove_leftovers(folder_.path());
  const auto left = file::list(folder_.path());
  ASSERT_EQ(left.size(), 2U);
  EXPECT_TRUE(left[0].ends_with("-living")) << left[0];
  EXPECT_EQ(left[1], "kept");
  living.publish(folder_.at("one"), json::object());
  sealed::verify(folder_.at("one"));
  sealed::remove_leftovers(folder_.at("absent"));
}

TEST_F(Sealed, AFailureLeavesNothing) {
  // Every operation of a publication in turn is the one that fails.
  for (const char* fault : {"enospc", "eio"}) {
    int64_t n = 0;
    for (bool failed = true; failed;) {
      file::inject(file::Injection::parse("io:" + std::to_string(++n) + ":" + fault));
      try {
        publish("one", "content");
        failed = false;
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), Code::io) << error.what();
        EXPECT_FALSE(file::exists(folder_.at("one"))) << n;
      }
      file::inject({});
      sealed::remove_leftovers(folder_.path());
      EXPECT_EQ(file::list(folder_.path()).size(), failed ? 0U : 1U) << n;
    }
    EXPECT_GT(n, 10);
    sealed::discard(folder_.at("one"));
  }
}

}  // namespace
}  // namespace etude::sealed_test
