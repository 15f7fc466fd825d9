#include "etude/train/device.h"

#include <dlfcn.h>

#include <ATen/detail/CUDAHooksInterface.h>

#include "etude/base/error.h"

namespace etude {
namespace {

constexpr const char* kCudaLibrary = "libtorch_cuda.so";

[[noreturn]] void refuse(const std::string& name, const std::string& why, const std::string& hint) {
  throw Error(Code::device, "device '" + name + "' is not to be had: " + why, "device", hint);
}

/// Registers LibTorch's CUDA operators in this process, once.
void load_cuda(const std::string& name) {
  static void* const library = dlopen(kCudaLibrary, RTLD_NOW | RTLD_GLOBAL);
  if (library) return;
  // The first library that could not be opened is named first, whichever of them it is.
  dlopen(kCudaLibrary, RTLD_NOW | RTLD_GLOBAL);
  const char* const why = dlerror();
  refuse(name, why ? why : std::string(kCudaLibrary) + " does not load",
         "install LibTorch with CUDA and the libraries that it needs, or set device = \"cpu\"");
}

at::Device parsed(const std::string& name) {
  const std::string hint = "one of 'cpu', 'cuda', 'cuda:1', 'meta'";
  try {
    const at::Device device(name);
    if (device.is_cpu() || device.is_cuda() || device.is_meta()) return device;
  } catch (const c10::Error&) {
    throw Error(Code::config, "there is no device '" + name + "'", "device", hint);
  }
  throw Error(Code::config, "device '" + name + "' is not supported", "device", hint);
}

/// Gives a tensor the values, or for want of values the shape, that it has there. LibTorch's set_data() knows no way
/// between devices with and without values.
void move_tensor(const Tensor& value, at::Device device) {
  const Tensor there = value.detach().to(device);
  if (device.is_meta())
    value.unsafeGetTensorImpl()->shallow_copy_from(there.getIntrusivePtr());
  else
    value.set_data(there);
}

}  // namespace

at::Device open_device(const std::string& name) {
  at::Device device = parsed(name);
  if (!device.is_cuda()) return device;
  load_cuda(name);
  const int count = at::detail::getCUDAHooks().deviceCount();
  if (!device.has_index()) device.set_index(0);
  if (device.index() >= count)
    refuse(name, count == 0 ? "this machine has no CUDA device" : "there are " + std::to_string(count),
           "see nvidia-smi, or set device = \"cpu\"");
  return device;
}

void move_net(Net& net, at::Device device) {
  const torch::NoGradGuard no_grad;
  for (const Tensor& value : net.parameters())
    if (value.device() != device) move_tensor(value, device);
  for (const Tensor& value : net.buffers())
    if (value.device() != device) move_tensor(value, device);
}

Batch on_device(const Batch& batch, at::Device device) {
  if (device.is_cpu()) return batch;
  Batch there = batch;
  for (auto& [name, value] : there.x) value = value.to(device);
  for (auto& [name, part] : there.part) part = on_device(part, device);
  return there;
}

}  // namespace etude
