#pragma once
// torchrun keeps a store of its own at MASTER_ADDR and MASTER_PORT. Rank 0 leaves there where its coordinator listens.

#include <string>
#include <utility>

namespace etude {

/// `store`: "host:port". Errors of both: Code::comms when it can't be reached within `seconds`.
void publish_in_agent_store(const std::string& store, const std::string& host, int port, double seconds);
std::pair<std::string, int> find_in_agent_store(const std::string& store, double seconds);

}  // namespace etude
