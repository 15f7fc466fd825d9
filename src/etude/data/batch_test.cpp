#include "etude/data/batch.h"

#include "etude/base/testing.h"
#include "etude/base/torch_pch.h"

namespace etude::batch_test {
namespace {

Batch numbered(int64_t first, int64_t rows) {
  Batch batch;
  batch.id_B = torch::arange(first, first + rows);
  batch.x["value_BD"] = torch::stack({batch.id_B * 10, batch.id_B * 10 + 1}, 1);
  auto& names = batch.text["name"];
  for (int64_t i = 0; i < rows; ++i) names.push_back("n" + std::to_string(first + i));
  Batch crops;
  crops.id_B = torch::arange(2 * first, 2 * (first + rows));
  crops.x["crop_B"] = crops.id_B * 100;
  batch.part["crops"] = crops;
  return batch;
}

void expect_equal(const Batch& a, const Batch& b) {
  EXPECT_TRUE(torch::equal(a.id_B, b.id_B));
  ASSERT_EQ(a.x.size(), b.x.size());
  for (const auto& [name, value] : a.x) EXPECT_TRUE(torch::equal(value, b.at(name))) << name;
  EXPECT_EQ(a.text, b.text);
  ASSERT_EQ(a.part.size(), b.part.size());
  for (const auto& [name, inner] : a.part) expect_equal(inner, b.part.at(name));
}

TEST(Batch, RowsCutEverythingAlike) {
  expect_equal(numbered(5, 7).rows(2, 5), numbered(7, 3));
  EXPECT_EQ(numbered(5, 7).rows(3, 3).size(), 0);
  EXPECT_EQ(numbered(5, 7).rows(3, 3).part.at("crops").size(), 0);
  EXPECT_THROW(numbered(0, 3).rows(1, 4), Error);
}

TEST(Batch, RowsAreViews) {
  Batch whole = numbered(0, 4);
  whole.rows(1, 2).x.at("value_BD").fill_(-1);
  EXPECT_EQ(whole.at("value_BD")[1][0].item<int64_t>(), -1);
  EXPECT_EQ(whole.at("value_BD")[2][0].item<int64_t>(), 20);
}

TEST(Batch, RowsRefuseAPartThatCannotBeSharedOut) {
  Batch batch = numbered(0, 4);
  batch.part["crops"] = numbered(0, 6).part["crops"].rows(0, 6);
  expect_error([&] { batch.rows(0, 2); }, Code::config, "6 samples of part 'crops'", "batch.crops");
}

TEST(Batch, PiecesOfAnySizeMakeTheWhole) {
  for (int64_t piece = 1; piece <= 7; ++piece) {
    std::vector<Batch> pieces;
    for (int64_t i = 0; i < 7; i += piece) pieces.push_back(numbered(3, 7).rows(i, std::min<int64_t>(7, i + piece)));
    expect_equal(concatenate(pieces), numbered(3, 7));
  }
}

TEST(Batch, NamesWhatIsThere) {
  expect_error([] { numbered(0, 1).at("labels_BT"); }, Code::config, "'labels_BT'", "batch", "value_BD");
  expect_error([] { Batch().at("x"); }, Code::config, "'x'", "batch", "nothing");
}

TEST(Batch, ConcatenateRefusesOtherNames) {
  Batch other = numbered(0, 2);
  other.x["extra_B"] = other.id_B;
  expect_error([&] { concatenate({numbered(0, 2), other}); }, Code::config, "different tensors", "batch", "extra_B");
  expect_error([&] { concatenate({other, numbered(0, 2)}); }, Code::config, "different tensors", "batch", "extra_B");
}

TEST(Batch, ConcatenateTakesEmptyOnes) {
  EXPECT_EQ(concatenate({}).size(), 0);
  expect_equal(concatenate({Batch(), numbered(1, 2), Batch(), numbered(3, 1), numbered(0, 0)}), numbered(1, 3));
}

TEST(Batch, ConcatenateWritesOutImpliedPositions) {
  Batch plain, packed;
  plain.id_B = torch::arange(2);
  plain.x["ids_BT"] = torch::zeros({2, 3}, torch::kInt64);
  packed.id_B = torch::arange(1);
  packed.x["ids_BT"] = torch::ones({1, 3}, torch::kInt64);
  packed.x["position_BT"] = torch::tensor({{0, 0, 1}}, torch::kInt64);
  packed.x["segment_BT"] = torch::tensor({{0, 1, 1}}, torch::kInt64);
  const Batch all = concatenate({plain, packed});
  EXPECT_TRUE(torch::equal(all.at("position_BT"), torch::tensor({{0, 1, 2}, {0, 1, 2}, {0, 0, 1}}, torch::kInt64)));
  EXPECT_TRUE(torch::equal(all.at("segment_BT"), torch::tensor({{0, 0, 0}, {0, 0, 0}, {0, 1, 1}}, torch::kInt64)));
  EXPECT_EQ(concatenate({plain, plain}).x.count("position_BT"), 0u);
}

}  // namespace
}  // namespace etude::batch_test
