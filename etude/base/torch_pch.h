// The one place that includes <torch/torch.h>. It takes 15 s to parse, so it is precompiled once
// (cmake/Rings.cmake) and shared by every file that uses LibTorch. Those files include this header:
// with the precompiled one in place the line costs nothing, and without it (clang-tidy, an editor)
// they still compile.
#ifndef ETUDE_BASE_TORCH_PCH_H_
#define ETUDE_BASE_TORCH_PCH_H_

#include <torch/torch.h>

#endif
