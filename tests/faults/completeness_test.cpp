// Whatever a checkpoint holds matters: one that differs anywhere leads to another end. A tensor or number that could
// be anything would be dead, or not restored.

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "tests/faults/going_on.h"

namespace etude::faults {
namespace {

using nlohmann::json;

class Completeness : public GoingOn {};

/// One bit of its largest value is flipped, high enough not to be lost in rounding.
Tensor flipped(const Tensor& value) {
  Tensor made = value.clone().contiguous();
  const int64_t at = made.is_floating_point() ? made.abs().argmax().item<int64_t>() : 0;
  const size_t size = made.element_size();
  char* const element = static_cast<char*>(made.data_ptr()) + static_cast<size_t>(at) * size;
  if (made.is_floating_point()) {
    element[size - 2] = static_cast<char>(element[size - 2] ^ 8);
  } else {
    element[0] = static_cast<char>(element[0] ^ 1);
  }
  return made;
}

TEST_F(Completeness, EveryTensorMatters) {
  const Snapshot stopped = stop_after(5);
  const std::string straight = go_on(stopped).bits;
  ASSERT_EQ(go_on(stopped).bits, straight);
  int tensors = 0;
  for (size_t i = 0; i < stopped.tensors.size(); ++i) {
    if (stopped.tensors[i].second.numel() == 0) continue;
    Snapshot other = stopped;
    other.tensors[i].second = flipped(stopped.tensors[i].second);
    EXPECT_NE(go_on(other).bits, straight) << stopped.tensors[i].first << " is dead or not restored";
    ++tensors;
  }
  EXPECT_GT(tensors, 60);
}

json changed(const json& value) {
  if (value.is_number_integer()) return value.get<int64_t>() + 1;
  if (value.is_number()) return value.get<double>() + 1;
  if (value.is_string()) return value.get<std::string>() + "x";
  return 7;
}

TEST_F(Completeness, EveryNumberMatters) {
  // Each with its reason; everything else must change the end, be it that of a run in its middle or at its end.
  const std::map<std::string, std::string> excused = {
      {"/cost/step_seconds", "time differs from run to run"},
      {"/cost/evaluate_seconds", "time"},
      {"/cost/checkpoint_seconds", "time"},
      {"/counters/" + std::to_string(static_cast<int>(Unit::epochs)), "read off the source after each step"}};
  const std::string seconds = "/counters/" + std::to_string(static_cast<int>(Unit::seconds));
  std::set<std::string> dead;
  for (const int steps : {5, 8}) {
    const Snapshot stopped = stop_after(steps);
    const std::string straight = go_on(stopped).bits;
    std::vector<json::json_pointer> places;
    leaves(stopped.host, json::json_pointer(), places);
    EXPECT_GT(places.size(), 40U);
    for (const auto& place : places) {
      const std::string name = place.to_string();
      const bool is_open = steps == 5 || dead.count(name) || name.starts_with("/lines/");
      if (!is_open || excused.count(name) || name.ends_with(seconds)) continue;
      Snapshot other = stopped;
      other.host[place] = changed(stopped.host[place]);
      if (go_on(other).bits == straight) {
        dead.insert(name);
      } else {
        dead.erase(name);
      }
    }
  }
  for (const std::string& place : dead) ADD_FAILURE() << place << " is dead or not restored";
}

}  // namespace
}  // namespace etude::faults
