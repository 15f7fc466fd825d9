// B batch, T time, H heads, E head width.

#include "etude/tensor/rotary_kernel.h"

#include "etude/tensor/rows_testing.h"

namespace etude {
namespace {

using test::allowed;
using test::normal_rows;
using test::relative_distance;

/// cos and sin (-, +) of random angles [T, E/2] or [B, T, E/2], and the angles.
struct RandomRotation {
  Tensor angle, cos, sin;
};
RandomRotation random_rotation(at::IntArrayRef leading, int64_t E, at::ScalarType type, uint64_t seed) {
  std::vector<int64_t> shape = leading.vec();
  shape.push_back(E / 2);
  const Tensor angle = normal_rows(shape, at::kFloat, seed, "angle") * 3;
  const Tensor cos = angle.cos().to(type), sin = angle.sin().to(type);
  return {angle, at::cat({cos, cos}, -1).unsqueeze(-2), at::cat({-sin, sin}, -1).unsqueeze(-2)};
}

/// Pairs as complex numbers times cos + i sin, as these were rounded.
Tensor by_complex_products(const Tensor& x_BTHE, const RandomRotation& r, bool inverse) {
  const int64_t half = x_BTHE.size(-1) / 2;
  const Tensor x = x_BTHE.to(at::kDouble);
  const Tensor turn = at::complex(r.cos.narrow(-1, 0, half).to(at::kDouble),
                                  r.sin.narrow(-1, half, half).to(at::kDouble) * (inverse ? -1 : 1));
  const Tensor turned = at::complex(x.narrow(-1, 0, half).contiguous(), x.narrow(-1, half, half).contiguous()) * turn;
  return at::cat({at::real(turned), at::imag(turned)}, -1);
}

/// Heads as attention has them: 0 contiguous, 1 a slice of a wider projection, 2 heads before time, 3 any strides.
Tensor heads_in_layout(int layout, int64_t B, int64_t T, int64_t H, int64_t E, at::ScalarType type, uint64_t seed) {
  const auto random = [&](at::IntArrayRef sizes) { return normal_rows(sizes, type, seed, "heads"); };
  if (layout == 0) return random({B, T, H, E});
  if (layout == 1) return random({B, T, 3 * H * E}).narrow(2, H * E, H * E).view({B, T, H, E});
  if (layout == 2) return random({B, H, T, E}).transpose(1, 2);
  return random({B, T, E, H}).transpose(2, 3);
}

TEST(RotaryKernel, TurnsComplexPairs) {
  uint64_t seed = 0;
  const std::vector<std::vector<int64_t>> shapes{{2, 5, 3, 8}, {1, 1, 1, 2}, {3, 7, 2, 34}, {2, 33, 4, 64},
                                                 {0, 4, 2, 8}, {2, 0, 2, 8}, {1, 9, 5, 96}, {2, 6, 4, 16}};
  test::with_each_isa([&] {
    for (const auto type : {at::kFloat, at::kBFloat16})
      for (const auto angles : {at::kFloat, at::kBFloat16})
        for (const auto& s : shapes)
          for (const int layout : {0, 1, 2, 3})
            for (const bool own_positions : {false, true})
              for (const bool inverse : {false, true}) {
                const int64_t B = s[0], T = s[1], H = s[2], E = s[3];
                const std::vector<int64_t> leading =
                    own_positions ? std::vector<int64_t>{B, T} : std::vector<int64_t>{T};
                const RandomRotation r = random_rotation(leading, E, angles, ++seed);
                const Tensor x = heads_in_layout(layout, B, T, H, E, type, seed);
                const Tensor y = rotate_pairs(x, r.cos, r.sin, inverse);
                EXPECT_EQ(y.scalar_type(), type);
                EXPECT_TRUE(y.is_contiguous() || isa() == Isa::aten);
                EXPECT_LT(relative_distance(y, by_complex_products(x, r, inverse)), allowed(type));
              }
  });
}

TEST(RotaryKernel, TheInverseTurnsBack) {
  const RandomRotation r = random_rotation({40}, 64, at::kFloat, 1);
  const Tensor x = normal_rows({3, 40, 4, 64}, at::kFloat, 1, "x");
  const Tensor there = rotate_pairs(x, r.cos, r.sin, false);
  EXPECT_GT(relative_distance(there, x), 0.5);
  EXPECT_LT(relative_distance(rotate_pairs(there, r.cos, r.sin, true), x), 1e-6);
}

TEST(RotaryKernel, TakesTheKernelAtTheSizesThatMatterAndAtenElsewhere) {
  const std::map<std::string, int64_t> own{{"own", 1}};
  for (const auto type : {at::kFloat, at::kBFloat16})
    for (const std::vector<int64_t>& s : {std::vector<int64_t>{16, 64, 4, 16}, {16, 256, 4, 64}, {4, 512, 8, 64}}) {
      const RandomRotation r = random_rotation({s[1]}, s[3], at::kFloat, 1);
      const Tensor x = at::ones(s, type);
      EXPECT_EQ(test::paths_of("rotary", [&] { rotate_pairs(x, r.cos, r.sin, false); }), own);
    }
  const auto elsewhere = [](const at::TensorOptions& like) {
    return test::paths_of("rotary", [&] {
      const Tensor angle = at::ones({3, 1, 4}, like);
      EXPECT_EQ(rotate_pairs(at::ones({2, 3, 2, 4}, like), angle, angle, false).sizes(), at::IntArrayRef({2, 3, 2, 4}));
    });
  };
  EXPECT_EQ(elsewhere(at::kDouble), (std::map<std::string, int64_t>{{"aten: type", 1}}));
  EXPECT_EQ(elsewhere(at::TensorOptions(at::kFloat).device(at::kMeta)),
            (std::map<std::string, int64_t>{{"aten: device", 1}}));
}

}  // namespace
}  // namespace etude
