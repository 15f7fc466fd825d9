// M rows, N columns, K summed.

#include "cli/bench_roof.h"

#include <chrono>
#include <functional>
#include <string>

#include "etude/base/torch_pch.h"
#include "etude/tensor/product.h"
#include "etude/tensor/tensor.h"

namespace etude::cli {
namespace {

/// Repetitions of one product: the machine's best is wanted, so the fastest of them counts.
constexpr double kSecondsEach = 0.08;
constexpr int kLeastEach = 3;

double seconds_of_fastest(const std::function<void()>& product) {
  product();  // packs, compiles kernels, touches memory
  double fastest = 1e9, spent = 0;
  for (int i = 0; i < kLeastEach || spent < kSecondsEach; ++i) {
    const auto begun = std::chrono::steady_clock::now();
    product();
    const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    fastest = std::min(fastest, took);
    spent += took;
  }
  return fastest;
}

}  // namespace

nlohmann::json measure_roof(const nlohmann::json& wanted) {
  torch::NoGradGuard no_grad;
  const Format format = wanted.at("format") == "bf16" ? Format::bfloat16 : Format::float32;
  nlohmann::json all = nlohmann::json::array(), best = {{"flops", 0.0}};
  for (const auto& shape : wanted.at("shapes")) {
    const int64_t M = shape.at(0), N = shape.at(1), K = shape.at(2);
    const auto options = at::TensorOptions(storage_of(format));
    const Tensor a_MK = at::ones({M, K}, options), b_NK = at::ones({N, K}, options), b_KN = at::ones({K, N}, options);
    Tensor c_MN = at::empty({M, N}, options);
    const std::string size = std::to_string(M) + " x " + std::to_string(N) + " x " + std::to_string(K);
    const auto note = [&](const std::string& who, const std::function<void()>& product) {
      const double flops = 2.0 * static_cast<double>(M * N * K) / seconds_of_fastest(product);
      all.push_back({{"product", who + " " + size}, {"flops", flops}});
      if (flops > best.at("flops")) best = all.back();
    };
    note("at::mm", [&] { at::mm_out(c_MN, a_MK, b_KN); });
    note("at::linear", [&] { at::linear(a_MK, b_NK); });
    note("own", [&] { product(MatrixView::of(a_MK), MatrixView::of(b_NK).t(), format, storage_of(format)); });
  }
  best["all"] = all;
  return best;
}

}  // namespace etude::cli
