// Links over c10d's gloo and their coordinator, each rank a thread with sockets of its own. What needs processes that
// die stands in tests/ranks.

#include "etude/comm/process_links.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <thread>

#include "etude/base/log.h"
#include "etude/base/rng.h"
#include "etude/base/testing.h"
#include "etude/comm/coordinator_client.h"

namespace etude {
namespace {

constexpr const char* kSecret = "a secret of the tests";

class ProcessLinksTest : public ::testing::Test {
 protected:
  void SetUp() override { set_log({.verbosity = Verbosity::quiet}); }
  void TearDown() override { set_log({}); }

  /// Joins so many ranks to a coordinator and runs a body on each. What it threw stands at its place.
  std::vector<std::exception_ptr> run(int ranks, double deadline, const std::function<void(Links&)>& body) {
    Coordinator coordinator(ranks, kSecret, "127.0.0.1", deadline);
    coordinator_ = &coordinator;
    std::vector<std::exception_ptr> thrown(static_cast<size_t>(ranks));
    std::vector<std::thread> threads;
    for (int rank = 0; rank < ranks; ++rank)
      threads.emplace_back([&, rank] {
        try {
          const auto links = join(place(rank, ranks, coordinator.port(), deadline));
          body(*links);
        } catch (...) {
          thrown[static_cast<size_t>(rank)] = std::current_exception();
        }
      });
    for (std::thread& thread : threads) thread.join();
    return thrown;
  }
  void run_well(int ranks, const std::function<void(Links&)>& body) {
    for (const std::exception_ptr& problem : run(ranks, 30, body))
      if (problem) std::rethrow_exception(problem);
  }

  static Joining place(int rank, int ranks, int port, double deadline) {
    Joining joining;
    joining.rank = rank;
    joining.size = ranks;
    joining.port = port;
    joining.secret = kSecret;
    joining.coordinator_runs = true;
    joining.deadline = deadline;
    return joining;
  }

  Coordinator* coordinator_ = nullptr;
};

TEST_F(ProcessLinksTest, TensorsOfAllKindsArriveAsTheyWere) {
  const std::vector<Tensor> sent = {
      torch::randn({3, 4}), torch::randn({2, 3}).t(),        torch::randn({5}).to(torch::kBFloat16),
      torch::zeros({0, 7}), torch::tensor(int64_t{1} << 60), torch::ones({2}, torch::kBool),
      torch::zeros({0}),    torch::randn({1 << 20})};
  run_well(3, [&](Links& links) {
    for (int other = 0; other < 3; ++other)
      if (other != links.rank()) links.send(other, "x/1", sent);
    for (int other = 0; other < 3; ++other) {
      if (other == links.rank()) continue;
      const auto got = links.receive(other, "x/1");
      ASSERT_TRUE(got);
      ASSERT_EQ(got->size(), sent.size());
      for (size_t i = 0; i < sent.size(); ++i) {
        EXPECT_EQ((*got)[i].dtype(), sent[i].dtype());
        EXPECT_TRUE(torch::equal((*got)[i], sent[i])) << i;
      }
    }
    int64_t bytes = 0;
    for (const Tensor& t : sent) bytes += static_cast<int64_t>(t.nbytes());
    EXPECT_EQ(links.traffic().at("x").bytes, 2 * bytes);
    EXPECT_EQ(links.traffic().at("x").messages, 2);
    EXPECT_EQ(links.traffic().at("x").rounds, 1);
  });
}

TEST_F(ProcessLinksTest, TagsComeInAnyOrderAndSendingNeverWaits) {
  run_well(2, [](Links& links) {
    const int other = 1 - links.rank();
    for (int i = 0; i < 50; ++i) links.send(other, "n/" + std::to_string(i), {torch::full({40000}, i)});
    for (int i = 49; i >= 0; --i) EXPECT_EQ(links.receive(other, "n/" + std::to_string(i))->at(0)[7].item<int>(), i);
    EXPECT_FALSE(links.arrived(other, "n/0")) << "a message comes once";
    EXPECT_EQ(links.traffic().at("n").rounds, 1);
    links.send(other, "n/answer", {});
    EXPECT_TRUE(links.receive(other, "n/answer"));
    EXPECT_EQ(links.traffic().at("n").rounds, 2) << "it was sent after something had been received";
  });
}

TEST_F(ProcessLinksTest, WhatWasSentBeforeLeavingArrives) {
  run_well(2, [](Links& links) {
    if (links.rank() == 0) return links.send(1, "last/words", {torch::full({1 << 22}, 3)});
    const auto got = links.receive(0, "last/words");
    ASSERT_TRUE(got);
    EXPECT_EQ(got->at(0)[12345].item<int>(), 3);
    EXPECT_FALSE(links.receive(0, "never/sent")) << "it has left: nobody waits";
    EXPECT_FALSE(links.present(0));
    EXPECT_NE(links.missing(0).message().find("has left"), std::string::npos) << links.missing(0).what();
  });
}

/// Of two that wait for what never comes, the second time at once, until the peer is heard of again.
TEST_F(ProcessLinksTest, WhoLetADeadlinePassIsNotWaitedForAgain) {
  const auto thrown = run(2, 2, [](Links& links) {
    if (links.rank() == 0) {
      EXPECT_FALSE(links.receive(1, "missing/1"));
      const double once = links.waited_seconds();
      EXPECT_GE(once, 2);
      for (int i = 0; i < 20; ++i) EXPECT_FALSE(links.receive(1, "missing/" + std::to_string(2 + i)));
      EXPECT_LT(links.waited_seconds(), once + 20) << "twenty more deadlines would be forty seconds";
      EXPECT_TRUE(links.present(1)) << "it is alive, only mute";
      links.send(1, "go/1", {});
      while (!links.arrived(1, "other/1")) std::this_thread::yield();
      EXPECT_FALSE(links.arrived(1, "missing/1")) << "it came too late, and is not kept";
      while (!links.arrived(1, "again/1")) std::this_thread::yield();
      EXPECT_TRUE(links.receive(1, "again/1"));
      EXPECT_TRUE(links.receive(1, "late/1")) << "it is waited for again";
      links.send(1, "go/2", {});
      return;
    }
    while (!links.arrived(0, "go/1")) std::this_thread::yield();
    links.send(0, "missing/1", {torch::ones({1})});
    links.send(0, "other/1", {});
    links.send(0, "again/1", {torch::ones({1})});
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    links.send(0, "late/1", {torch::ones({1})});
    while (!links.arrived(0, "go/2")) std::this_thread::yield();
  });
  for (const auto& problem : thrown) EXPECT_FALSE(problem);
}

/// Or each would wait for the other: one for the work of the other's next step, the other for a word where to begin.
TEST_F(ProcessLinksTest, WhoAsksToRejoinIsNotWaitedForYet) {
  const auto thrown = run(2, 2, [](Links& links) {
    if (links.rank() == 0) {
      EXPECT_FALSE(links.receive(1, "exchange/1"));
      links.send(1, "go/1", {});
      while (!links.arrived(1, "rejoin/1.1")) std::this_thread::yield();
      const double before = links.waited_seconds();
      EXPECT_FALSE(links.receive(1, "exchange/2"));
      EXPECT_LT(links.waited_seconds(), before + 1) << "a deadline is two seconds";
      EXPECT_TRUE(links.receive_patiently(1, "rejoin/1.1"));
      links.send(1, "go/2", {});
      return;
    }
    while (!links.arrived(0, "go/1")) std::this_thread::yield();
    links.send(0, "rejoin/1.1", {});
    while (!links.arrived(0, "go/2")) std::this_thread::yield();
  });
  for (const auto& problem : thrown) EXPECT_FALSE(problem);
}

TEST_F(ProcessLinksTest, AMissingRankIsNamedWithItsStepAndOperation) {
  run(2, 30, [&](Links& links) {
    links.enter({41, "exchange"});
    if (links.rank() == 1) {
      links.send(0, "here/1", {});
      while (!links.arrived(0, "told/1")) std::this_thread::yield();
      coordinator_->left(1, "killed by signal 9");
      std::this_thread::sleep_for(std::chrono::milliseconds(200));
      return;
    }
    ASSERT_TRUE(links.receive(1, "here/1"));
    links.send(1, "told/1", {});
    EXPECT_FALSE(links.receive(1, "nothing/1"));
    const Error error = links.missing(1);
    EXPECT_EQ(error.code(), Code::comms);
    for (const char* part : {"rank 1 on ", "step 42", "exchange"})
      EXPECT_NE(std::string(error.what()).find(part), std::string::npos) << error.what();
    EXPECT_NE(error.where().find("rank 0, step 42, exchange"), std::string::npos) << error.where();
  });
}

TEST_F(ProcessLinksTest, AllLeaveBeforeTheSameStepHoweverFarTheyAre) {
  std::mutex mutex;
  std::set<int64_t> left;
  run_well(4, [&](Links& links) {
    int64_t step = 0;
    while (!links.leaves_before(step)) {
      links.enter({step, "forward"});
      if (links.rank() == 2 && step == 20) links.ask_to_leave();
      std::this_thread::sleep_for(std::chrono::milliseconds(1 + 3 * links.rank()));  // not all as fast
      ++step;
      ASSERT_LT(step, 100000);
    }
    const std::lock_guard lock(mutex);
    left.insert(step);
  });
  EXPECT_EQ(left.size(), 1u);
  EXPECT_GT(*left.begin(), 20);
}

TEST_F(ProcessLinksTest, NamesRanksThatDoNotCome) {
  Coordinator coordinator(3, kSecret, "127.0.0.1", 0.5);
  expect_error([&] { join(place(0, 3, coordinator.port(), 0.5)); }, Code::comms, "rank 1, rank 2 did not come",
               "rank 0, rendezvous");
}

TEST_F(ProcessLinksTest, RefusesAWrongSecretAndASecondRankOfOneNumber) {
  Coordinator coordinator(2, kSecret, "127.0.0.1", 5);
  Joining wrong = place(0, 2, coordinator.port(), 0.3);
  wrong.secret = "another secret, as long";
  expect_error([&] { join(wrong); }, Code::comms, "does not share our secret", "rendezvous");
  CoordinatorClient first("127.0.0.1", coordinator.port(), kSecret, 5),
      second("127.0.0.1", coordinator.port(), kSecret, 5);
  first.join(1, 2, "here");
  expect_error([&] { second.join(1, 2, "there"); }, Code::comms, "there is a rank 1 already, on here", "rendezvous");
  expect_error([&] { second.join(0, 4, "there"); }, Code::comms, "rank 0 of 4 is none of 2", "rendezvous");
}

/// torchrun has the port; its store says where rank 0 listens.
TEST_F(ProcessLinksTest, MeetsThroughTheStoreOfTorchrun) {
  c10d::TCPStoreOptions options;
  options.port = 0;
  options.isServer = true;
  options.waitWorkers = false;
  c10d::TCPStore agent("127.0.0.1", options);
  std::vector<std::thread> threads;
  std::atomic<int> met = 0;
  for (int rank = 0; rank < 2; ++rank)
    threads.emplace_back([&, rank] {
      Joining joining = place(rank, 2, 1, 20);  // port 1 is nobody's
      joining.coordinator_runs = false;
      joining.agent_store = "127.0.0.1:" + std::to_string(agent.getPort());
      const auto links = join(joining);
      links->send(1 - rank, "hello/1", {torch::full({1}, rank)});
      const auto got = links->receive(1 - rank, "hello/1");
      if (got && got->at(0).item<int>() == 1 - rank) ++met;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(met, 2);
}

TEST_F(ProcessLinksTest, NobodyAnswers) {
  int port = 0;
  { port = Coordinator(1, kSecret, "127.0.0.1", 5).port(); }
  expect_error([&] { join(place(0, 2, port, 0.3)); }, Code::comms, "nobody answers at 127.0.0.1:", "rendezvous");
}

/// Ports that this process listens at on loopback.
std::vector<int> listening_ports() {
  std::vector<int> ports;
  std::ifstream table("/proc/self/net/tcp");
  std::string line;
  std::getline(table, line);
  while (std::getline(table, line)) {
    unsigned address = 0, port = 0, state = 0;
    if (std::sscanf(line.c_str(), " %*d: %x:%x %*x:%*x %x", &address, &port, &state) == 3 && state == 10)
      ports.push_back(static_cast<int>(port));
  }
  return ports;
}

/// Whether a socket is one of this process.
bool is_ours(unsigned long inode) {
  const std::string name = "socket:[" + std::to_string(inode) + "]";
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    if (std::filesystem::read_symlink(entry.path(), gone) == name) return true;
  }
  return false;
}

int dial(int port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to) == 0) return fd;
  close(fd);
  return -1;
}

/// Garbage, half a greeting and silence at every port, while ranks meet and while they talk.
TEST_F(ProcessLinksTest, StrangersDisturbNothing) {
  std::atomic<bool> over = false;
  std::atomic<int> connections = 0;
  std::thread stranger([&] {
    std::vector<int> kept;
    Rng rng(Key{1, Purpose::test});
    while (!over) {
      for (const int port : listening_ports()) {
        const int fd = dial(port);
        if (fd < 0) continue;
        ++connections;
        std::string garbage(static_cast<size_t>(rng.below(300)), '\0');
        for (char& c : garbage) c = static_cast<char>(rng.below(256));
        if (rng.below(3) == 0) garbage = "GET / HTTP/1.1\r\nHost: here\r\n\r\n";
        [[maybe_unused]] const ssize_t n = ::send(fd, garbage.data(), garbage.size(), MSG_NOSIGNAL);
        if (rng.below(2) == 0 && kept.size() < 200)
          kept.push_back(fd);
        else
          close(fd);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    for (const int fd : kept) close(fd);
  });
  std::exception_ptr problem;
  try {
    for (int round = 0; round < 3; ++round)
      run_well(3, [&](Links& links) {
        for (int i = 0; i < 40; ++i)
          for (int other = 0; other < 3; ++other) {
            if (other == links.rank()) continue;
            links.send(other, "talk/" + std::to_string(i), {torch::full({1000}, i)});
            const auto got = links.receive(other, "talk/" + std::to_string(i));
            ASSERT_TRUE(got);
            EXPECT_EQ(got->at(0)[999].item<int>(), i);
          }
      });
  } catch (...) {
    problem = std::current_exception();
  }
  over = true;
  stranger.join();
  if (problem) std::rethrow_exception(problem);
  EXPECT_GT(connections, 20);
}

TEST_F(ProcessLinksTest, NothingListensBeyondLoopback) {
  run_well(2, [](Links& links) {
    if (links.rank() != 0) return;
    for (const char* path : {"/proc/self/net/tcp", "/proc/self/net/tcp6"}) {
      std::ifstream table(path);
      std::string line;
      std::getline(table, line);
      while (std::getline(table, line)) {
        char address[64] = "";
        unsigned port = 0, state = 0;
        unsigned long inode = 0;
        if (std::sscanf(line.c_str(), " %*d: %63[0-9A-F]:%x %*x:%*x %x %*x:%*x %*x:%*x %*x %*d %*d %lu", address, &port,
                        &state, &inode) == 4 &&
            state == 10 && is_ours(inode)) {
          EXPECT_STREQ(address, "0100007F") << "port " << port;
        }
      }
    }
  });
}

}  // namespace
}  // namespace etude
