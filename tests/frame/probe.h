#pragma once
// What the frame probes share: the toys of etude/train/testing.h, and the check that every one of them must pass:
// stopped after any step and gone on with from its checkpoint by fresh objects, a run ends in the same bits.

#include "etude/base/torch_pch.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "etude/train/testing.h"
#include "tests/support/resume.h"

namespace etude::probe {

using namespace etude::test;

/// Runs the stage straight, then once for each k stopped after k steps and gone on with by fresh objects.
inline Fit same_wherever_stopped(const std::function<TrainStage()>& make) {
  const TestFolder folder;
  Fit whole;
  for (const std::string& problem : wherever_stopped(make, folder, &whole)) ADD_FAILURE() << problem;
  return whole;
}

/// What the last checkpoint of a run in this directory holds under a name, such as "replica-0/store/bank".
inline Tensor stored(const std::string& directory, const std::string& name) {
  const auto snapshot = Checkpoints(directory).load_latest();
  for (const auto& [key, value] : snapshot->tensors)
    if (key == name) return value;
  ADD_FAILURE() << "the checkpoint holds no " << name;
  return {};
}

}  // namespace etude::probe
