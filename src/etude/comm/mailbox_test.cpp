#include "etude/comm/mailbox.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include "etude/base/error.h"

namespace etude {
namespace {

TEST(Mailbox, MessagesAreCopiesAndCounted) {
  Mailbox box(3);
  const Tensor x = torch::ones({4});
  box.peers(0).send(2, "a", {x, torch::zeros({2}, torch::kFloat64)});
  box.peers(1).send(1, "a", {x});
  x.fill_(7);
  const auto got = box.peers(2).receive(0, "a");
  ASSERT_EQ(got.size(), 2u);
  EXPECT_TRUE(torch::equal(got[0], torch::ones({4})));
  EXPECT_EQ(box.peers(1).receive(1, "a").size(), 1u);
  box.end_round();
  EXPECT_EQ(box.peers(0).traffic().bytes, 4 * 4 + 2 * 8);
  EXPECT_EQ(box.peers(0).traffic().messages, 1);
  EXPECT_EQ(box.peers(0).traffic().rounds, 1);
  EXPECT_EQ(box.peers(1).traffic().messages, 0) << "a message to oneself costs nothing";
  EXPECT_EQ(box.peers(1).traffic().rounds, 0);
}

TEST(Mailbox, WhoIsNotThereGivesNothing) {
  Mailbox box(2);
  EXPECT_TRUE(box.peers(0).receive(1, "a").empty());
  box.peers(0).send(1, "a", {torch::ones({1})});
  EXPECT_TRUE(box.peers(1).receive(0, "b").empty());
  box.end_round();
  EXPECT_TRUE(box.peers(1).receive(0, "a").empty()) << "a message lives for one round";
}

TEST(Mailbox, TwoMessagesUnderOneTagAreABug) {
  Mailbox box(2);
  box.peers(0).send(1, "a", {torch::ones({1})});
  EXPECT_THROW(box.peers(0).send(1, "a", {torch::ones({1})}), Error);
  EXPECT_THROW(box.peers(0).send(2, "a", {}), Error);
}

}  // namespace
}  // namespace etude
