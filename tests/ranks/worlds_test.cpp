// The same recipe in one process and over ranks: every tensor of the run state, after every step.

#include <gtest/gtest.h>

#include "etude/base/log.h"
#include "tests/ranks/worlds.h"

namespace etude::ranks {
namespace {

/// Four replicas of a small decoder on a text of 53 rows, 12 steps, an outer step after every fourth, all steps saved.
Recipe small(const std::string& folder, const std::string& with, int replicas = 4, const std::string& more = "",
             const std::vector<std::string>& overrides = {}) {
  std::string text;
  for (int i = 0; text.size() < 53 * 8 * 5 / 4; ++i) text += "line " + std::to_string(i * i * 37 % 1001) + " of it\n";
  std::ofstream(folder + "/text.txt", std::ios::binary) << text;
  const std::string recipe = R"toml(
stop = "12 steps"
log = "3 steps"
accumulate = 2
data = { kind = "text", path = ")toml" +
                             folder + R"toml(/text.txt", length = 8, validation = 0.2 }
net.model = { kind = "decoder", vocab = 257, dim = 8, layers = 1, heads = 2, length = 8 }
source = { batch = 4 }
evaluate = { every = "5 steps", batches = 3, batch = 2 }
checkpoint = { every = "1 steps", keep = 100 }
replicas = )toml" + std::to_string(replicas) +
                             R"toml(
[[learner]]
optimizer = { kind = "adam", lr = "warmup(4, cosine(0.02 -> 0.001))" }
clip = 1.0
[[pass]]
objective = { kind = "next_token" }
)toml" + with + more;
  return read_recipe(recipe, "small.toml", {}, "", overrides, full_registry());
}

/// So many that none has done all of them before it hears that another wishes to leave.
const std::vector<std::string> kManySteps = {"stop = \"96 steps\""};

std::string technique(const std::string& lines) { return "[[with]]\n" + lines; }

const std::vector<std::pair<std::string, std::string>> kMeetings = {
    {"noloco", technique("kind = \"noloco\"\nevery = 4")},
    {"two tensors", technique("kind = \"noloco\"\nevery = 4\npath = \"two\"\ngamma = 0.5")},
    {"gamma 0", technique("kind = \"noloco\"\nevery = 4\ngamma = 0.0")},
    {"groups of three", technique("kind = \"noloco\"\nevery = 4\ngroup = 3")},
    {"diloco", technique("kind = \"diloco\"\nevery = 4\nouter = \"nesterov\"")},
    {"pairavg", technique("kind = \"pairavg\"\nevery = 4")},
    {"epidemic", technique("kind = \"epidemic\"\nevery = 4")},
    {"none", technique("kind = \"spread\"")},
};

class Worlds : public ::testing::Test {
 protected:
  void SetUp() override { set_log({.verbosity = Verbosity::quiet}); }
  void TearDown() override { set_log({}); }

  /// Fits over so many ranks in a folder of its own.
  Checkpoints fitted(int ranks, const Recipe& recipe, const std::string& name, const Prepare& prepare = {}) {
    fit_over(ranks, recipe, registry_, folder_.at(name), prepare);
    return Checkpoints(folder_.at(name));
  }

  TestFolder folder_;
  Registry registry_ = full_registry();
};

TEST_F(Worlds, ReplicasOnRanksHaveTheSameBitsAfterEveryStep) {
  for (const auto& [name, with] : kMeetings) {
    const Recipe recipe = small(folder_.at(""), with);
    const Checkpoints alone = fitted(1, recipe, name + "-1");
    ASSERT_EQ(alone.steps().size(), 12u);
    for (const int ranks : {2, 3, 4}) {
      const Checkpoints apart = fitted(ranks, recipe, name + "-" + std::to_string(ranks));
      for (int64_t step = 1; step <= 12; ++step)
        EXPECT_EQ(distance(alone.load(step), apart.load(step)), 0)
            << name << " over " << ranks << " ranks, step " << step;
    }
  }
}

/// More ranks than replicas: gradients are summed in another order. Measured: 5e-7; other processors round otherwise.
TEST_F(Worlds, RanksThatShareAReplicaAgreeToRounding) {
  const std::vector<std::pair<std::string, int>> sharings = {
      {technique("kind = \"data_parallel\"\nranks = 3"), 1},
      {technique("kind = \"data_parallel\"\nshard = \"optimizer\""), 1},
      {technique("kind = \"data_parallel\"\nshard = \"gradients\""), 2},
      {technique("kind = \"noloco\"\nevery = 4"), 2},
      {technique("kind = \"spread\""), 2}};
  for (const auto& [with, replicas] : sharings) {
    const Recipe recipe = small(folder_.at(""), with, replicas);
    const std::string name = std::to_string(stable_hash(with));
    const Checkpoints alone = fitted(1, recipe, name + "-1");
    for (const int ranks : {3, 5}) {
      const Checkpoints apart = fitted(ranks, recipe, name + "-" + std::to_string(ranks));
      for (int64_t step = 1; step <= 12; ++step)
        EXPECT_LT(distance(alone.load(step), apart.load(step), 5e-6), 5e-6) << with << ranks << " ranks, step " << step;
    }
  }
}

/// Begun on 4 ranks, gone on with 2, 1 and 3: a prime number of rows, micro-batches, more than an epoch.
TEST_F(Worlds, TheNumberOfRanksMayChange) {
  const Recipe recipe = small(folder_.at(""), kMeetings.front().second, 4, "", kManySteps);
  const Checkpoints straight = fitted(1, recipe, "straight");
  int64_t done = 0;
  for (const int ranks : {4, 2, 1, 3}) {
    fit_over(ranks, recipe, registry_, folder_.at("elastic"), [&](int rank, Surroundings& around) {
      if (rank != ranks - 1) return;
      around.interrupted = [calls = 0]() mutable { return ++calls == 3; };
    });
    const int64_t reached = Checkpoints(folder_.at("elastic")).steps().back();
    EXPECT_GT(reached, done) << ranks;
    done = reached;
  }
  fit_over(2, recipe, registry_, folder_.at("elastic"));
  for (const int64_t step : {1, 4, 8, 12, 95, 96})
    EXPECT_EQ(distance(straight.load(step), Checkpoints(folder_.at("elastic")).load(step)), 0) << step;
}

/// A checkpoint says nothing of ranks, nor of who kept which part of the optimizer's state.
TEST_F(Worlds, ASharedReplicaGoesOnWithOtherRanks) {
  const Recipe recipe = small(folder_.at(""), technique("kind = \"data_parallel\"\nshard = \"gradients\""), 1);
  const Checkpoints straight = fitted(1, recipe, "straight");
  for (const int ranks : {3, 2, 1, 4})
    fit_over(ranks, recipe, registry_, folder_.at("elastic"), [&](int rank, Surroundings& around) {
      if (rank == ranks - 1 && ranks < 4) around.interrupted = [calls = 0]() mutable { return ++calls == 3; };
    });
  const Checkpoints elastic(folder_.at("elastic"));
  ASSERT_EQ(elastic.steps().back(), 12);
  for (const int64_t step : {1, 4, 8, 12})
    EXPECT_LT(distance(straight.load(step), elastic.load(step), 5e-6), 5e-6) << step;
}

TEST_F(Worlds, AllLeaveBeforeTheSameStep) {
  const Recipe recipe = small(folder_.at(""), kMeetings.front().second, 4, "", kManySteps);
  const std::vector<Fit> fits = fit_over(4, recipe, registry_, folder_.at("left"), [&](int rank, Surroundings& around) {
    if (rank == 2) around.interrupted = [calls = 0]() mutable { return ++calls == 5; };
  });
  for (const Fit& one : fits) {
    EXPECT_FALSE(one.finished);
    EXPECT_EQ(one.counters.step(), fits.front().counters.step());
  }
  EXPECT_EQ(Checkpoints(folder_.at("left")).steps().back(), fits.front().counters.step());
}

/// A rank that dies takes nobody along: its partner is alone, whoever is lowest writes, all others end.
TEST_F(Worlds, OthersFinishWithoutARankThatDied) {
  const Recipe recipe = small(folder_.at(""), kMeetings.front().second);
  for (const int victim : {0, 1, 3}) {
    std::vector<std::exception_ptr> failures;
    const std::string directory = folder_.at("died-" + std::to_string(victim));
    const std::vector<Fit> fits = fit_over(
        4, recipe, registry_, directory,
        [&](int rank, Surroundings& around) {
          if (rank == victim)
            around.interrupted = [calls = 0]() mutable -> bool {
              if (++calls == 5) throw std::runtime_error("dies here");
              return false;
            };
        },
        60, &failures);
    int led = 0;
    for (int rank = 0; rank < 4; ++rank) {
      EXPECT_EQ(failures[static_cast<size_t>(rank)] != nullptr, rank == victim) << rank;
      if (rank == victim) continue;
      const Fit& one = fits[static_cast<size_t>(rank)];
      EXPECT_TRUE(one.finished);
      EXPECT_EQ(one.counters.step(), 12);
      led += one.led ? 1 : 0;
      if (one.led) {
        EXPECT_EQ(rank, victim == 0 ? 1 : 0);
        EXPECT_FALSE(one.artifact.tensors.empty());
        EXPECT_TRUE(std::isfinite(one.values.at("valid/loss")));
      }
    }
    EXPECT_EQ(led, 1);
    // Whoever goes on has all replicas again.
    const std::optional<Snapshot> last = Checkpoints(directory).load_latest();
    ASSERT_TRUE(last);
    EXPECT_EQ(last->step, 12);
    EXPECT_TRUE(last->host.at("replicas").at(static_cast<size_t>(victim)).is_null());
    Recipe longer = small(folder_.at(""), kMeetings.front().second);
    longer.options.stop = Count{16, Unit::steps};
    const std::vector<Fit> more = fit_over(1, longer, registry_, directory);
    EXPECT_TRUE(more.front().finished);
    EXPECT_FALSE(Checkpoints(directory).load_latest()->host.at("replicas").at(static_cast<size_t>(victim)).is_null());
  }
}

/// Ranks that share a replica can't go on without each other, and say whom they miss.
TEST_F(Worlds, ASharedReplicaStopsWhenARankDies) {
  const Recipe recipe = small(folder_.at(""), technique("kind = \"data_parallel\"\nranks = 3"), 1);
  std::vector<std::exception_ptr> failures;
  fit_over(
      3, recipe, registry_, folder_.at("shared"),
      [&](int rank, Surroundings& around) {
        if (rank == 1)
          around.interrupted = [calls = 0]() mutable -> bool {
            if (++calls == 5) throw std::runtime_error("dies here");
            return false;
          };
      },
      60, &failures);
  for (const int rank : {0, 2}) {
    ASSERT_TRUE(failures[static_cast<size_t>(rank)]) << rank;
    try {
      std::rethrow_exception(failures[static_cast<size_t>(rank)]);
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::comms) << error.what();
      EXPECT_NE(error.message().find("rank "), std::string::npos) << error.what();
      EXPECT_NE(error.message().find("step "), std::string::npos) << error.what();
    }
  }
  const std::optional<Snapshot> last = Checkpoints(folder_.at("shared")).load_latest();
  ASSERT_TRUE(last);
  EXPECT_GE(last->step, 3);
}

/// What ranks can't agree on without waiting for each other is refused.
TEST_F(Worlds, RefusesCountersThatOnlyOneRankKnows) {
  Recipe recipe = small(folder_.at(""), kMeetings.front().second);
  recipe.options.stop = Count{1e6, Unit::bytes};
  std::vector<std::exception_ptr> failures;
  fit_over(2, recipe, registry_, folder_.at("bytes"), {}, 60, &failures);
  ASSERT_TRUE(failures.front());
  expect_error([&] { std::rethrow_exception(failures.front()); }, Code::config, "can't be told by ranks", "train");
}

/// In noloco replicas meet in pairs and nowhere else; the rest are words with who leads, which nobody waits for.
TEST_F(Worlds, NoCollectiveInNoLoCo) {
  const Recipe recipe = small(folder_.at(""), kMeetings.front().second);
  std::mutex mutex;
  std::map<std::string, int64_t> messages;
  fit_over(4, recipe, registry_, folder_.at("traced"), [&](int, Surroundings& around) {
    around.interrupted = [&, links = around.links, last = std::map<std::string, Traffic>()]() mutable {
      const std::lock_guard lock(mutex);
      for (const auto& [operation, traffic] : links->traffic()) {
        messages[operation] += traffic.messages - last[operation].messages;
        last[operation] = traffic;
      }
      return false;
    };
  });
  std::set<std::string> operations;
  for (const auto& [operation, count] : messages) operations.insert(operation);
  EXPECT_EQ(operations, (std::set<std::string>{"broadcast", "exchange", "report", "settled"}));
  EXPECT_EQ(messages["exchange"], 3 * 4) << "three outer steps, one message for each of four replicas";
  EXPECT_EQ(messages["broadcast"], 3) << "who leads tells the others once";
}

}  // namespace
}  // namespace etude::ranks
