#include "etude/comm/environment.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <memory>

#include "etude/base/error.h"
#include "etude/base/text.h"

namespace etude {
namespace {

constexpr size_t kSecretCharacters = 16;
constexpr int kMostRanks = 4096, kMostPort = 65535;
constexpr double kLongestDeadline = 86400;

/// What a variable says; "" where it is unset or empty.
std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  return value ? value : "";
}

Error wrong(const char* name, const std::string& why, const std::string& hint) {
  const std::string value = variable(name);
  return Error(Code::usage, std::string(name) + (value.empty() ? "" : "='" + value + "'") + " " + why, "environment",
               hint);
}

/// A whole number of a variable that must be there.
int whole_number(const char* name, int low, int high, const std::string& hint) {
  const std::string text = variable(name);
  if (text.empty()) throw wrong(name, "is not set", hint);
  int value = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, problem] = std::from_chars(text.data(), end, value);
  if (problem != std::errc() || stop != end || value < low || value > high)
    throw wrong(name, "is no whole number of " + std::to_string(low) + " to " + std::to_string(high), hint);
  return value;
}

/// The variables of one way to start ranks.
struct Starter {
  const char *name, *rank, *size, *local_rank;
};

constexpr Starter kTorchrun = {"torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK"};
constexpr Starter kOthers[] = {
    {"Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK"},
    {"MPICH", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID"},
    {"Slurm", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID"}};

/// Whether a starter's variables are there. The shell of an allocation has some of Slurm's too: only srun makes steps.
bool speaks(const Starter& starter) {
  if (std::string_view(starter.name) == "Slurm" && variable("SLURM_STEP_ID").empty()) return false;
  return !variable(starter.rank).empty() || !variable(starter.size).empty();
}

const Starter* find_starter() {
  if (speaks(kTorchrun)) return &kTorchrun;
  for (const Starter& starter : kOthers)
    if (speaks(starter)) return &starter;
  return nullptr;
}

bool is_loopback(const std::string& host) {
  in_addr address{};
  if (inet_pton(AF_INET, host.c_str(), &address) == 1) return ntohl(address.s_addr) >> 24 == 127;
  return host == "localhost" || host == "::1";
}

/// "lo (127.0.0.1), eth0 (10.0.0.5)"
std::string interfaces_text() {
  std::string text;
  for (const Interface& one : interfaces()) text += (text.empty() ? "" : ", ") + one.name + " (" + one.address + ")";
  return text.empty() ? "none" : text;
}

std::string address_text(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address->sa_family == AF_INET)
    inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  else
    inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text, sizeof text);
  return text;
}

std::string secret() {
  const std::string text = variable("ETUDE_SECRET");
  const std::string hint =
      "the same random text for all ranks, for example export ETUDE_SECRET=$(openssl rand -hex 32)";
  // Its value never stands in a message.
  if (text.empty()) throw wrong("ETUDE_SECRET", "is not set: ranks prove with it that they belong together", hint);
  if (text.size() < kSecretCharacters)
    throw Error(Code::usage,
                "ETUDE_SECRET has " + std::to_string(text.size()) + " characters, but needs " +
                    std::to_string(kSecretCharacters) + " or more",
                "environment", hint);
  return text;
}

/// "" only where everything stays on this machine.
std::string checked_interface(const std::string& host) {
  const std::string interface = interface_from_environment();
  if (interface.empty() && !is_loopback(host))
    throw wrong("ETUDE_INTERFACE", "is not set, and MASTER_ADDR='" + host + "' is not loopback",
                "name the interface to the other ranks, here one of " + interfaces_text());
  address_of(interface);
  return interface;
}

}  // namespace

std::vector<Interface> interfaces() {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return {};
  const std::unique_ptr<ifaddrs, void (*)(ifaddrs*)> owner(all, freeifaddrs);
  std::vector<Interface> v4, v6;
  for (const ifaddrs* one = all; one; one = one->ifa_next) {
    if (!one->ifa_addr || (one->ifa_flags & IFF_UP) == 0) continue;
    const auto family = one->ifa_addr->sa_family;
    if (family != AF_INET && family != AF_INET6) continue;
    // Link-local addresses are no addresses without their interface's number.
    if (family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&reinterpret_cast<const sockaddr_in6*>(one->ifa_addr)->sin6_addr))
      continue;
    (family == AF_INET ? v4 : v6)
        .push_back({one->ifa_name, address_text(one->ifa_addr), (one->ifa_flags & IFF_LOOPBACK) != 0});
  }
  v4.insert(v4.end(), v6.begin(), v6.end());
  return v4;
}

std::string address_of(const std::string& interface) {
  if (interface.empty()) return "127.0.0.1";
  for (const Interface& one : interfaces())
    if (one.name == interface || one.address == interface) return one.address;
  throw Error(Code::usage, "there is no interface '" + interface + "' here", "ETUDE_INTERFACE",
              "one of " + interfaces_text() + ", by name or address");
}

std::string interface_from_environment() { return variable("ETUDE_INTERFACE"); }

double deadline_from_environment() {
  const std::string text = variable("ETUDE_DEADLINE");
  if (text.empty()) return Joining{}.deadline;
  double seconds = 0;
  if (!parse_number(text, seconds) || seconds <= 0 || seconds > kLongestDeadline)
    throw wrong("ETUDE_DEADLINE", "is no number of seconds above 0, at most " + plain_number(kLongestDeadline),
                "for example ETUDE_DEADLINE=60: how long a rank waits for another");
  return seconds;
}

std::optional<Joining> joining_from_environment() {
  const Starter* const starter = find_starter();
  if (!starter) return std::nullopt;
  const std::string family = std::string(starter->rank) + " and " + starter->size;
  const std::string together = std::string(starter->name) + " sets " + family + " together; unset both for one process";
  Joining joining;
  joining.starter = starter->name;
  joining.size = whole_number(starter->size, 1, kMostRanks, together);
  joining.rank = whole_number(starter->rank, 0, kMostRanks - 1, together);
  if (joining.rank >= joining.size)
    throw wrong(starter->rank, "must be below " + std::string(starter->size) + "=" + std::to_string(joining.size),
                "ranks count from 0; " + together);
  joining.local_rank = variable(starter->local_rank).empty()
                           ? joining.rank
                           : whole_number(starter->local_rank, 0, kMostRanks - 1, together);
  if (joining.size == 1) return std::nullopt;

  joining.host = variable("MASTER_ADDR");
  if (joining.host.empty())
    throw wrong("MASTER_ADDR", "is not set",
                "the host of rank 0, for example MASTER_ADDR=127.0.0.1 where all are here");
  joining.port =
      whole_number("MASTER_PORT", 1, kMostPort, "a free port of rank 0's host, for example MASTER_PORT=29400");
  const std::string agent = variable("TORCHELASTIC_USE_AGENT_STORE");
  if (agent == "True" || agent == "1") joining.agent_store = joining.host + ":" + std::to_string(joining.port);
  joining.secret = secret();
  joining.interface = checked_interface(joining.host);
  joining.deadline = deadline_from_environment();
  joining.coordinator_runs = variable("ETUDE_COORDINATOR") == "1";
  if (joining.coordinator_runs) joining.starter = "etude --nproc";
  return joining;
}

}  // namespace etude
