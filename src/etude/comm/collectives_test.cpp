#include "etude/comm/collectives.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include <chrono>
#include <mutex>
#include <optional>

#include "etude/base/rng.h"
#include "etude/comm/testing.h"

namespace etude {
namespace {

/// What a rank holds: normal values that depend on nothing but the arguments.
Tensor values_of(int rank, std::vector<int64_t> shape, at::ScalarType type = at::kDouble) {
  const Tensor values = at::empty(shape, at::kDouble);
  std::vector<double> drawn(static_cast<size_t>(values.numel()));
  Rng(Key{3, Purpose::test, 0, rank}).fill_normal(drawn);
  return values.copy_(at::tensor(drawn, at::kDouble).view(shape)).to(type);
}

/// A result of each rank.
std::vector<Tensor> each(int ranks, const std::function<Tensor(RankGroup&)>& body) {
  std::vector<Tensor> results(static_cast<size_t>(ranks));
  std::mutex mutex;
  test::on_ranks(ranks, [&](RankGroup& group) {
    const Tensor result = body(group);
    const std::lock_guard lock(mutex);
    results[static_cast<size_t>(group.index())] = result;
  });
  return results;
}

Tensor sum_in_double(int ranks, std::vector<int64_t> shape, at::ScalarType type) {
  std::vector<Tensor> all;
  for (int rank = 0; rank < ranks; ++rank) all.push_back(values_of(rank, shape, type).to(at::kDouble));
  return at::stack(all).sum(0);
}

TEST(AllReduce, IsTheSumWithTheSameBitsEverywhere) {
  const std::vector<std::pair<at::ScalarType, double>> types = {
      {at::kDouble, 1e-15}, {at::kFloat, 1e-6}, {at::kBFloat16, 1.0 / 256}};
  for (const auto& [type, precision] : types)
    for (int ranks = 1; ranks <= 5; ++ranks)
      for (const std::vector<int64_t>& shape : {std::vector<int64_t>{17, 3}, {2}, {}, {0}}) {
        const auto all = each(ranks, [&, type = type](RankGroup& group) {
          return all_reduce(group, "sum", values_of(group.links.rank(), shape, type));
        });
        const Tensor expected = sum_in_double(ranks, shape, type);
        for (const Tensor& result : all) {
          EXPECT_EQ(result.scalar_type(), type);
          EXPECT_TRUE(at::equal(result, all.front())) << ranks << " ranks, " << type;
          EXPECT_TRUE(at::allclose(result.to(at::kDouble), expected, precision, 4 * precision)) << ranks << type;
        }
      }
}

TEST(AllReduce, AddsInTheOrderOfRanks) {
  // (1e20 + -1e20) + 1 = 1, while 1e20 + (-1e20 + 1) = 0. The last rank is there first.
  for (int repetition = 0; repetition < 5; ++repetition)
    for (const Tensor& result : each(3, [](RankGroup& group) {
           const std::vector<double> held = {1e20, -1e20, 1};
           std::this_thread::sleep_for(std::chrono::milliseconds(10 * (2 - group.index())));
           return all_reduce(group, "sum", at::full({7}, held[static_cast<size_t>(group.index())], at::kDouble));
         }))
      EXPECT_TRUE(at::equal(result, at::ones({7}, at::kDouble)));
}

TEST(AllReduce, RoundsASumOfBfloat16Once) {
  // Next to 256, bfloat16 has only every second integer: 256 + 1 would stay 256.
  for (const Tensor& result : each(4, [](RankGroup& group) {
         return all_reduce(group, "sum", at::full({5}, group.index() == 0 ? 256 : 1, at::kBFloat16));
       }))
    EXPECT_TRUE(at::equal(result, at::full({5}, 260, at::kBFloat16)));
}

TEST(AllReduce, TravelsInTwoPhasesThatNeverWait) {
  // One thread is both ranks: anything that waited would wait for ever, or until the deadline.
  const auto links = links_in_memory(2, 0.05);
  RankGroup first{*links[0], {0, 1}}, second{*links[1], {0, 1}};
  AllReduce a(first, "sum", values_of(0, {5}));
  a.advance();
  EXPECT_EQ(links[0]->traffic()["sum"].messages, 1);
  AllReduce b(second, "sum", values_of(1, {5}));
  b.advance();
  a.advance();
  a.advance();
  EXPECT_EQ(links[0]->traffic()["sum"].messages, 2);
  EXPECT_EQ(links[0]->traffic()["sum"].rounds, 2) << "parts, then sums";
  EXPECT_TRUE(at::equal(a.finish(), values_of(0, {5}) + values_of(1, {5})));
  EXPECT_TRUE(at::equal(b.finish(), values_of(0, {5}) + values_of(1, {5})));
}

TEST(AllReduce, SendsTwiceItsValuesLessAShare) {
  for (int ranks : {1, 2, 3, 4}) {
    const int64_t numel = 12 * 5;
    test::on_ranks(ranks, [&](RankGroup& group) {
      all_reduce(group, "sum", values_of(0, {numel}, at::kFloat));
      EXPECT_EQ(group.links.traffic()["sum"].bytes, 2 * (ranks - 1) * numel * 4 / ranks);
      EXPECT_EQ(group.links.traffic()["sum"].messages, 2 * (ranks - 1));
    });
  }
}

TEST(ReduceScatter, GivesEachRankItsPart) {
  const std::vector<int64_t> cuts = {0, 4, 4, 11};
  const auto parts = each(3, [&](RankGroup& group) {
    return ReduceScatter(group, "parts", values_of(group.index(), {11}), cuts).finish();
  });
  const Tensor sum = sum_in_double(3, {11}, at::kDouble);
  for (size_t k = 0; k < 3; ++k)
    EXPECT_TRUE(at::allclose(parts[k], sum.slice(0, cuts[k], cuts[k + 1]), 1e-15, 1e-15)) << k;
}

TEST(Reduce, GoesToItsOwnerOnly) {
  for (int owner = 0; owner < 3; ++owner) {
    const auto all = each(3, [&](RankGroup& group) {
      const Tensor sum = reduce(group, "sum", values_of(group.index(), {2, 3}), owner);
      EXPECT_EQ(group.links.traffic()["sum"].bytes, group.index() == owner ? 0 : 6 * 8);
      return sum;
    });
    for (int rank = 0; rank < 3; ++rank) {
      const Tensor& sum = all[static_cast<size_t>(rank)];
      ASSERT_EQ(sum.defined(), rank == owner);
      if (sum.defined()) {
        EXPECT_TRUE(at::allclose(sum, sum_in_double(3, {2, 3}, at::kDouble), 1e-15, 1e-15));
      }
    }
  }
}

TEST(AllGather, KeepsTheOrderOfRanksAndAllShapes) {
  test::on_ranks(3, [](RankGroup& group) {
    const int rank = group.index();
    const auto all = all_gather(group, "parts", {values_of(rank, {rank}), at::full({}, rank, at::kLong)});
    ASSERT_EQ(all.size(), 3u);
    for (int k = 0; k < 3; ++k) {
      const auto& theirs = all[static_cast<size_t>(k)];
      ASSERT_EQ(theirs.size(), 2u);
      EXPECT_TRUE(at::equal(theirs[0], values_of(k, {k})));
      EXPECT_EQ(theirs[1].item<int64_t>(), k);
    }
  });
}

TEST(Broadcast, IsWhatTheRootHolds) {
  for (int root = 0; root < 3; ++root)
    test::on_ranks(3, [&](RankGroup& group) {
      const auto got = broadcast(group, "values", {values_of(group.index(), {4})}, root);
      ASSERT_EQ(got.size(), 1u);
      EXPECT_TRUE(at::equal(got[0], values_of(root, {4})));
    });
}

TEST(Collectives, WorkAmongSomeOfTheRanks) {
  test::on_ranks(4, [](RankGroup& all) {
    if (all.index() % 2 == 0) return;
    RankGroup odd{all.links, {1, 3}};
    EXPECT_TRUE(at::equal(all_reduce(odd, "sum", values_of(all.index(), {5})), values_of(1, {5}) + values_of(3, {5})));
  });
}

// ---- gather with gradient ---------------------------------------------------------------------------

/// A loss of a rank that couples its rows with those of all: different on each rank.
Tensor coupled_loss(int rank, const Tensor& all_rows, const Tensor& own_rows) {
  return (at::matmul(all_rows, all_rows.t()).pow(2).sum() * (rank + 1) +
          at::matmul(own_rows, all_rows.t()).tanh().sum());
}

TEST(AllGatherRows, GradientsAreThoseOfTheSumOfAllLosses) {
  for (const std::vector<int64_t>& counts : {std::vector<int64_t>{3}, {2, 1}, {1, 0, 4}}) {
    const int ranks = static_cast<int>(counts.size());
    const auto rows_of = [&](int rank) { return values_of(rank, {counts[static_cast<size_t>(rank)], 3}) * 0.5; };
    const auto gradients = each(ranks, [&](RankGroup& group) {
      const Tensor rows = rows_of(group.index()).requires_grad_(true);
      const Tensor all = all_gather_rows(group, "rows", rows);
      coupled_loss(group.index(), all, rows).backward();
      return rows.grad();
    });
    // Central differences of the sum of all ranks' losses, in one process.
    const auto total = [&](const std::vector<Tensor>& rows) {
      const Tensor all = at::cat(rows);
      double sum = 0;
      for (int rank = 0; rank < ranks; ++rank)
        sum += coupled_loss(rank, all, rows[static_cast<size_t>(rank)]).item<double>();
      return sum;
    };
    const double h = 1e-5;
    for (int rank = 0; rank < ranks; ++rank) {
      const Tensor& gradient = gradients[static_cast<size_t>(rank)];
      ASSERT_EQ(gradient.size(0), counts[static_cast<size_t>(rank)]);
      for (int64_t i = 0; i < gradient.numel(); ++i) {
        const auto moved = [&](double by) {
          std::vector<Tensor> rows;
          for (int k = 0; k < ranks; ++k) rows.push_back(rows_of(k));
          rows[static_cast<size_t>(rank)].view({-1})[i] += by;
          return total(rows);
        };
        EXPECT_NEAR(gradient.view({-1})[i].item<double>(), (moved(h) - moved(-h)) / (2 * h), 1e-7) << rank << " " << i;
      }
    }
  }
}

TEST(AllGatherRows, RefusesRowsOfAnotherShape) {
  const auto outcomes = test::outcomes_of_ranks(2, [](RankGroup& group) {
    all_gather_rows(group, "rows", at::zeros({2, 3 + group.index()}));
  });
  for (const auto& outcome : outcomes) {
    try {
      ASSERT_TRUE(outcome);
      std::rethrow_exception(outcome);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::comms);
      EXPECT_EQ(error.where(), "rows");
    }
  }
}

// ---- ranks that are missing -------------------------------------------------------------------------

TEST(Collectives, NameTheRankThatLeft) {
  const std::vector<std::function<void(RankGroup&)>> calls = {
      [](RankGroup& group) { all_reduce(group, "x", at::ones({9})); },
      [](RankGroup& group) { reduce(group, "x", at::ones({9}), 0); },
      [](RankGroup& group) { all_gather(group, "x", {at::ones({9})}); },
      [](RankGroup& group) { broadcast(group, "x", {at::ones({9})}, 2); },
      [](RankGroup& group) { all_gather_rows(group, "x", at::ones({9})); },
  };
  for (size_t i = 0; i < calls.size(); ++i) {
    const auto outcomes = test::outcomes_of_ranks(3, [&](RankGroup& group) {
      group.links.enter({4, "forward"});
      if (group.index() < 2) calls[i](group);
    });
    try {
      ASSERT_TRUE(outcomes[0]) << i;
      std::rethrow_exception(outcomes[0]);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::comms);
      // Rank 1 may have given up before this one.
      EXPECT_NE(error.message().find(" is gone, last heard of in step 5, forward"), std::string::npos) << error.what();
    }
  }
}

TEST(Collectives, NameTheRankThatMissesTheDeadline) {
  // Rank 1 stays, but never calls.
  const auto links = links_in_memory(2, 0.05);
  RankGroup group{*links[0], {0, 1}};
  links[1]->enter({7, "backward"});
  try {
    all_reduce(group, "x", at::ones({9}));
    FAIL() << "nobody answered";
  } catch (const Error& error) {
    EXPECT_NE(error.message().find("rank 1 does not answer, last heard of in step 8, backward"), std::string::npos)
        << error.what();
  }
}

TEST(Collectives, RefuseOtherValuesThanTheirOwn) {
  for (const Tensor& other : {at::zeros({6}), at::zeros({9}, at::kDouble)}) {
    const auto links = links_in_memory(2, 0.05);
    RankGroup first{*links[0], {0, 1}}, second{*links[1], {0, 1}};
    AllReduce theirs(second, "x", other);
    AllReduce own(first, "x", at::zeros({9}));
    try {
      own.finish();
      FAIL() << "they don't fit";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::comms);
      EXPECT_NE(error.message().find("rank 1 sent other values"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace etude
