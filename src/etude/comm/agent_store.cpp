#include "etude/comm/agent_store.h"

#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <cstdlib>

#include "etude/base/error.h"

namespace etude {
namespace {

std::string key() {
  // An agent that starts its ranks again keeps its store.
  const char* const attempt = std::getenv("TORCHELASTIC_RESTART_COUNT");
  return std::string("etude/coordinator/") + (attempt ? attempt : "0");
}

template <class Use>
auto with_store(const std::string& store, double seconds, const Use& use) {
  const size_t colon = store.rfind(':');
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(std::stoi(store.substr(colon + 1)));
  options.timeout = std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000));
  try {
    c10d::TCPStore words(store.substr(0, colon), options);
    return use(words);
  } catch (const std::exception& error) {
    throw Error(Code::comms, "torchrun's store at " + store + " can't be used: " + error.what(), "rendezvous",
                "MASTER_ADDR and MASTER_PORT name it");
  }
}

}  // namespace

void publish_in_agent_store(const std::string& store, const std::string& host, int port, double seconds) {
  with_store(store, seconds, [&](c10d::Store& words) {
    words.set(key(), host + ":" + std::to_string(port));
    return 0;
  });
}

std::pair<std::string, int> find_in_agent_store(const std::string& store, double seconds) {
  const std::string place = with_store(store, seconds, [&](c10d::Store& words) { return words.get_to_str(key()); });
  const size_t colon = place.rfind(':');
  return {place.substr(0, colon), std::stoi(place.substr(colon + 1))};
}

}  // namespace etude
