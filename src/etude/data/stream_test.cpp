#include "etude/data/stream.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "etude/base/testing.h"
#include "etude/base/torch_pch.h"
#include "etude/data/tensor_dataset.h"

namespace etude::stream_test {
namespace {

using std::chrono::milliseconds;

/// 100 records with a random view each; can be slow, large, or throw at one id.
class Views : public Dataset {
 public:
  DataCard card() const override { return {}; }
  int64_t size() const override { return 100; }
  Batch get(const std::vector<int64_t>& ids, const Rng& rng) const override {
    ++calls;
    if (sleep.count() > 0) std::this_thread::sleep_for(sleep);
    Batch batch;
    const auto B = static_cast<int64_t>(ids.size());
    batch.id_B = torch::empty({B}, torch::kInt64);
    batch.x["view_B"] = torch::empty({B}, torch::kFloat64);
    if (bytes > 0) batch.x["large_BN"] = torch::empty({B, bytes}, torch::kUInt8);
    for (int64_t b = 0; b < B; ++b) {
      const int64_t id = ids[static_cast<size_t>(b)];
      if (id == broken) throw Error(Code::data, "record 13 is damaged", "here", "fetch it again");
      batch.id_B.mutable_data_ptr<int64_t>()[b] = id;
      batch.x["view_B"].mutable_data_ptr<double>()[b] = rng.fork(static_cast<uint64_t>(id)).uniform();
    }
    ++done;
    return batch;
  }
  mutable std::atomic<int> calls = 0, done = 0;
  milliseconds sleep{0};
  int64_t bytes = 0, broken = -1;
};

PlanPoint point(int64_t step, int replica = 0, int replicas = 1, int64_t batch = 4) {
  PlanPoint p;
  p.seed = 3;
  p.step = step;
  p.position = step * replicas * batch;
  p.replica = replica;
  p.replicas = replicas;
  p.records = 100;
  p.batch = batch;
  return p;
}

/// Waits for what must happen; a test that waits in vain ends with a failure.
template <class Condition>
void await(const Condition& condition) {
  for (int i = 0; i < 20000 && !condition(); ++i) std::this_thread::sleep_for(milliseconds(1));
  ASSERT_TRUE(condition());
}

void expect_same(const Batch& a, const Batch& b) {
  ASSERT_TRUE(torch::equal(a.id_B, b.id_B));
  ASSERT_EQ(a.x.size(), b.x.size());
  for (const auto& [name, value] : a.x) ASSERT_TRUE(torch::equal(value, b.at(name))) << name;
}

TEST(Stream, GivesWhatThePlanSays) {
  Stream stream(std::make_shared<Views>(), epoch_plan(true), 5);
  for (int64_t step = 0; step < 60; ++step) {
    const Batch batch = stream.take(point(step));
    const std::vector<int64_t> ids = epoch_plan(true)->ids(point(step));
    EXPECT_TRUE(torch::equal(batch.id_B, torch::tensor(ids, torch::kInt64)));
    for (size_t b = 0; b < ids.size(); ++b) {
      const Rng view = Rng(Key{5, Purpose::crop, step, 0}).fork(static_cast<uint64_t>(ids[b]));
      EXPECT_EQ(batch.at("view_B")[static_cast<int64_t>(b)].item<double>(), Rng(view).uniform());
    }
  }
}

TEST(Stream, ViewsDoNotDependOnWhichReplicaTakesThem) {
  Stream stream(std::make_shared<Views>(), epoch_plan(true), 5);
  std::vector<Batch> shares;
  for (int r = 0; r < 4; ++r) shares.push_back(stream.take(point(2, r, 4, 2)));
  expect_same(concatenate(shares), stream.take(point(2, 0, 1, 8)));
}

TEST(Stream, ReadAheadOfAnyGuessesChangesNothing) {
  auto data = std::make_shared<Views>();
  Stream plain(data, epoch_plan(true), 5);
  std::mt19937 random(1);
  for (int round = 0; round < 4; ++round) {
    Stream stream(data, epoch_plan(true), 5);
    int64_t takes = 0;
    for (int64_t step = 0; step < 150; ++step) {
      std::vector<PlanPoint> guesses;
      for (auto n = random() % 6; n > 0; --n) {
        guesses.push_back(point(step + static_cast<int64_t>(random() % 3), static_cast<int>(random() % 3), 3));
      }
      if (random() % 3) stream.expect(guesses);
      if (random() % 4 == 0) std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
      for (int r = 0; r < 3; ++r, ++takes) expect_same(stream.take(point(step, r, 3)), plain.take(point(step, r, 3)));
    }
    EXPECT_EQ(stream.ready() + stream.missed(), takes);
    EXPECT_GT(stream.ready(), 0);
    EXPECT_GT(stream.missed(), 0);
  }
}

TEST(Stream, PreparesWhileNobodyWaits) {
  auto data = std::make_shared<Views>();
  Stream stream(data, epoch_plan(false), 5);
  stream.expect({point(0), point(1)});
  await([&] { return data->done == 2; });
  expect_same(stream.take(point(1)), stream.make(point(1)));
  expect_same(stream.take(point(0)), stream.make(point(0)));
  EXPECT_EQ(stream.ready(), 2);
  EXPECT_EQ(stream.missed(), 0);
}

TEST(Stream, KeepsWhatIsStillExpectedAndForgetsTheRest) {
  auto data = std::make_shared<Views>();
  Stream stream(data, epoch_plan(false), 5);
  stream.expect({point(0), point(1)});
  await([&] { return data->done == 2; });
  stream.expect({point(1), point(2)});
  await([&] { return data->done == 3; });
  stream.take(point(1));
  stream.take(point(2));
  EXPECT_EQ(data->calls, 3);
  stream.take(point(0));
  EXPECT_EQ(data->calls, 4);
  EXPECT_EQ(stream.missed(), 1);
}

TEST(Stream, CarriesAnErrorOverToWhoTakesIt) {
  auto data = std::make_shared<Views>();
  data->broken = 13;
  Stream stream(data, epoch_plan(false), 5);
  stream.expect({point(2), point(3), point(4)});  // record 13 is in step 3
  await([&] { return data->calls == 3; });
  EXPECT_EQ(stream.take(point(2)).size(), 4);
  expect_error([&] { stream.take(point(3)); }, Code::data, "record 13", "here");
  EXPECT_EQ(stream.take(point(4)).size(), 4);
  expect_error([&] { stream.take(point(3)); }, Code::data, "record 13", "here");  // made anew, damaged still
  stream.expect({point(3)});
  await([&] { return data->calls == 5; });
  stream.expect({});
  EXPECT_EQ(stream.take(point(5)).size(), 4);  // a wrong guess's error reaches nobody
}

TEST(Stream, PassesOnWhatThePlanRefuses) {
  Stream stream(std::make_shared<Views>(), sharded_plan(true, 8), 5);
  stream.expect({point(0, 0, 3)});
  expect_error([&] { stream.take(point(0, 0, 3)); }, Code::config, "8 shards", "source");
}

TEST(Stream, CountsTheTimeSpentWaiting) {
  auto data = std::make_shared<Views>();
  data->sleep = milliseconds(300);
  Stream stream(data, epoch_plan(false), 5);
  EXPECT_EQ(stream.waited_seconds(), 0);
  stream.take(point(0));
  const double made = stream.waited_seconds();
  EXPECT_GE(made, 0.3);
  stream.expect({point(1)});
  await([&] { return data->done == 2; });
  std::this_thread::sleep_for(milliseconds(20));
  stream.take(point(1));
  EXPECT_LT(stream.waited_seconds() - made, 0.15);
  data->broken = 8;
  EXPECT_THROW(stream.take(point(2)), Error);
  EXPECT_GE(stream.waited_seconds(), made + 0.3);
}

TEST(Stream, HoldsNoMoreThanItsLimitReady) {
  auto data = std::make_shared<Views>();
  data->bytes = 25 << 20;  // 100 MiB a batch
  Stream stream(data, epoch_plan(false), 5);
  std::vector<PlanPoint> points;
  for (int64_t step = 0; step < 8; ++step) points.push_back(point(step));
  stream.expect(points);
  await([&] { return data->done == 3; });
  std::this_thread::sleep_for(milliseconds(50));
  EXPECT_EQ(data->calls, 3);
  stream.take(point(0));
  await([&] { return data->done == 4; });
  EXPECT_EQ(stream.take(point(7)).size(), 4);  // not begun: made at once
  EXPECT_EQ(stream.missed(), 1);
}

TEST(Stream, EndsWhateverItIsDoing) {
  auto data = std::make_shared<Views>();
  data->sleep = milliseconds(5);
  for (int i = 0; i < 10; ++i) {
    Stream stream(data, epoch_plan(false), 5);
    std::vector<PlanPoint> points;
    for (int64_t step = 0; step < 50; ++step) points.push_back(point(step));
    if (i % 3) stream.expect(points);
    if (i % 2) stream.take(point(0));
  }
  EXPECT_LT(data->calls, 200);  // what nobody waits for is not made to the end
}

TEST(Stream, EmptyBatches) {
  Stream stream(std::make_shared<Views>(), epoch_plan(true), 5);
  stream.expect({point(1, 0, 1, 0)});
  const Batch batch = stream.take(point(1, 0, 1, 0));
  EXPECT_TRUE(batch.empty());
  EXPECT_EQ(batch.at("view_B").size(0), 0);
}

TEST(Stream, LeavesTheDefaultGeneratorAlone) {
  const auto state = [] { return at::detail::getDefaultCPUGenerator().get_state(); };
  const Tensor before = state().clone();
  Stream stream(std::make_shared<Views>(), epoch_plan(true), 5);
  for (int64_t step = 0; step < 5; ++step) {
    stream.expect({point(step + 1)});
    stream.take(point(step));
  }
  EXPECT_TRUE(torch::equal(before, state()));
}

TEST(TensorDataset, GathersRowsOfAnyShape) {
  const std::map<std::string, Tensor> columns{{"image_BCHW", torch::arange(2 * 3 * 4 * 5).reshape({5, 2, 3, 4})},
                                              {"label_B", torch::tensor({9.5, 8.5, 7.5, 6.5, 5.5}, torch::kFloat64)},
                                              {"none_BD", torch::empty({5, 0})}};
  const auto data = tensor_dataset(columns, "five");
  EXPECT_EQ(data->size(), 5);
  const Batch batch = data->get({4, 0, 4}, Rng(Key{}));
  const Tensor index = torch::tensor({4, 0, 4}, torch::kInt64);
  EXPECT_TRUE(torch::equal(batch.id_B, index));
  for (const auto& [name, column] : columns) EXPECT_TRUE(torch::equal(batch.at(name), column.index_select(0, index)));
  EXPECT_EQ(data->get({}, Rng(Key{})).at("image_BCHW").sizes(), (std::vector<int64_t>{0, 2, 3, 4}));
  EXPECT_THROW(data->get({5}, Rng(Key{})), Error);
}

TEST(TensorDataset, KeepsItsOwnCopyOfAnyLayout) {
  Tensor column = torch::arange(12).reshape({3, 4}).t();
  const Tensor before = column.clone();
  const auto data = tensor_dataset({{"a_BD", column}});
  const std::string hash = data->card().sha256;
  column.zero_();
  EXPECT_TRUE(torch::equal(data->get({0, 1, 2, 3}, Rng(Key{})).at("a_BD"), before));
  EXPECT_EQ(tensor_dataset({{"a_BD", before}})->card().sha256, hash);
  EXPECT_NE(tensor_dataset({{"a_BD", column}})->card().sha256, hash);
  EXPECT_NE(tensor_dataset({{"b_BD", before}})->card().sha256, hash);
}

TEST(TensorDataset, RefusesRaggedColumns) {
  expect_error(
      [] {
        tensor_dataset({{"a", torch::zeros(3)}, {"b", torch::zeros(4)}}, "mine");
      },
      Code::data, "'b' has 4 rows", "mine");
  expect_error([] { tensor_dataset({{"a", torch::tensor(1.0)}}, "mine"); }, Code::data, "'a'", "mine");
  expect_error([] { tensor_dataset({}, "mine"); }, Code::data, "tensor", "mine");
}

}  // namespace
}  // namespace etude::stream_test
