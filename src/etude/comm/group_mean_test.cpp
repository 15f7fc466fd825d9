#include "etude/comm/group_mean.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include <set>

#include "etude/base/error.h"
#include "etude/base/rng.h"
#include "etude/comm/mailbox.h"

namespace etude {
namespace {

using Tensors = std::vector<Tensor>;

/// Every replica's mean; those in `absent` neither send nor receive.
std::vector<Tensors> meet(Mailbox& box, const std::vector<std::vector<int>>& groups, const std::vector<Tensors>& own,
                          const std::set<int>& absent = {}) {
  size_t largest = 1;
  for (const auto& group : groups) largest = std::max(largest, group.size());
  std::vector<GroupMean> sides(own.size());
  std::vector<Tensors> means(own.size());
  for (int round = 0; round < GroupMean::rounds(static_cast<int64_t>(largest)); ++round) {
    for (const auto& group : groups)
      for (int r : group)
        if (!absent.count(r))
          sides[static_cast<size_t>(r)].post(box.peers(r), group, own[static_cast<size_t>(r)], round);
    for (const auto& group : groups)
      for (int r : group)
        if (!absent.count(r))
          means[static_cast<size_t>(r)] =
              sides[static_cast<size_t>(r)].collect(box.peers(r), group, own[static_cast<size_t>(r)], round);
    box.end_round();
  }
  return means;
}

/// A matrix of 5x3 and a vector of 7 for each replica, from keyed noise.
std::vector<Tensors> noise(int replicas, uint64_t seed = 3) {
  std::vector<Tensors> all;
  for (int r = 0; r < replicas; ++r) {
    std::vector<float> x(22);
    Rng(Key{seed, Purpose::test, 0, r}).fill_normal(x);
    const Tensor flat = torch::tensor(x);
    all.push_back({flat.narrow(0, 0, 15).view({5, 3}), flat.narrow(0, 15, 7)});
  }
  return all;
}

TEST(GroupMean, IsTheMeanAndExactWhereAllAreEqual) {
  // 1 + ((3 - 1) + (8 - 1)) / 3 = 4
  EXPECT_EQ(group_mean({torch::tensor({1.0}), torch::tensor({3.0}), torch::tensor({8.0})}).item<double>(), 4.0);
  const Tensor third = torch::full({5}, 0.1f) / 3;
  for (int n : {1, 2, 3, 7, 10})
    EXPECT_TRUE(torch::equal(group_mean(Tensors(static_cast<size_t>(n), third)), third)) << n;
  EXPECT_THROW(group_mean({}), Error);
}

TEST(GroupMean, DoesNotTouchItsMembers) {
  const Tensor a = torch::ones({2}), b = torch::zeros({2});
  group_mean({a, b}).fill_(9);
  group_mean({a}).fill_(9);
  EXPECT_TRUE(torch::equal(a, torch::ones({2})));
  EXPECT_TRUE(torch::equal(b, torch::zeros({2})));
}

TEST(GroupMean, ChunksGiveTheBitsOfTheDirectMean) {
  for (int n : {2, 3, 4, 5, 8, 30}) {  // 30 members share 22 values: some chunks are empty
    Mailbox box(n);
    const auto own = noise(n);
    std::vector<int> group(static_cast<size_t>(n));
    for (int r = 0; r < n; ++r) group[static_cast<size_t>(r)] = r;
    const auto means = meet(box, {group}, own);
    for (size_t i = 0; i < 2; ++i) {
      Tensors members;
      for (const auto& one : own) members.push_back(one[i]);
      const Tensor direct = group_mean(members);
      for (int r = 0; r < n; ++r) {
        ASSERT_EQ(means[static_cast<size_t>(r)].size(), 2u);
        EXPECT_TRUE(torch::equal(means[static_cast<size_t>(r)][i], direct)) << "n = " << n << ", replica " << r;
      }
    }
  }
}

TEST(GroupMean, CostsWhatItSays) {
  // A pair: everything once, in one round.
  Mailbox two(2);
  meet(two, {{0, 1}}, noise(2));
  EXPECT_EQ(two.peers(0).traffic().bytes, 22 * 4);
  EXPECT_EQ(two.peers(0).traffic().messages, 1);
  EXPECT_EQ(two.peers(0).traffic().rounds, 1);
  // n = 4: 2 * 3/4 of everything by all on average, in two rounds.
  Mailbox four(4);
  meet(four, {{0, 1, 2, 3}}, noise(4));
  int64_t bytes = 0;
  for (int r = 0; r < 4; ++r) {
    bytes += four.peers(r).traffic().bytes;
    EXPECT_EQ(four.peers(r).traffic().messages, 6);
    EXPECT_EQ(four.peers(r).traffic().rounds, 2);
  }
  EXPECT_EQ(bytes, 4 * 2 * 3 * 22 * 4 / 4);
}

TEST(GroupMean, GroupsStayApartAndOneIsAlone) {
  Mailbox box(5);
  const auto own = noise(5);
  const auto means = meet(box, {{0, 3}, {1, 4}, {2}}, own);
  EXPECT_TRUE(torch::equal(means[3][0], group_mean({own[0][0], own[3][0]})));
  EXPECT_TRUE(torch::equal(means[1][1], group_mean({own[1][1], own[4][1]})));
  EXPECT_TRUE(torch::equal(means[2][0], own[2][0]));
  EXPECT_EQ(box.peers(2).traffic().messages, 0);
}

TEST(GroupMean, APairWithoutItsOtherHalfIsAGroupOfOne) {
  Mailbox box(2);
  const auto own = noise(2);
  const auto means = meet(box, {{0, 1}}, own, {1});
  EXPECT_TRUE(torch::equal(means[0][0], own[0][0]));
  EXPECT_TRUE(torch::equal(means[0][1], own[0][1]));
}

TEST(GroupMean, ThoseThatAreThereGoOnWithoutOneThatIsNot) {
  Mailbox box(3);
  std::vector<Tensors> own;
  for (double v : {1.0, 2.0, 9.0}) own.push_back({torch::full({6}, v)});
  const auto means = meet(box, {{0, 1, 2}}, own, {1});
  // Chunk 1 (values 2, 3) was the absent one's to reduce: it stays as it is.
  EXPECT_TRUE(torch::equal(means[0][0], torch::tensor({5.f, 5.f, 1.f, 1.f, 5.f, 5.f})));
  EXPECT_TRUE(torch::equal(means[2][0], torch::tensor({5.f, 5.f, 9.f, 9.f, 5.f, 5.f})));
}

TEST(GroupMean, KeepsTypesAndRefusesOtherNets) {
  Mailbox box(2);
  const Tensors own = {torch::ones({2}, torch::kFloat64), torch::ones({3})};
  const auto means = meet(box, {{0, 1}}, {own, own});
  EXPECT_EQ(means[0][0].scalar_type(), torch::kFloat64);
  EXPECT_EQ(means[0][1].scalar_type(), torch::kFloat32);
  try {
    Mailbox other(2);
    meet(other, {{0, 1}}, {{torch::ones({2})}, {torch::ones({3})}});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), Code::comms);
  }
}

}  // namespace
}  // namespace etude
