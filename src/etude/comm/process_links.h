#pragma once
// Links between processes. Each pair of ranks has a connection of its own; a thread takes what comes in, another sends
// what is to go out, so that nobody who computes waits for the network, and a peer that dies or stops takes nobody
// along. Who is alive is known from the connections and from the coordinator.

#include <memory>

#include "etude/comm/environment.h"
#include "etude/comm/links.h"

namespace etude {

/// Meets the other ranks: returns when all are connected. Errors: Code::comms naming the ranks that have not come
/// within the deadline, or what this one lacks. Faults that are rehearsed (comm/rehearsal.h) strike here.
std::unique_ptr<Links> join(const Joining& joining);

}  // namespace etude
