#include "etude/comm/environment.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "etude/base/testing.h"

namespace etude {
namespace environment_test {

/// Only these variables about ranks, as long as it lives.
class Variables {
 public:
  explicit Variables(const std::map<std::string, std::string>& set) {
    for (const char* name : kNames) {
      if (const char* value = std::getenv(name)) before_[name] = value;
      unsetenv(name);
    }
    for (const auto& [name, value] : set) setenv(name.c_str(), value.c_str(), 1);
  }
  ~Variables() {
    for (const char* name : kNames) unsetenv(name);
    for (const auto& [name, value] : before_) setenv(name.c_str(), value.c_str(), 1);
  }
  Variables(const Variables&) = delete;

 private:
  static constexpr const char* kNames[] = {"RANK",
                                           "WORLD_SIZE",
                                           "LOCAL_RANK",
                                           "MASTER_ADDR",
                                           "MASTER_PORT",
                                           "TORCHELASTIC_USE_AGENT_STORE",
                                           "OMPI_COMM_WORLD_RANK",
                                           "OMPI_COMM_WORLD_SIZE",
                                           "OMPI_COMM_WORLD_LOCAL_RANK",
                                           "PMI_RANK",
                                           "PMI_SIZE",
                                           "MPI_LOCALRANKID",
                                           "SLURM_PROCID",
                                           "SLURM_NTASKS",
                                           "SLURM_LOCALID",
                                           "SLURM_STEP_ID",
                                           "ETUDE_SECRET",
                                           "ETUDE_INTERFACE",
                                           "ETUDE_DEADLINE",
                                           "ETUDE_COORDINATOR"};
  std::map<std::string, std::string> before_;
};

using Set = std::map<std::string, std::string>;

/// A whole place of torchrun's, with changes; an empty value unsets.
Set place(const Set& changes = {}) {
  Set set = {{"RANK", "1"},
             {"WORLD_SIZE", "4"},
             {"LOCAL_RANK", "0"},
             {"MASTER_ADDR", "127.0.0.1"},
             {"MASTER_PORT", "29400"},
             {"ETUDE_SECRET", "0123456789abcdef"}};
  for (const auto& [name, value] : changes) set[name] = value;
  return set;
}

std::optional<Joining> read(const Set& set) {
  const Variables variables(set);
  return joining_from_environment();
}

void refused(const Set& set, std::string_view message, std::string_view hint) {
  const Variables variables(set);
  expect_error([] { joining_from_environment(); }, Code::usage, message, "environment", hint);
}

TEST(Environment, NothingSetIsOneProcess) {
  EXPECT_FALSE(read({}));
  EXPECT_FALSE(read({{"RANK", "0"}, {"WORLD_SIZE", "1"}}));
  EXPECT_FALSE(read({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "1"}}));
  EXPECT_FALSE(read({{"MASTER_ADDR", "10.0.0.1"}, {"ETUDE_SECRET", "short"}}));
}

TEST(Environment, TorchrunsVariables) {
  const Joining joining = *read(place({{"ETUDE_DEADLINE", "2.5"}, {"ETUDE_INTERFACE", "lo"}}));
  EXPECT_EQ(joining.rank, 1);
  EXPECT_EQ(joining.size, 4);
  EXPECT_EQ(joining.local_rank, 0);
  EXPECT_EQ(joining.host, "127.0.0.1");
  EXPECT_EQ(joining.port, 29400);
  EXPECT_EQ(joining.secret, "0123456789abcdef");
  EXPECT_EQ(joining.interface, "lo");
  EXPECT_EQ(joining.deadline, 2.5);
  EXPECT_FALSE(joining.coordinator_runs);
  EXPECT_EQ(joining.agent_store, "");
  EXPECT_EQ(joining.starter, "torchrun");
  EXPECT_EQ(read(place())->deadline, 60);
  EXPECT_EQ(read(place({{"TORCHELASTIC_USE_AGENT_STORE", "True"}}))->agent_store, "127.0.0.1:29400");
  EXPECT_EQ(read(place({{"TORCHELASTIC_USE_AGENT_STORE", "False"}}))->agent_store, "");
  EXPECT_TRUE(read(place({{"ETUDE_COORDINATOR", "1"}}))->coordinator_runs);
}

TEST(Environment, OtherStarters) {
  const Set common = {{"MASTER_ADDR", "localhost"}, {"MASTER_PORT", "1"}, {"ETUDE_SECRET", "0123456789abcdef"}};
  const auto with = [&](Set set) {
    set.insert(common.begin(), common.end());
    return read(set);
  };
  const Joining open_mpi =
      *with({{"OMPI_COMM_WORLD_RANK", "3"}, {"OMPI_COMM_WORLD_SIZE", "8"}, {"OMPI_COMM_WORLD_LOCAL_RANK", "1"}});
  EXPECT_EQ(open_mpi.rank, 3);
  EXPECT_EQ(open_mpi.size, 8);
  EXPECT_EQ(open_mpi.local_rank, 1);
  const Joining mpich = *with({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}});
  EXPECT_EQ(mpich.rank, 1);
  EXPECT_EQ(mpich.size, 2);
  EXPECT_EQ(mpich.local_rank, 1);
  const Set slurm = {{"SLURM_PROCID", "2"}, {"SLURM_NTASKS", "3"}, {"SLURM_LOCALID", "0"}};
  EXPECT_FALSE(with(slurm)) << "the shell of an allocation is no rank";
  Set step = slurm;
  step["SLURM_STEP_ID"] = "0";
  EXPECT_EQ(with(step)->rank, 2);
  EXPECT_EQ(with(step)->size, 3);
  step["SLURM_NTASKS"] = "1";
  step["SLURM_PROCID"] = "0";
  EXPECT_FALSE(with(step));
  // torchrun within a step of Slurm's: the innermost starter counts.
  step.insert({{"RANK", "5"}, {"WORLD_SIZE", "6"}});
  EXPECT_EQ(with(step)->rank, 5);
}

TEST(Environment, WrongValuesAreNamed) {
  refused(place({{"RANK", "4"}}), "RANK='4' must be below WORLD_SIZE=4", "from 0");
  refused(place({{"RANK", "-1"}}), "RANK='-1' is no whole number", "WORLD_SIZE");
  refused(place({{"RANK", "1x"}}), "RANK='1x'", "torchrun");
  refused(place({{"RANK", ""}}), "RANK is not set", "unset both");
  refused(place({{"WORLD_SIZE", ""}}), "WORLD_SIZE is not set", "unset both");
  refused(place({{"WORLD_SIZE", "0"}}), "WORLD_SIZE='0'", "torchrun");
  refused(place({{"WORLD_SIZE", "99999999999"}}), "WORLD_SIZE='99999999999'", "torchrun");
  refused(place({{"LOCAL_RANK", "a"}}), "LOCAL_RANK='a'", "torchrun");
  refused(place({{"MASTER_ADDR", ""}}), "MASTER_ADDR is not set", "rank 0");
  refused(place({{"MASTER_PORT", ""}}), "MASTER_PORT is not set", "free port");
  refused(place({{"MASTER_PORT", "65536"}}), "MASTER_PORT='65536'", "free port");
  refused(place({{"ETUDE_SECRET", ""}}), "ETUDE_SECRET is not set", "openssl rand");
  refused(place({{"ETUDE_DEADLINE", "0"}}), "ETUDE_DEADLINE='0'", "60");
  refused(place({{"ETUDE_DEADLINE", "nan"}}), "ETUDE_DEADLINE='nan'", "60");
  refused(place({{"ETUDE_DEADLINE", "1e9"}}), "at most 86400", "60");
}

TEST(Environment, ASecretIsNeverShown) {
  const Variables variables(place({{"ETUDE_SECRET", "hunter2"}}));
  try {
    joining_from_environment();
    ADD_FAILURE() << "a short secret was taken";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("7 characters"), std::string::npos) << error.what();
    EXPECT_EQ(std::string(error.what()).find("hunter2"), std::string::npos) << error.what();
  }
}

TEST(Environment, OnlyLoopbackNeedsNoInterface) {
  for (const char* host : {"127.0.0.1", "127.8.8.8", "::1", "localhost"})
    EXPECT_TRUE(read(place({{"MASTER_ADDR", host}}))) << host;
  refused(place({{"MASTER_ADDR", "10.0.0.1"}}), "ETUDE_INTERFACE is not set", "lo (127.0.0.1)");
  refused(place({{"MASTER_ADDR", "127.example.org"}}), "ETUDE_INTERFACE is not set", "lo (127.0.0.1)");
  EXPECT_EQ(read(place({{"MASTER_ADDR", "10.0.0.1"}, {"ETUDE_INTERFACE", "lo"}}))->host, "10.0.0.1");
}

TEST(Environment, AnInterfaceHasAnAddressHere) {
  EXPECT_EQ(address_of(""), "127.0.0.1");
  EXPECT_EQ(address_of("lo"), "127.0.0.1");
  EXPECT_EQ(address_of("127.0.0.1"), "127.0.0.1");
  for (const char* wrong : {"no-such-if0", "0.0.0.0", "192.0.2.77"})
    expect_error([&] { address_of(wrong); }, Code::usage, wrong, "ETUDE_INTERFACE", "lo (127.0.0.1)");
}

}  // namespace environment_test
}  // namespace etude
