#pragma once
// Where a stage computes: on the CPU, or on an accelerator whose part of LibTorch is loaded when it is asked for, so
// that one program serves both.
//
// Batches are drawn and changed by hooks on the CPU, and move as an objective reads them; nets, optimizers' state and
// the tensors of stores are on the device; checkpoints and artifacts are written from the CPU, so a run goes on
// wherever it is taken.

#include <string>

#include "etude/data/batch.h"
#include "etude/nn/net.h"

namespace etude {

/// "cpu", "cuda" or "cuda:N"; "meta", which has shapes and no values. Loads what the device needs.
/// Errors: Code::config for a name that is none; Code::device for a library of LibTorch's that is missing, naming it,
/// and for a device that the machine does not have.
at::Device open_device(const std::string& name);

/// Moves parameters and buffers in place: modules, learners and optimizers hold the same tensors before and after.
void move_net(Net& net, at::Device device);

/// The batch with all tensors but id_B there: sample ids are read by the CPU, which draws randomness.
Batch on_device(const Batch& batch, at::Device device);

}  // namespace etude
