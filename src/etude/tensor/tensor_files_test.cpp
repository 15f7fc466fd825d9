#include "etude/tensor/tensor_files.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstring>
#include <nlohmann/json.hpp>

#include "etude/base/error.h"
#include "etude/base/file.h"
#include "etude/base/testing.h"
#include "etude/tensor/safetensors.h"

namespace etude::tensor_files_test {
namespace {

NamedTensors some() {
  return {{"a", torch::arange(6, torch::kFloat32).view({2, 3})},
          {"b", torch::arange(4, torch::kInt64)},
          {"c", torch::tensor({1.5}).to(torch::kBFloat16)},
          {"d", torch::zeros({0, 2})}};
}

std::vector<TensorSource> sources(const NamedTensors& tensors) {
  std::vector<TensorSource> all;
  for (const auto& [name, value] : tensors) all.push_back(source_of(name, value));
  return all;
}

void expect_same(const TensorReader& reader, const NamedTensors& tensors) {
  EXPECT_EQ(reader.size(), tensors.size());
  for (const auto& [name, value] : tensors) {
    ASSERT_TRUE(reader.has(name)) << name;
    const Tensor found = reader.get(name);
    EXPECT_EQ(found.scalar_type(), value.scalar_type());
    EXPECT_TRUE(torch::equal(found, value)) << name;
    const Tensor host = value.contiguous();
    EXPECT_EQ(reader.bytes(name), std::string_view(static_cast<const char*>(host.const_data_ptr()), host.nbytes()));
    EXPECT_EQ(reader.entry(name).shape, value.sizes().vec());
  }
}

TEST(TensorFiles, OneFileIsReadByName) {
  const TestFolder folder;
  const std::string path = folder.write("x.safetensors", to_safetensors(some(), {{"k", "v"}}));
  const SafetensorsReader reader(path);
  expect_same(reader, some());
  EXPECT_EQ(reader.metadata(), (Metadata{{"k", "v"}}));
  EXPECT_EQ(reader.names().size(), 4U);
  EXPECT_FALSE(reader.has("e"));
  EXPECT_NE(reinterpret_cast<uintptr_t>(reader.get("a").const_data_ptr()), 0U);
  expect_error([&] { reader.get("aa"); }, Code::checkpoint, "there is no tensor 'aa'", path, "did you mean 'a'?");
  expect_same(*open_tensors(folder.path()), some());  // the only file of its folder
}

TEST(TensorFiles, TensorsAreAlignedWhereverTheyLie) {
  const TestFolder folder;
  const NamedTensors odd = {{"one", torch::ones({1}, torch::kInt8)}, {"wide", torch::arange(5, torch::kFloat64)}};
  const SafetensorsReader reader(folder.write("x.safetensors", to_safetensors(odd)));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(reader.get("wide").const_data_ptr()) % 64, 0U);
  EXPECT_TRUE(torch::equal(reader.get("wide"), odd[1].second));
}

/// Half a terabyte of nothing: opening must not read it.
TEST(TensorFiles, AnySizeIsOpenedAtOnce) {
  const TestFolder folder;
  const int64_t values = int64_t{1} << 37;
  std::string head = safetensors_header({{"huge", "F32", {values}}, {"last", "U8", {2}}}, {});
  const std::string path = folder.write("x.safetensors", head);
  if (truncate(path.c_str(), static_cast<int64_t>(head.size()) + values * 4 + 2) != 0)
    GTEST_SKIP() << "no large files here";
  const SafetensorsReader reader(path);
  EXPECT_EQ(reader.entry("huge").shape, std::vector<int64_t>{values});
  EXPECT_TRUE(torch::equal(reader.get("last"), torch::zeros({2}, torch::kUInt8)));
}

TEST(TensorFiles, AFileThatShrinksIsAnError) {
  const TestFolder folder;
  const std::string bytes = to_safetensors({{"w", torch::ones({1 << 20})}});
  const std::string path = folder.write("x.safetensors", bytes);
  const SafetensorsReader reader(path);
  EXPECT_EQ(truncate(path.c_str(), 8192), 0);
  expect_error([&] { reader.get("w"); }, Code::io, "the file shrank", path);
  const std::string kept = folder.at("copy");
  expect_error([&] { write_tensors(kept, {source_of(reader, "w")}); }, Code::io, "the file shrank", path);
  EXPECT_FALSE(file::exists(kept + "/model.safetensors"));
}

TEST(TensorFiles, ShardsAreWrittenAndReadAsOne) {
  const TestFolder folder;
  const std::string path = folder.at("model");
  // 24 + 32 + 2 + 0 bytes: a | b | c d, then a b | c d, then all.
  EXPECT_EQ(write_tensors(path, sources(some()), {}, 32),
            (std::vector<std::string>{"model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                                      "model-00003-of-00003.safetensors", "model.safetensors.index.json"}));
  const auto three = open_tensors(path);
  expect_same(*three, some());
  EXPECT_EQ(three->names(), (std::vector<std::string>{"a", "b", "c", "d"}));
  EXPECT_EQ(three->metadata(), (Metadata{{"format", "pt"}}));
  expect_error([&] { three->get("bb"); }, Code::checkpoint, "no tensor 'bb'", "index.json", "did you mean 'b'?");
  const auto index = nlohmann::json::parse(file::read(path + "/model.safetensors.index.json"));
  EXPECT_EQ(index["metadata"]["total_size"], 58);
  EXPECT_EQ(index["weight_map"]["b"], "model-00002-of-00003.safetensors");

  EXPECT_EQ(write_tensors(path, sources(some()), {}, 56).size(), 3U);
  EXPECT_EQ(file::list(path),
            (std::vector<std::string>{"model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                                      "model.safetensors.index.json"}));
  expect_same(*open_tensors(path), some());
  expect_same(*open_tensors(path + "/model.safetensors.index.json"), some());

  EXPECT_EQ(write_tensors(path, sources(some()), {{"format", "np"}}, 58),
            std::vector<std::string>{"model.safetensors"});
  EXPECT_EQ(file::list(path), std::vector<std::string>{"model.safetensors"});
  EXPECT_EQ(open_tensors(path)->metadata().at("format"), "np");
  expect_same(*three, some());  // still mapped, though its files are gone

  EXPECT_EQ(write_tensors(path, sources(some()), {}, 1).size(), 5U);
  expect_same(*open_tensors(path), some());
  EXPECT_FALSE(file::exists(path + "/model.safetensors"));
}

TEST(TensorFiles, WhatIsCopiedKeepsItsBits) {
  const TestFolder folder;
  // F4 and F6 have no tensors here; a not-a-number keeps its payload, a truth value of 7 its bits.
  const std::string head = safetensors_header({{"nan", "F32", {1}},
                                               {"packed", "F4", {4}},
                                               {"six", "F6_E2M3", {4}},
                                               {"truth", "BOOL", {1}},
                                               {"eight", "F8_E8M0", {1}}},
                                              {});
  const std::string data(
      "\x45\x23\xa1\xff"
      "\x12\x34"
      "abc"
      "\x07"
      "\x7f",
      11);
  const SafetensorsReader from(folder.write("x.safetensors", head + data));
  const std::string path = folder.at("copy");
  std::vector<TensorSource> all;
  for (const std::string& name : from.names()) all.push_back(source_of(from, name, name + "2"));
  write_tensors(path, all, from.metadata(), 4);
  const auto copy = open_tensors(path);
  std::string together;
  for (const std::string& name : from.names()) {
    EXPECT_EQ(copy->bytes(name + "2"), from.bytes(name));
    EXPECT_EQ(copy->entry(name + "2").dtype, from.entry(name).dtype);
    together += from.bytes(name);
  }
  EXPECT_EQ(together, data);
  expect_error([&] { copy->get("packed2"); }, Code::checkpoint, "type F4 can't be read as a tensor", "tensor packed2");
  expect_error([&] { copy->get("six2"); }, Code::checkpoint, "type F6_E2M3 can't be read", "tensor six2");
  expect_error([&] { copy->get("truth2"); }, Code::checkpoint, "neither 0 nor 1", "tensor truth2");
}

TEST(TensorFiles, TensorsAreMadeOneAtATime) {
  const TestFolder folder;
  int alive = 0, most = 0;
  std::vector<TensorSource> all;
  for (int i = 0; i < 5; ++i) {
    const auto make = [&alive, &most, i] {
      most = std::max(most, ++alive);
      auto* const values = new float[3]{0, 1, static_cast<float>(i)};
      return torch::from_blob(values, {3}, [&alive](void* data) {
        delete[] static_cast<float*>(data);
        --alive;
      });
    };
    all.push_back({"t" + std::to_string(i), "F32", {3}, make, nullptr});
  }
  write_tensors(folder.at("m"), all);
  EXPECT_EQ(most, 1);
  EXPECT_EQ(open_tensors(folder.at("m"))->get("t4")[2].item<float>(), 4);
  all[2].shape = {4};
  EXPECT_THROW(write_tensors(folder.at("m"), all), Error);
  EXPECT_EQ(open_tensors(folder.at("m"))->size(), 5U);  // the old ones are still there
}

/// Whatever operation fails: old, new, or refused.
TEST(TensorFiles, AFailedWriteLeavesNoMixture) {
  const NamedTensors before = {{"w", torch::zeros({8})}, {"v", torch::zeros({8})}},
                     after = {{"w", torch::ones({8})}, {"v", torch::ones({8})}};
  for (const auto& [shard_before, shard_after] : {std::pair(32, 32), std::pair(32, 1000), std::pair(1000, 32)}) {
    int olds = 0, news = 0, failed = 0;
    bool done = false;
    for (int64_t at = 1; !done; ++at) {
      const TestFolder folder;
      write_tensors(folder.at("m"), sources(before), {}, shard_before);
      file::inject({at, file::Injection::Fault::eio});
      try {
        write_tensors(folder.at("m"), sources(after), {}, shard_after);
        done = file::operations() < at;
      } catch (const Error&) {
        EXPECT_FALSE(file::is_temporary(file::list(folder.at("m")).front())) << "operation " << at;
      }
      file::inject({});
      try {
        const auto reader = open_tensors(folder.at("m"));
        const float w = reader->get("w")[0].item<float>(), v = reader->get("v")[0].item<float>();
        EXPECT_EQ(w, v) << "operation " << at;
        ++(w > 0 ? news : olds);
      } catch (const Error&) {
        ++failed;
      }
    }
    EXPECT_GT(olds, 3);
    EXPECT_GT(news, 0);
    EXPECT_EQ(failed > 0, shard_before == 32 && shard_after == 32);
  }
}

TEST(TensorFiles, EveryTypeOfTheFormatThatLibTorchHas) {
  const TestFolder folder;
  NamedTensors tensors;
  for (const auto type : {torch::kFloat8_e4m3fn, torch::kFloat8_e5m2, torch::kFloat8_e4m3fnuz, torch::kFloat8_e5m2fnuz,
                          torch::kUInt16, torch::kUInt32, torch::kUInt64, torch::kComplexFloat}) {
    tensors.emplace_back(c10::toString(type), torch::tensor({0.0, 1.0, 2.0}).to(type));
  }
  tensors.emplace_back("conjugate", torch::tensor({c10::complex<float>(1, 2)}).conj());
  write_tensors(folder.at("m"), sources(tensors));
  const auto reader = open_tensors(folder.at("m"));
  for (const auto& [name, value] : tensors) {
    const Tensor found = reader->get(name);
    EXPECT_EQ(found.scalar_type(), value.scalar_type()) << name;
    EXPECT_TRUE(torch::equal(found.to(torch::kComplexDouble), value.to(torch::kComplexDouble))) << name;
  }
}

}  // namespace
}  // namespace etude::tensor_files_test
