#include "etude/comm/rehearsal.h"

#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <csignal>
#include <functional>
#include <set>

#include "etude/base/testing.h"

namespace etude {
namespace rehearsal_test {

double seconds_of(const std::function<void()>& call) {
  const auto begin = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

/// What became of a process that did this, and how often it was stopped on the way.
struct Fate {
  int how = 0, stops = 0;
};
Fate fate_of(const std::function<void()>& call) {
  const pid_t child = fork();
  if (child == 0) {
    call();
    _exit(::testing::Test::HasFailure() ? 1 : 0);
  }
  Fate fate;
  while (waitpid(child, &fate.how, WUNTRACED) == child && WIFSTOPPED(fate.how)) ++fate.stops;
  return fate;
}

TEST(Rehearsal, ReadsWhatItWrites) {
  for (const char* text :
       {"rank:0:kill@0/rendezvous", "rank:3:stop=2.5@17/forward", "rank:1:delay=0.25@*/exchange",
        "rank:2:drop@4/bucket", "rank:2:shape@*/broadcast", "rank:1:slow=10", "net:latency=20", "net:latency=20~0.5",
        "chaos:7", "rank:0:kill@3/route", "rank:1:kill@2/save,rank:0:slow=2,net:latency=1.5~0.25,chaos:1,chaos:2"})
    EXPECT_EQ(Rehearsal::parse(text).text(), text);
  EXPECT_EQ(Rehearsal{}.text(), "");
  const RankFault fault = Rehearsal::parse("rank:3:stop=2.5@17/forward").faults().at(0);
  EXPECT_EQ(fault, (RankFault{3, RankFault::Kind::stop, 2.5, 17, "forward"}));
}

TEST(Rehearsal, WrongTextsAreNamed) {
  const auto refused = [](const std::string& text, std::string_view why, std::string_view hint) {
    expect_error([&] { Rehearsal::parse(text); }, Code::usage, why, "--inject", hint);
  };
  refused("", "none of the forms", "rank:R:FAULT@STEP/PHASE");
  refused("kill", "none of the forms", "chaos:SEED");
  refused("ranks:1:kill@0/save", "'ranks:1:kill@0/save'", "'rank'");
  refused("rank:1:kill@0/save,", "none of the forms", "rank:R");
  refused("rank:x:kill@0/save", "'x' is no rank", "from 0");
  refused("rank:-1:kill@0/save", "'-1' is no rank", "from 0");
  refused("rank:1", "what happens to rank 1 is missing", "FAULT");
  refused("rank:1:kil@0/save", "unknown fault 'kil'", "'kill'");
  refused("rank:1:kill", "step and phase are missing", "@3/exchange");
  refused("rank:1:kill@3", "phase is missing", "@3/exchange");
  refused("rank:1:kill@x/save", "'x' is no step", "from 0");
  refused("rank:1:kill@3/exchnge", "no phase 'exchnge'", "'exchange'");
  refused("rank:1:kill@3/", "no phase ''", "rendezvous");
  refused("rank:1:kill=3@3/save", "kill takes no number", "FAULT");
  refused("rank:1:stop@3/save", "stop needs seconds", "stop=5");
  refused("rank:1:stop=0@3/save", "'0' is no number of seconds", "3600");
  refused("rank:1:delay=1e9@3/save", "'1e9' is no number of seconds", "3600");
  refused("rank:1:slow", "slow needs a factor", "slow=10");
  refused("rank:1:slow=0.5", "'0.5' is no factor", "1 to 1000");
  refused("rank:1:slow=2@3/save", "slow has no step", "all the time");
  refused("net:bandwidth=3", "latency", "MILLISECONDS");
  refused("net:latency=x", "'x' is no number of milliseconds", "60000");
  refused("net:latency=5~9", "'9' is no spread", "0 to 3");
  refused("chaos:-1", "'-1' is no seed", "from 0");
}

TEST(Rehearsal, ConcernsOneRank) {
  const Rehearsal all = Rehearsal::parse("rank:1:slow=4,rank:0:drop@2/exchange,rank:1:shape@*/bucket,net:latency=5");
  EXPECT_EQ(all.for_rank(1).text(), "rank:1:slow=4,rank:1:shape@*/bucket,net:latency=5");
  EXPECT_EQ(all.for_rank(2).text(), "net:latency=5");
  const Rehearsal zero = all.for_rank(0), one = all.for_rank(1);
  EXPECT_TRUE(zero.drops(2, "exchange"));
  EXPECT_FALSE(zero.drops(3, "exchange"));
  EXPECT_FALSE(zero.drops(2, "bucket"));
  EXPECT_FALSE(zero.misshapes(2, "exchange"));
  EXPECT_FALSE(one.drops(2, "exchange"));
  EXPECT_TRUE(one.misshapes(7, "bucket"));
  EXPECT_EQ(one.slowness(), 4);
  EXPECT_EQ(zero.slowness(), 1);
}

TEST(Rehearsal, ARankThatThereIsntIsRefused) {
  const Rehearsal all = Rehearsal::parse("rank:4:kill@0/save");
  expect_error([&] { all.resolved(4, 10); }, Code::usage, "no rank 4", "--inject", "0 to 3");
  expect_error([&] { all.resolved(1, 10); }, Code::usage, "no rank 4", "--inject", "--nproc");
  EXPECT_EQ(all.resolved(5, std::nullopt).text(), all.text());
}

TEST(Rehearsal, ChaosIsReplayable) {
  std::set<std::string> texts;
  std::set<RankFault::Kind> kinds;
  std::set<std::string> phases;
  for (int seed = 0; seed < 200; ++seed) {
    const Rehearsal chaos = Rehearsal::parse("chaos:" + std::to_string(seed));
    EXPECT_TRUE(chaos.has_chaos());
    const Rehearsal drawn = chaos.resolved(3, 8);
    EXPECT_FALSE(drawn.has_chaos());
    EXPECT_EQ(drawn.text(), chaos.resolved(3, 8).text());
    EXPECT_EQ(Rehearsal::parse(drawn.text()).faults(), drawn.faults());
    texts.insert(drawn.text());
    EXPECT_GE(drawn.faults().size(), 1u);
    EXPECT_LE(drawn.faults().size(), 3u);
    std::set<int> killed;
    for (const RankFault& fault : drawn.faults()) {
      EXPECT_LT(fault.rank, 3);
      EXPECT_LE(fault.step, 8);
      kinds.insert(fault.kind);
      phases.insert(fault.phase);
      if (fault.kind == RankFault::Kind::kill) killed.insert(fault.rank);
    }
    EXPECT_LT(killed.size(), 3u) << "nobody would be left: " << drawn.text();
    const Rehearsal alone = chaos.resolved(1, 8);
    for (const RankFault& fault : alone.faults()) EXPECT_NE(fault.kind, RankFault::Kind::kill);
  }
  EXPECT_GT(texts.size(), 190u);
  EXPECT_EQ(kinds.size(), 5u);
  EXPECT_EQ(phases.size(), 8u);
  expect_error([] { Rehearsal::parse("chaos:7").resolved(2, std::nullopt); }, Code::usage, "chaos:7", "--inject",
               "stop=");
}

TEST(Rehearsal, LatenciesAreKeyedAndLognormal) {
  const Rehearsal net = Rehearsal::parse("net:latency=20~0.5");
  EXPECT_EQ(net.latency(0, 1, "exchange/3"), net.for_rank(1).latency(0, 1, "exchange/3"));
  EXPECT_NE(net.latency(0, 1, "exchange/3"), net.latency(1, 0, "exchange/3"));
  EXPECT_NE(net.latency(0, 1, "exchange/3"), net.latency(0, 1, "exchange/4"));
  EXPECT_EQ(Rehearsal::parse("net:latency=20").latency(0, 1, "a"), 0.02);
  EXPECT_EQ(Rehearsal{}.latency(0, 1, "a"), 0);
  const int draws = 4000;
  double sum = 0, squares = 0;
  for (int i = 0; i < draws; ++i) {
    const double log = std::log(net.latency(0, 1, "m/" + std::to_string(i)) / 0.02);
    sum += log;
    squares += log * log;
  }
  EXPECT_NEAR(sum / draws, 0, 0.5 * 4 / std::sqrt(draws));
  EXPECT_NEAR(std::sqrt(squares / draws), 0.5, 0.03);
}

TEST(Rehearsal, KillsAtItsStepAndPhaseOnly) {
  const Rehearsal all = Rehearsal::parse("rank:1:kill@3/save");
  const auto lives = [&](int rank, int64_t step, const char* phase) {
    return fate_of([&] { all.for_rank(rank).at(step, phase); });
  };
  for (const Fate& fate : {lives(0, 3, "save"), lives(1, 2, "save"), lives(1, 3, "exchange")})
    EXPECT_TRUE(WIFEXITED(fate.how));
  const Fate dead = lives(1, 3, "save");
  ASSERT_TRUE(WIFSIGNALED(dead.how));
  EXPECT_EQ(WTERMSIG(dead.how), SIGKILL);
}

TEST(Rehearsal, IsStoppedOnceAStepAndWokenLater) {
  const Fate fate = fate_of([] {
    Rehearsal own = Rehearsal::parse("rank:0:stop=0.2@*/forward").for_rank(0);
    const double stopped = seconds_of([&] { own.at(0, "forward"); });
    EXPECT_GE(stopped, 0.2);
    own.at(0, "forward");
    own.at(1, "forward");
    EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "the waker was left";
  });
  EXPECT_EQ(fate.stops, 2);
  EXPECT_TRUE(WIFEXITED(fate.how) && WEXITSTATUS(fate.how) == 0);
}

TEST(Rehearsal, WhoIsKilledWhileStoppedLeavesNobodyThatHoldsItsConnections) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t child = fork();
  if (child == 0) {
    Rehearsal::parse("rank:0:stop=3600@0/forward").for_rank(0).at(0, "forward");
    _exit(0);
  }
  close(ends[1]);
  int how = 0;
  ASSERT_EQ(waitpid(child, &how, WUNTRACED), child);
  ASSERT_TRUE(WIFSTOPPED(how));
  kill(child, SIGKILL);
  ASSERT_EQ(waitpid(child, &how, 0), child);
  pollfd end = {ends[0], POLLIN, 0};
  ASSERT_EQ(poll(&end, 1, 5000), 1);
  EXPECT_NE(end.revents & POLLHUP, 0);
  close(ends[0]);
}

TEST(Rehearsal, SleepsForDelaysAndSlowness) {
  Rehearsal own = Rehearsal::parse("rank:0:delay=0.05@2/exchange,rank:0:slow=3").for_rank(0);
  EXPECT_GE(seconds_of([&] { own.at(2, "exchange"); }), 0.05);
  EXPECT_GE(seconds_of([&] { own.slow_down(0.02); }), 0.04);
}

TEST(Rehearsal, OneIsSetForTheProcess) {
  EXPECT_EQ(rehearsal().text(), "");
  rehearse(Rehearsal::parse("rank:0:drop@1/exchange"));
  EXPECT_TRUE(rehearsal().drops(1, "exchange"));
  rehearse({});
  EXPECT_FALSE(rehearsal().drops(1, "exchange"));
}

}  // namespace rehearsal_test
}  // namespace etude
