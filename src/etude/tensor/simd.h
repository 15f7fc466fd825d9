#pragma once
// Included first by files with kernels in Highway: which instruction sets they are compiled for. AVX2 and AVX-512, and
// scalar code, so that a kernel always exists. A kernel file looks like this:
//
//   #include "etude/tensor/simd.h"
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "etude/tensor/this_file.cpp"
//   #include <hwy/foreach_target.h>
//   #include "etude/tensor/simd-inl.h"
//   HWY_BEFORE_NAMESPACE();
//   namespace etude::HWY_NAMESPACE { void kernel(...) {...} }   // compiled once for each
//   HWY_AFTER_NAMESPACE();
//   #if HWY_ONCE
//   namespace etude { HWY_EXPORT(kernel); ... HWY_DYNAMIC_DISPATCH(kernel)(...) ... }
//   #endif

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL)
