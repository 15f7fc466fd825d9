#include "etude/train/store.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <numeric>

#include "etude/base/error.h"
#include "etude/base/testing.h"

namespace etude::store_test {
namespace {

std::map<std::string, Tensor> rows(int64_t from, int64_t to) {
  const Tensor x = torch::arange(from, to, torch::kFloat64);
  return {{"x", torch::stack({x, -x}, 1)}, {"id", torch::arange(from, to)}};
}

std::vector<int64_t> ids(const Segments& segments, const std::vector<int64_t>& wanted) {
  const Tensor id = segments.get(wanted).at("id").contiguous();
  return {id.data_ptr<int64_t>(), id.data_ptr<int64_t>() + id.numel()};
}

Code code_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.code();
  }
  ADD_FAILURE() << "nothing was refused";
  return Code::usage;
}

TEST(Segments, RowsAcrossChunkBorders) {
  constexpr int64_t kChunk = Segments::kChunk;
  Segments segments;
  EXPECT_TRUE(segments.get({}).empty());
  // Single rows, a piece that ends just at a border, one over several borders, none at all.
  int64_t size = 0;
  for (const int64_t count : {int64_t{1}, int64_t{1}, kChunk - 2, 2 * kChunk + 7, int64_t{0}, kChunk - 7, int64_t{1}}) {
    segments.append(rows(size, size + count));
    size += count;
    ASSERT_EQ(segments.size(), size);
  }
  ASSERT_EQ(segments.chunks().size(), static_cast<size_t>((size + kChunk - 1) / kChunk));
  for (size_t i = 0; i + 1 < segments.chunks().size(); ++i) EXPECT_EQ(segments.chunks()[i].at("id").size(0), kChunk);
  std::vector<int64_t> all(static_cast<size_t>(size));
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(ids(segments, all), all);
  const std::vector<int64_t> some = {size - 1, 0, kChunk, kChunk - 1, kChunk, 2 * kChunk + 3};
  EXPECT_EQ(ids(segments, some), some);
  EXPECT_EQ(segments.get(some).at("x")[3][1].item<double>(), -static_cast<double>(kChunk - 1));
  EXPECT_EQ(code_of([&] { segments.get({size}); }), Code::internal);
  EXPECT_EQ(code_of([&] { segments.get({-1}); }), Code::internal);
}

TEST(Segments, AppendingCopies) {
  Segments segments;
  auto first = rows(0, 3);
  segments.append(first);
  first.at("id").fill_(77);
  const Tensor shown = segments.chunks().back().at("id");
  segments.append(rows(3, 100));
  EXPECT_EQ(ids(segments, {0, 1, 2, 3}), (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(shown.size(0), 3) << "what was shown before does not grow";
}

TEST(Segments, CopiesShareNoGrowth) {
  Segments one;
  one.append(rows(0, 5));
  Segments two = one;
  one.append(rows(100, 102));
  two.append(rows(200, 203));
  EXPECT_EQ(ids(one, {4, 5, 6}), (std::vector<int64_t>{4, 100, 101}));
  EXPECT_EQ(ids(two, {4, 5, 6, 7}), (std::vector<int64_t>{4, 200, 201, 202}));
  Segments three;
  three.append(rows(900, 904));
  three = one;
  three.append(rows(300, 301));
  EXPECT_EQ(ids(three, {6, 7}), (std::vector<int64_t>{101, 300}));
  one.append(rows(103, 104));
  EXPECT_EQ(ids(one, {6, 7}), (std::vector<int64_t>{101, 103}));
  EXPECT_EQ(ids(three, {6, 7}), (std::vector<int64_t>{101, 300}));
}

TEST(Segments, RestoredRowsGoOn) {
  Segments whole;
  whole.append(rows(0, Segments::kChunk + 10));
  Segments back;
  back.append(rows(500, 600));
  back.restore(whole.chunks());
  EXPECT_EQ(back.size(), whole.size());
  back.append(rows(1, 2));
  EXPECT_EQ(ids(back, {Segments::kChunk + 9, Segments::kChunk + 10}), (std::vector<int64_t>{Segments::kChunk + 9, 1}));
  EXPECT_EQ(whole.size(), Segments::kChunk + 10);
  EXPECT_EQ(whole.chunks().back().at("id").size(0), 10) << "restoring shares rows, not growth";
  back.restore({});
  EXPECT_EQ(back.size(), 0);
}

TEST(Segments, RefusesRowsThatDoNotFit) {
  Segments segments;
  segments.append(rows(0, 3));
  auto short_column = rows(3, 5), other_name = rows(3, 5), other_shape = rows(3, 5), other_type = rows(3, 5);
  short_column["x"] = short_column["x"].slice(0, 0, 1);
  other_name["y"] = other_name["x"];
  other_shape["x"] = other_shape["x"].slice(1, 0, 1);
  other_type["x"] = other_type["x"].to(torch::kFloat32);
  for (const auto& bad : {short_column, other_name, other_shape, other_type}) {
    EXPECT_EQ(code_of([&] { segments.append(bad); }), Code::internal);
    EXPECT_EQ(segments.size(), 3);
  }
  EXPECT_EQ(code_of([&] { segments.append({}); }), Code::internal);
  EXPECT_EQ(code_of([&] { segments.append({{"x", torch::tensor(1)}}); }), Code::internal);
}

TEST(Segments, RefusesChunksThatAreNone) {
  const auto chunk = [](int64_t from, int64_t to) { return rows(from, to); };
  constexpr int64_t kChunk = Segments::kChunk;
  Segments segments;
  segments.append(rows(0, 2));
  const std::vector<std::vector<Segments::Chunk>> bad = {{chunk(0, 5), chunk(5, 9)},
                                                         {chunk(0, kChunk + 1)},
                                                         {chunk(0, 0)},
                                                         {Segments::Chunk()},
                                                         {chunk(0, kChunk), {{"id", torch::arange(3)}}},
                                                         {{{"a", torch::arange(3)}, {"b", torch::arange(4)}}},
                                                         {{{"a", torch::tensor(1)}}}};
  for (size_t i = 0; i < bad.size(); ++i) {
    EXPECT_EQ(code_of([&] { segments.restore(bad[i]); }), Code::checkpoint) << i;
    EXPECT_EQ(segments.size(), 2) << i;
  }
}

TEST(Store, KeepsWhatIsThere) {
  Store store;
  store.tensor("t", torch::ones({2})).add_(1);
  EXPECT_TRUE(torch::equal(store.tensor("t", torch::zeros({2})), torch::full({2}, 2.0)));
  EXPECT_TRUE(torch::equal(store.tensor("t", [] { return torch::zeros({9}); }), torch::full({2}, 2.0)));
  store.number("n", 1) += 0.5;
  EXPECT_EQ(store.number("n", 7), 1.5);
  store.integer("n", 3) += 1;
  EXPECT_EQ(store.integer("n"), 4) << "kinds have names of their own";
  store.text("n") += "x";
  EXPECT_EQ(store.text("n", "y"), "x");
  store.drop("t");
  EXPECT_FALSE(store.has_tensor("t"));
  EXPECT_EQ(code_of([&] { store.tensor("t"); }), Code::internal);
}

TEST(Store, RefusesAnotherShapeOrType) {
  Store store;
  store.tensor("bank", torch::zeros({2, 3}));
  expect_error(
      [&] {
        store.tensor("bank", torch::zeros({3, 2}));
      },
      Code::checkpoint, "'bank' is Float[2, 3], this recipe needs Float[3, 2]", "bank", "--fresh");
  expect_error(
      [&] {
        store.tensor("bank", torch::zeros({2, 3}, torch::kFloat64));
      },
      Code::checkpoint, "needs Double[2, 3]", "bank");
}

TEST(Store, ViewsStayApart) {
  Store store;
  store.under("a").number("x") = 1;
  store.under("b").number("x") = 2;
  store.number("x") = 3;
  EXPECT_EQ(store.under("a").number("x"), 1);
  EXPECT_EQ(store.number("b/x"), 2);
  store.under("a").tensor("x", torch::ones({1}));
  EXPECT_FALSE(store.under("b").has_tensor("x"));
}

TEST(Store, HostSurvivesToTheBit) {
  Store store;
  const uint64_t payload = 0xfff123456789abcd;
  double odd = 0;
  std::memcpy(&odd, &payload, 8);
  const double inf = std::numeric_limits<double>::infinity();
  const std::map<std::string, double> numbers = {
      {"inf", inf},     {"-inf", -inf},     {"odd", odd},   {"-0", -0.0},
      {"tiny", 5e-324}, {"third", 1.0 / 3}, {"whole", 3.0}, {"max", 1.7976931348623157e308}};
  for (const auto& [name, value] : numbers) store.number(name) = value;
  store.integer("large") = INT64_MAX;
  store.integer("small") = INT64_MIN;
  store.text("bytes") = std::string("\xff\0z", 3);
  store.text("$double") = "0123456789abcdef";
  Store back;
  double& kept = back.number("third", 9);
  back.number("gone") = 1;
  back.restore_host(nlohmann::json::parse(store.host().dump()));
  EXPECT_EQ(kept, 1.0 / 3) << "references to names that stay remain valid";
  EXPECT_EQ(back.number("gone", -5), -5);
  for (const auto& [name, value] : numbers) {
    const double found = back.number(name);
    EXPECT_EQ(std::memcmp(&found, &value, 8), 0) << name;
  }
  EXPECT_EQ(back.integer("large"), INT64_MAX);
  EXPECT_EQ(back.integer("small"), INT64_MIN);
  EXPECT_EQ(back.text("bytes"), std::string("\xff\0z", 3));
  EXPECT_EQ(back.text("$double"), "0123456789abcdef");
}

TEST(Store, ATextAloneThatLooksLikeANumber) {
  Store store;
  store.text("$double") = "3ff0000000000000";
  Store back;
  back.restore_host(store.host());
  EXPECT_EQ(back.text("$double"), "3ff0000000000000");
}

TEST(Store, RefusesHostThatIsNone) {
  Store store;
  store.number("x") = 1;
  for (const char* bad :
       {"null", "[]", "{}", "3", R"({"numbers":{},"integers":{}})", R"({"numbers":[1],"integers":{},"texts":{}})",
        R"({"numbers":{"x":"y"},"integers":{},"texts":{}})", R"({"numbers":{},"integers":{"x":[]},"texts":{}})",
        R"({"numbers":{},"integers":{},"texts":{"x":1}})",
        R"({"numbers":{"x":{"$double":"xyz"}},"integers":{},"texts":{}})"}) {
    EXPECT_EQ(code_of([&] { store.restore_host(nlohmann::json::parse(bad)); }), Code::checkpoint) << bad;
    EXPECT_EQ(store.number("x"), 1) << bad;
  }
}

}  // namespace
}  // namespace etude::store_test
