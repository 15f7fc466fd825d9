#include "etude/train/gradient_sync.h"

#include <gtest/gtest.h>

#include <array>
#include <mutex>

#include "etude/comm/testing.h"
#include "etude/train/testing.h"

namespace etude::gradient_sync_test {
namespace {

using test::Mlp;

const std::vector<int64_t> kWidths = {3, 8, 5, 1};

Parameters parameters_of(Mlp& net) {
  Parameters all;
  for (const auto& p : net.named_parameters()) all.push_back({"model." + p.key(), p.value(), {}});
  return all;
}

std::shared_ptr<Mlp> fresh_net() { return test::initial_mlp("model", kWidths, 5); }

Batch batch_of(int64_t size) {
  std::vector<int64_t> ids;
  for (int64_t i = 0; i < size; ++i) ids.push_back(i);
  return test::samples(ids, 3);
}

/// Squared error of some rows over a denominator of all.
Tensor loss_of(Mlp& net, const Batch& rows, int64_t of) {
  return (net.forward(rows.at("x")) - rows.at("y")).pow(2).sum() / static_cast<double>(of);
}

/// The gradients of the whole batch, in one process.
std::vector<Tensor> gradients_in_one_process(const Batch& batch) {
  const auto net = fresh_net();
  loss_of(*net, batch, batch.size()).backward();
  std::vector<Tensor> gradients;
  for (const Tensor& p : net->parameters()) gradients.push_back(p.grad());
  return gradients;
}

/// A rank's part of the pass, in micro-batches, with its sync told as the loop tells it.
void backward_of_rank(GradientSync& sync, Mlp& net, const Batch& batch, int index, int ranks, int64_t micro_batches) {
  const Parameters parameters = parameters_of(net);
  const int64_t first = batch.size() * index / ranks, last = batch.size() * (index + 1) / ranks;
  for (int64_t m = 0; m < micro_batches && last > first; ++m) {
    const Batch rows =
        batch.rows(first + (last - first) * m / micro_batches, first + (last - first) * (m + 1) / micro_batches);
    const Tensor loss = loss_of(net, rows, batch.size());
    if (m + 1 == micro_batches) sync.begin(parameters, "0");
    loss.backward();
  }
}

/// Gradients by rank and parameter.
std::vector<std::vector<Tensor>> gradients_by_rank(int ranks, const Batch& batch, int64_t micro_batches,
                                                   int64_t bucket) {
  std::vector<std::vector<Tensor>> all(static_cast<size_t>(ranks));
  test::on_ranks(ranks, [&](RankGroup& group) {
    const auto net = fresh_net();
    GradientSync sync(group, {.bucket = bucket});
    backward_of_rank(sync, *net, batch, group.index(), ranks, micro_batches);
    EXPECT_FALSE(sync.finish(parameters_of(*net), "0", false));
    for (const Tensor& p : net->parameters()) all[static_cast<size_t>(group.index())].push_back(p.grad());
  });
  return all;
}

TEST(GradientSync, TheSumOverRanksIsTheGradientOfTheWholeBatch) {
  for (int64_t size : {2, 7, 13})
    for (int ranks = 1; ranks <= 4; ++ranks)
      for (int64_t micro_batches : {1, 3})
        for (int64_t bucket : {int64_t{1}, int64_t{200}, int64_t{1} << 30}) {
          const Batch batch = batch_of(size);
          const auto expected = gradients_in_one_process(batch);
          const auto all = gradients_by_rank(ranks, batch, micro_batches, bucket);
          const auto again = gradients_by_rank(ranks, batch, micro_batches, bucket);
          for (size_t rank = 0; rank < all.size(); ++rank)
            for (size_t i = 0; i < expected.size(); ++i) {
              ASSERT_TRUE(all[rank][i].defined());
              EXPECT_TRUE(at::allclose(all[rank][i], expected[i], 1e-10, 1e-12)) << size << " on " << ranks;
              EXPECT_TRUE(at::equal(all[rank][i], all[0][i])) << "ranks differ";
              EXPECT_TRUE(at::equal(all[rank][i], again[rank][i])) << "runs differ";
            }
        }
}

TEST(GradientSync, ChangesNoBitOfOneRank) {
  const Batch batch = batch_of(7);
  const auto all = gradients_by_rank(1, batch, 1, 100);
  const auto expected = gradients_in_one_process(batch);
  for (size_t i = 0; i < expected.size(); ++i) EXPECT_TRUE(at::equal(all[0][i], expected[i]));
}

TEST(GradientSync, TheFirstBucketLeavesBeforeTheLastGradientExists) {
  using Kind = GradientSync::Moment::Kind;
  test::on_ranks(2, [](RankGroup& group) {
    std::vector<GradientSync::Moment> moments;
    const auto net = fresh_net();
    GradientSync sync(group, {.bucket = 100, .observer = [&](const auto& moment) { moments.push_back(moment); }});
    backward_of_rank(sync, *net, batch_of(6), group.index(), 2, 2);
    const size_t in_backward = moments.size();
    sync.finish(parameters_of(*net), "0", false);
    EXPECT_EQ(moments.size(), in_backward) << "something had not left when backward ended";

    std::vector<size_t> departures;
    size_t first_departure = moments.size(), last_gradient = 0;
    for (size_t t = 0; t < moments.size(); ++t) {
      if (moments[t].kind == Kind::gradient) {
        last_gradient = t;
      } else {
        departures.push_back(moments[t].index);
        first_departure = std::min(first_departure, t);
      }
    }
    EXPECT_LT(first_departure, last_gradient);
    // Of 8 + 40 + 40 + 320 and of 64 + 192 bytes.
    EXPECT_EQ(departures, (std::vector<size_t>{0, 1}));
  });
}

TEST(GradientSync, BucketsFillFromTheLastParameterOn) {
  // Bytes of gradients, from the last: 8, 40, 40, 320, 64, 192.
  const auto buckets = [](int64_t bucket, int64_t first) {
    size_t left = 0;
    test::on_ranks(1, [&](RankGroup& group) {
      const auto net = fresh_net();
      GradientSync sync(group, {.bucket = bucket, .first_bucket = first, .observer = [&](const auto& moment) {
                                  left += moment.kind == GradientSync::Moment::Kind::departure ? 1 : 0;
                                }});
      sync.finish(parameters_of(*net), "0", false);
    });
    return left;
  };
  EXPECT_EQ(buckets(1, 1), 6u);
  EXPECT_EQ(buckets(100, 1 << 20), 2u);
  EXPECT_EQ(buckets(1 << 20, 48), 2u);
  EXPECT_EQ(buckets(1 << 20, 1 << 20), 1u);
}

TEST(GradientSync, EachTypeHasBucketsOfItsOwn) {
  test::on_ranks(2, [](RankGroup& group) {
    Parameters parameters;
    for (at::ScalarType type : {at::kFloat, at::kBFloat16, at::kDouble, at::kFloat}) {
      const Tensor value = at::zeros({3}, type).requires_grad_(true);
      value.mutable_grad() = at::full({3}, group.index() + 1, type);
      parameters.push_back({"p" + std::to_string(parameters.size()), value, {}});
    }
    GradientSync sync(group, {});
    sync.finish(parameters, "0", false);
    for (const Parameter& p : parameters) {
      EXPECT_EQ(p.value.grad().scalar_type(), p.value.scalar_type());
      EXPECT_TRUE(at::equal(p.value.grad(), at::full_like(p.value, 3)));
    }
  });
}

TEST(GradientSync, WhatOnlySomeRanksUseCountsAsZeroElsewhereAndWhatNobodyUsesStaysUndefined) {
  test::on_ranks(3, [](RankGroup& group) {
    Parameters parameters;
    for (const char* name : {"all", "one", "nobody"})
      parameters.push_back({name, at::ones({2}, at::kDouble).requires_grad_(true), {}});
    GradientSync sync(group, {.bucket = 1});
    Tensor loss = parameters[0].value.sum() * (group.index() + 1);
    if (group.index() == 1) loss = loss + 5 * parameters[1].value.sum();
    sync.begin(parameters, "0");
    loss.backward();
    sync.finish(parameters, "0", false);
    EXPECT_TRUE(at::equal(parameters[0].value.grad(), at::full({2}, 6, at::kDouble)));
    EXPECT_TRUE(at::equal(parameters[1].value.grad(), at::full({2}, 5, at::kDouble)));
    EXPECT_FALSE(parameters[2].value.grad().defined());
    EXPECT_EQ(sync.bytes(), 2 * 2 * 8);
  });
}

TEST(GradientSync, WithOwnersEachGetsTheGradientsOfItsOwnOnly) {
  const Batch batch = batch_of(7);
  const auto expected = gradients_in_one_process(batch);
  const std::vector<int> owners = {2, 0, 1, 0, 0, 1};
  std::array<int64_t, 3> sent{};
  int64_t bytes = 0;
  test::on_ranks(3, [&](RankGroup& group) {
    const auto net = fresh_net();
    const Parameters parameters = parameters_of(*net);
    GradientSync::Options options{.bucket = 100};
    for (size_t i = 0; i < parameters.size(); ++i) options.owners[parameters[i].name] = owners[i];
    GradientSync sync(group, options);
    backward_of_rank(sync, *net, batch, group.index(), 3, 1);
    sync.finish(parameters, "0", false);
    for (size_t i = 0; i < parameters.size(); ++i) {
      const Tensor& gradient = parameters[i].value.grad();
      ASSERT_EQ(gradient.defined(), owners[i] == group.index()) << i;
      if (gradient.defined()) {
        EXPECT_TRUE(at::allclose(gradient, expected[i], 1e-10, 1e-12));
      }
    }
    sent[static_cast<size_t>(group.index())] = group.links.traffic()["gradients"].bytes;
    if (group.index() == 0) bytes = sync.bytes();
  });
  EXPECT_EQ(bytes, 8 * (3 * 8 + 8 + 8 * 5 + 5 + 5 + 1));
  EXPECT_EQ(sent[0] + sent[1] + sent[2], (3 - 1) * bytes) << "(R-1)/R P each, on average";
}

TEST(GradientSync, SendsTwiceItsBytesLessAShare) {
  for (int ranks : {2, 3, 4}) {
    std::vector<int64_t> sent(static_cast<size_t>(ranks));
    test::on_ranks(ranks, [&](RankGroup& group) {
      const auto net = fresh_net();
      GradientSync sync(group, {.bucket = 150});
      backward_of_rank(sync, *net, batch_of(8), group.index(), ranks, 1);
      sync.finish(parameters_of(*net), "0", false);
      sent[static_cast<size_t>(group.index())] = group.links.traffic()["gradients"].bytes;
    });
    const int64_t bytes = 8 * (3 * 8 + 8 + 8 * 5 + 5 + 5 + 1);
    int64_t all = 0;
    for (int64_t each : sent) {
      all += each;
      EXPECT_NEAR(static_cast<double>(each), 2.0 * (ranks - 1) / ranks * static_cast<double>(bytes), 3 * 2 * 8 * ranks);
    }
    EXPECT_EQ(all, 2 * (ranks - 1) * bytes);
  }
}

TEST(GradientSync, AllSkipWhatOneSkips) {
  for (int skipping : {1, 2})
    test::on_ranks(2, [&](RankGroup& group) {
      const Parameters parameters{{"p", at::ones({2}, at::kDouble).requires_grad_(true), {}}};
      GradientSync sync(group, {});
      parameters[0].value.mutable_grad() = at::ones({2}, at::kDouble);
      EXPECT_TRUE(sync.finish(parameters, "0", group.index() < skipping));
      // Where all wanted so, they see what they would have seen alone.
      EXPECT_TRUE(at::equal(parameters[0].value.grad(), at::full({2}, skipping == 2 ? 2 : 0, at::kDouble)));
    });
}

TEST(GradientSync, FindsGradientsThatGrowAfterTheyLeft) {
  test::on_ranks(1, [](RankGroup& group) {
    const auto net = fresh_net();
    GradientSync sync(group, {.bucket = 1});
    sync.begin(parameters_of(*net), "0");
    loss_of(*net, batch_of(2), 2).backward();
    try {
      loss_of(*net, batch_of(2), 2).backward();
      ADD_FAILURE() << "the second gradient would be lost";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::internal);
      EXPECT_NE(error.message().find("grew after it was sent"), std::string::npos) << error.what();
    }
  });
}

TEST(GradientSync, NamesTheRankThatLeft) {
  const auto outcomes = test::outcomes_of_ranks(2, [](RankGroup& group) {
    group.links.enter({3, "backward"});
    if (group.index() == 1) return;
    const auto net = fresh_net();
    GradientSync sync(group, {});
    backward_of_rank(sync, *net, batch_of(4), 0, 2, 1);
    sync.finish(parameters_of(*net), "0", false);
  });
  try {
    ASSERT_TRUE(outcomes[0]);
    std::rethrow_exception(outcomes[0]);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::comms);
    EXPECT_NE(error.message().find("rank 1"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace etude::gradient_sync_test
