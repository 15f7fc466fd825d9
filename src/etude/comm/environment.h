#pragma once
// Which rank this process is, as whoever started it says: torchrun, Open MPI's mpirun, MPICH's or Intel's, Slurm's
// srun, or our own --nproc.

#include <optional>
#include <string>
#include <vector>

namespace etude {

/// What a rank needs to know to meet the others.
struct Joining {
  int rank = 0, size = 1, local_rank = 0;
  std::string host = "127.0.0.1";  ///< of rank 0, or of the coordinator where another process runs it
  int port = 0;
  std::string secret, interface;  ///< interface: a name or an address of this machine's; "": loopback
  bool coordinator_runs = false;  ///< in the process that started us, at host and port
  double deadline = 60;           ///< seconds
  std::string agent_store;        ///< "host:port" of torchrun's own store where that has taken the port; else ""
  std::string starter;            ///< for people: "torchrun", "Open MPI", ...
};

/// This process's place among ranks; nothing where it is the only one. Read are RANK, WORLD_SIZE and LOCAL_RANK, else
/// what Open MPI, MPICH, Intel MPI or a step of Slurm's srun sets; with several ranks MASTER_ADDR and MASTER_PORT,
/// ETUDE_SECRET (16 characters or more), ETUDE_INTERFACE, ETUDE_DEADLINE. Errors: Code::usage with the variable.
std::optional<Joining> joining_from_environment();
/// ETUDE_INTERFACE, or "".
std::string interface_from_environment();
/// ETUDE_DEADLINE in seconds, or the default. Errors: Code::usage.
double deadline_from_environment();

/// An interface of this machine that is up and has an address.
struct Interface {
  std::string name, address;
  bool loopback = false;
};
std::vector<Interface> interfaces();

/// The address to bind to, as digits: that of an interface of this machine, named by its name (IPv4 first) or by an
/// address that it has; of loopback for "". Errors: Code::usage with what there is.
std::string address_of(const std::string& interface);

}  // namespace etude
