#include "etude/train/artifact.h"

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <limits>
#include <thread>

#include "etude/base/error.h"
#include "etude/base/testing.h"
#include "etude/train/sealed.h"

namespace etude::artifact_test {
namespace {

Artifact made(double value) {
  return {{{"model/w", torch::full({2}, value)}}, {{"value", value}, {"inf", std::numeric_limits<double>::infinity()}}};
}

void expect_value(const Artifact& found, double value) {
  ASSERT_EQ(found.tensors.size(), 1U);
  EXPECT_EQ(found.tensors[0].first, "model/w");
  EXPECT_TRUE(torch::equal(found.tensors[0].second, torch::full({2}, value)));
  EXPECT_EQ(found.values["value"].get<double>(), value);
  EXPECT_TRUE(std::isinf(found.values["inf"].get<double>()));
}

TEST(ArtifactStore, ThereAndBack) {
  const TestFolder folder;
  for (const std::string& directory : {std::string(), folder.at("store")}) {
    ArtifactStore store(directory);
    EXPECT_FALSE(store.has("k"));
    expect_error([&] { store.get("k"); }, Code::checkpoint, "there is no artifact k",
                 directory.empty() ? "memory" : "store");
    Artifact first = made(1.5);
    store.put("k", first);
    first.tensors[0].second.fill_(9);
    store.put("k", made(2));
    EXPECT_TRUE(store.has("k"));
    expect_value(store.get("k"), 1.5);
  }
  expect_value(ArtifactStore(folder.at("store")).get("k"), 1.5);
}

TEST(ArtifactStore, DamageIsNamed) {
  const TestFolder folder;
  ArtifactStore store(folder.path());
  for (const char* name : {"tensors.safetensors", "values.json", "manifest.json"}) {
    store.put("key", made(1));
    std::string bytes = file::read(folder.at(std::string("key/") + name));
    bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
    folder.write(std::string("key/") + name, bytes);
    expect_error([&] { store.get("key"); }, Code::checkpoint, "artifact key is damaged: ", name,
                 "remove " + folder.at("key"));
    file::remove_all(folder.at("key"));
  }
  store.put("key", made(1));
  std::filesystem::remove(folder.at("key/values.json"));
  expect_error([&] { store.get("key"); }, Code::checkpoint, "values.json is missing", "values.json");
  store.put("other", made(2));
  std::filesystem::rename(folder.at("other"), folder.at("third"));
  expect_error([&] { store.get("third"); }, Code::checkpoint, "of another artifact", "third", "remove");
}

TEST(ArtifactStore, ThreadsMakeAKeyOnce) {
  const TestFolder folder;
  std::atomic<int> times = 0;
  const auto work = [&](int me) {
    ArtifactStore store(folder.path());
    for (int k = 0; k < 5; ++k) {
      const std::string key = "key" + std::to_string(k);
      const auto making = store.make(key);
      if (store.has(key)) continue;
      ++times;
      store.put(key, made(me));
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) threads.emplace_back(work, i);
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(times, 5);
}

TEST(ArtifactStore, ThreadsMayPublishTheSame) {
  const TestFolder folder;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 10; ++k) ArtifactStore(folder.path()).put("key" + std::to_string(k), made(k));
    });
  }
  for (auto& thread : threads) thread.join();
  for (int k = 0; k < 10; ++k) expect_value(ArtifactStore(folder.path()).get("key" + std::to_string(k)), k);
  EXPECT_EQ(file::list(folder.path()).size(), 10U) << "nothing is left aside";
}

TEST(ArtifactStore, AnotherProcessWaitsAndFindsIt) {
  const TestFolder folder;
  ArtifactStore store(folder.path());
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  // Before there is a lock that the child could inherit. It only waits and looks: nothing that needs other threads.
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    char byte = 0;
    if (read(ready[0], &byte, 1) != 1) _exit(2);
    const auto lock = store.make("key");
    _exit(store.has("key") ? 0 : 1);
  }
  auto making = store.make("key");
  ASSERT_EQ(write(ready[1], "x", 1), 1);
  std::this_thread::sleep_for(std::chrono::milliseconds(150));
  store.put("key", made(1));
  making.reset();
  int status = -1;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

TEST(ArtifactStore, LeftoversGo) {
  const TestFolder folder;
  folder.write("store/.tmp-1-1-key/tensors.safetensors", "half");
  ArtifactStore store(folder.at("store"));
  EXPECT_TRUE(file::list(folder.at("store")).empty());
  EXPECT_FALSE(store.has("key"));
}

}  // namespace
}  // namespace etude::artifact_test
