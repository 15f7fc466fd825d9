#include "etude/comm/pair_group.h"

#include <chrono>
#include <mutex>

// LibTorch holds gloo but not its headers: Debian's, of 2022, serve as declarations only. They must fit what is used
// here; comm/process_links_test.cpp runs it in real processes.
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include "etude/base/error.h"

namespace etude {
namespace {

using Milliseconds = std::chrono::milliseconds;

constexpr Milliseconds kForEver = std::chrono::hours(24 * 365);
constexpr Milliseconds kLook(50);  ///< how often somebody who waits looks whether the other has gone
constexpr int kTag = 0;

/// The coordinator's words as c10d wants them.
class WordStore : public c10d::Store {
 public:
  WordStore(CoordinatorClient& words, std::function<bool()> gone) : words_(words), gone_(std::move(gone)) {}
  c10::intrusive_ptr<Store> clone() override { return c10::make_intrusive<WordStore>(words_, gone_); }
  void set(const std::string& key, const std::vector<uint8_t>& value) override {
    words_.set(key, {value.begin(), value.end()});
  }
  std::vector<uint8_t> get(const std::string& key) override {
    const std::string value = awaited({key}, timeout_).front();
    return {value.begin(), value.end()};
  }
  int64_t add(const std::string& key, int64_t value) override { return words_.add(key, value); }
  bool deleteKey(const std::string& key) override { return words_.erase(key); }
  bool check(const std::vector<std::string>& keys) override { return words_.wait(keys, 0).has_value(); }
  int64_t getNumKeys() override { return words_.count(); }
  void wait(const std::vector<std::string>& keys) override { awaited(keys, timeout_); }
  void wait(const std::vector<std::string>& keys, const Milliseconds& timeout) override { awaited(keys, timeout); }

 private:
  std::vector<std::string> awaited(const std::vector<std::string>& keys, const Milliseconds& timeout) {
    const auto until = std::chrono::steady_clock::now() + timeout;
    while (true) {
      if (auto values = words_.wait(keys, kLook.count())) return std::move(*values);
      if (gone_() || std::chrono::steady_clock::now() >= until)
        throw Error(Code::comms, "nobody has said '" + keys.front() + "'", "rendezvous");
    }
  }
  CoordinatorClient& words_;
  std::function<bool()> gone_;
};

class GlooPair : public PairGroup {
 public:
  GlooPair(c10::intrusive_ptr<c10d::Backend> group, int place) : group_(std::move(group)), other_(1 - place) {}
  ~GlooPair() override { GlooPair::abort(); }

  bool send(const Tensor& bytes) override {
    return run(sending_, [&] {
      std::vector<Tensor> one = {bytes};
      return group_->send(one, other_, kTag);
    });
  }
  bool receive(Tensor& bytes) override {
    return run(receiving_, [&] {
      std::vector<Tensor> one = {bytes};
      return group_->recv(one, other_, kTag);
    });
  }
  void abort() override {
    const std::lock_guard lock(mutex_);
    aborted_ = true;
    for (const auto& work : {sending_, receiving_})
      if (work) work->abort();
  }

 private:
  using Work = c10::intrusive_ptr<c10d::Work>;
  template <class Start>
  bool run(Work& slot, const Start& start) {
    try {
      Work work;
      {
        const std::lock_guard lock(mutex_);
        if (aborted_) return false;
        work = slot = start();
      }
      const bool done = work->wait(kForEver);
      const std::lock_guard lock(mutex_);
      slot.reset();
      return done && !aborted_;
    } catch (const std::exception&) {  // the connection has broken
      const std::lock_guard lock(mutex_);
      slot.reset();
      aborted_ = true;
      return false;
    }
  }

  c10::intrusive_ptr<c10d::Backend> group_;
  int other_;
  std::mutex mutex_;
  Work sending_, receiving_;
  bool aborted_ = false;
};

}  // namespace

struct PairDevice {
  std::shared_ptr<::gloo::transport::Device> device;
};

std::shared_ptr<PairDevice> pair_device(const std::string& address) {
  try {
    return std::make_shared<PairDevice>(PairDevice{c10d::ProcessGroupGloo::createDeviceForHostname(address)});
  } catch (const std::exception& error) {
    throw Error(Code::comms, std::string("connections can't be bound to ") + address + ": " + error.what(),
                "rendezvous", "--interface names another");
  }
}

std::unique_ptr<PairGroup> join_pair(const std::shared_ptr<PairDevice>& device, CoordinatorClient& words,
                                     const std::string& name, int place, double seconds,
                                     const std::function<bool()>& gone) {
  const Milliseconds timeout(static_cast<int64_t>(seconds * 1000));
  auto options = c10d::ProcessGroupGloo::Options::create(timeout);
  options->devices = {device->device};
  options->threads = 1;
  auto store = c10::make_intrusive<c10d::PrefixStore>(name, c10::make_intrusive<WordStore>(words, gone));
  try {
    return std::make_unique<GlooPair>(c10::make_intrusive<c10d::ProcessGroupGloo>(store, place, 2, options), place);
  } catch (const std::exception& error) {
    throw Error(Code::comms, "the ranks of " + name + " did not meet: " + error.what(), "rendezvous",
                "see what became of the other one");
  }
}

}  // namespace etude
