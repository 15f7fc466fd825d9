// The one place that includes LibTorch's front end, in place of <torch/torch.h>. These headers take 25 s
// to parse, so they are precompiled once (cmake/Rings.cmake) for every file that uses LibTorch. Such
// files include this header: with the precompiled one in place the line costs nothing, and without it
// (clang-tidy, an editor) they still compile.
//
// Left out are torch::nn's layers, torch::optim, torch::data, torch::serialize and torch::jit: Etude has
// its own, and their templates, which g++ instantiates again in each file, would double the time of
// every compilation. A .cpp file that wants one layer includes its header: <torch/nn/modules/conv.h>.
#ifndef ETUDE_BASE_TORCH_PCH_H_
#define ETUDE_BASE_TORCH_PCH_H_

#include <torch/autograd.h>
#include <torch/cuda.h>
#include <torch/fft.h>
#include <torch/nested.h>
#include <torch/nn/functional.h>
#include <torch/nn/init.h>
#include <torch/nn/module.h>
#include <torch/special.h>
#include <torch/types.h>
#include <torch/utils.h>
#include <torch/version.h>

#endif
