// What the reference implementation wrote (tests/interop/make_safetensors_fixtures.py) is read as it was.

#include <gtest/gtest.h>
#include <stdlib.h>

#include <nlohmann/json.hpp>

#include "etude/base/file.h"
#include "etude/base/torch_pch.h"
#include "etude/tensor/safetensors.h"
#include "etude/tensor/tensor_files.h"

namespace etude::safetensors_reference_test {
namespace {

std::string fixtures() {
  const char* const source = getenv("ETUDE_SOURCE");
  return std::string(source ? source : ".") + "/tests/interop/fixtures/safetensors";
}

void expect_as_written(const TensorReader& reader, const nlohmann::json& expected) {
  EXPECT_EQ(reader.size(), expected.size());
  for (const auto& [name, tensor] : expected.items()) {
    ASSERT_TRUE(reader.has(name)) << name;
    const SafetensorsEntry entry = reader.entry(name);
    EXPECT_EQ(entry.dtype, tensor["dtype"]) << name;
    EXPECT_EQ(entry.shape, tensor["shape"].get<std::vector<int64_t>>()) << name;
    EXPECT_EQ(file::sha256(reader.bytes(name)), tensor["sha256"]) << name;
    const Tensor value = reader.get(name);
    EXPECT_EQ(value.sizes(), c10::IntArrayRef(entry.shape)) << name;
    EXPECT_EQ(safetensors_dtype(value.scalar_type(), name), tensor["dtype"]) << name;
    const std::string_view kept(value.numel() > 0 ? static_cast<const char*>(value.const_data_ptr()) : "",
                                value.nbytes());
    EXPECT_EQ(file::sha256(kept), tensor["sha256"]) << name;
  }
}

TEST(SafetensorsReference, EveryTypeHasTheBitsThatWereWritten) {
  const nlohmann::json expected = nlohmann::json::parse(file::read(fixtures() + "/expected.json"));
  const auto reader = open_tensors(fixtures() + "/types.safetensors");
  expect_as_written(*reader, expected["types"]);
  EXPECT_EQ(reader->metadata(), (Metadata{{"format", "pt"}, {"note", "äöü \"x\"\n"}}));
  EXPECT_EQ(reader->get("scalar").item<float>(), 1.5);
}

TEST(SafetensorsReference, ShardsOfTransformers) {
  const nlohmann::json expected = nlohmann::json::parse(file::read(fixtures() + "/expected.json"));
  const auto reader = open_tensors(fixtures() + "/sharded");
  expect_as_written(*reader, expected["sharded"]);
  const auto* const sharded = dynamic_cast<const ShardedReader*>(reader.get());
  ASSERT_TRUE(sharded);
  EXPECT_GT(sharded->shards().size(), 2U);
}

}  // namespace
}  // namespace etude::safetensors_reference_test
