#include "etude/tensor/safetensors_index.h"

#include <gtest/gtest.h>

#include "etude/base/error.h"
#include "etude/base/testing.h"

namespace etude::safetensors_index_test {
namespace {

void refuses(const std::string& text, std::string_view message, std::string_view where = "i.json") {
  expect_error([&] { parse_safetensors_index(text, "i.json"); }, Code::checkpoint, message, where);
}

std::string map(const std::string& entries) { return "{\"weight_map\":{" + entries + "}}"; }

TEST(SafetensorsIndex, ReadsTheFormOfTheReference) {
  const SafetensorsIndex index = parse_safetensors_index(
      "{\"metadata\": {\"total_parameters\": 6, \"total_size\": 24, \"more\": [1.5, {\"x\": null}]},\n"
      " \"weight_map\": {\"w\": \"b.safetensors\", \"a\\u00e9\": \"b.safetensors\", \"c\": \"a.safetensors\"}}",
      "i.json");
  EXPECT_EQ(index.shards, (std::vector<std::string>{"a.safetensors", "b.safetensors"}));
  EXPECT_EQ(index.tensors, (std::vector<std::pair<std::string, uint32_t>>{{"aé", 1}, {"c", 0}, {"w", 1}}));
  EXPECT_EQ(index.total_size, 24U);
  EXPECT_EQ(parse_safetensors_index(safetensors_index(index), "i.json").tensors, index.tensors);
  EXPECT_EQ(parse_safetensors_index(safetensors_index(index), "i.json").total_size, 24U);
  EXPECT_FALSE(
      parse_safetensors_index("{\"metadata\":null,\"weight_map\":{\"a\":\"a.safetensors\"}}", "i.json").total_size);
  EXPECT_FALSE(
      parse_safetensors_index("{\"metadata\":{\"total_size\":2.0},\"weight_map\":{\"a\":\"a.safetensors\"}}", "i.json")
          .total_size);
}

TEST(SafetensorsIndex, RefusesShardsThatAreElsewhere) {
  for (const char* name : {"../a.safetensors", "/etc/a.safetensors", "a/b.safetensors", "a\\\\b.safetensors", "..", "",
                           ".a.safetensors", "..safetensors", "a\\u0000.safetensors"}) {
    refuses(map("\"t\":\"" + std::string(name) + "\""), "is not beside the index", "i.json, tensor t");
  }
  for (const char* name : {"a.bin", "pytorch_model.bin", "model.safetensors.index.json", "a.SAFETENSORS"}) {
    refuses(map("\"t\":\"" + std::string(name) + "\""), "is no name of a .safetensors file", "i.json, tensor t");
  }
  refuses(map("\"t\":\"" + std::string(300, 'a') + ".safetensors\""), "is no name of", "tensor t");
}

TEST(SafetensorsIndex, RefusesTextsThatAreNone) {
  const std::string a = "\"a\":\"a.safetensors\"";
  refuses("", "the index is no JSON at byte 0");
  refuses("[]", "a list stands where none belongs");
  refuses("{}", "an index needs weight_map");
  refuses("{\"metadata\":{}}", "an index needs weight_map");
  refuses(map(""), "weight_map names no tensor");
  refuses("{\"weight_map\":[]}", "a list stands");
  refuses(map("\"a\":1"), "a number stands", "i.json, tensor a");
  refuses(map("\"a\":null"), "null stands", "i.json, tensor a");
  refuses(map("\"a\":{}"), "a table stands", "i.json, tensor a");
  refuses(map(a + "," + a), "stands twice in weight_map", "i.json, tensor a");
  refuses(map(a + ",\"\\u0061\":\"b.safetensors\""), "stands twice in weight_map", "i.json, tensor a");
  refuses(map(a) + "x", "no JSON at byte 36");
  refuses(map(a).substr(0, 20), "no JSON");
  refuses(map(a + ","), "no JSON");
  refuses(map("\"a\xff\":\"a.safetensors\""), "not UTF-8");
  refuses("{\"weight_map\":{" + a + "},\"weight_map\":{" + a + "}}", "'weight_map' stands twice");
  refuses("{\"weight_map\":{" + a + "},\"files\":{}}", "an index has no field 'files'");
  refuses("{\"metadata\":{\"x\":" + std::string(100'000, '[') + "}}", "nested too deep");
  refuses("{\"metadata\":7}", "a number stands");
  refuses(std::string(50'000'001, ' '), "at most 50000000 are allowed");
}

TEST(SafetensorsIndex, NamesOfShards) {
  EXPECT_EQ(shard_name(2, 17), "model-00002-of-00017.safetensors");
  EXPECT_TRUE(is_shard_name(shard_name(1, 1)));
  EXPECT_TRUE(is_shard_name(shard_name(99'999, 99'999)));
  for (const char* other : {"model.safetensors", "model-00001-of-00002.safetensors.bak",
                            "model-0000a-of-00002.safetensors", "adapter-00001-of-0002.safetensors", ""}) {
    EXPECT_FALSE(is_shard_name(other)) << other;
  }
}

}  // namespace
}  // namespace etude::safetensors_index_test
