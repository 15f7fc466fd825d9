#pragma once
// Counter-based random numbers (Philox4x32-10; Salmon et al., SC 2011, section 3.3). A stream is a pure
// function of its key: nothing is "one draw off" after a resume, and nothing depends on the order in
// which components are built. The key never holds a rank or an arm, so paired arms see the same masks.

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace etude {

/// What a stream is for. Streams of different purposes are independent.
enum class Purpose : uint32_t {
  init = 1,
  shuffle,
  crop,
  dropout,
  mask,
  noise,
  pairing,
  sample,
  environment,
  bootstrap,
  latency,
  test,
  user = 1000
};

/// A purpose of a method's own: derived from a name, so that two methods never share one by accident.
Purpose purpose_of(std::string_view name);

struct Key {
  uint64_t seed = 0;
  Purpose purpose = Purpose::user;
  int64_t step = 0, item = 0;
  bool operator==(const Key&) const = default;
};

/// One block of Philox4x32-10.
std::array<uint32_t, 4> philox(std::array<uint32_t, 4> counter, std::array<uint32_t, 2> key);

class Rng {
 public:
  explicit Rng(const Key& key);
  /// An independent stream below this one; does not advance it.
  Rng fork(uint64_t salt) const;
  Rng fork(std::string_view salt) const;

  uint32_t bits32();
  uint64_t bits64();
  double uniform();          ///< [0, 1), 53 bits
  double normal();           ///< standard normal (Box-Muller)
  double exponential();      ///< mean 1
  int64_t below(int64_t n);  ///< uniform in 0..n-1 without bias; n >= 1
  bool bernoulli(double p) { return uniform() < p; }
  std::vector<int64_t> permutation(int64_t n);
  /// Fills with the same values at any thread count; advances the stream as the fill would serially.
  void fill_bits(std::span<uint32_t> out);   ///< as bits32() for each
  void fill_uniform(std::span<float> out);   ///< one word each: the 24 high bits, in [0, 1)
  void fill_uniform(std::span<double> out);  ///< as uniform() for each
  /// Two words for two elements (both normals of a Box-Muller pair), also for an odd last one.
  void fill_normal(std::span<float> out);
  void fill_normal(std::span<double> out);  ///< as normal() for each

  /// Words of 32 bits drawn so far, for components that must store where they stand.
  uint64_t position() const;
  void seek(uint64_t position);

 private:
  std::array<uint32_t, 2> key_;
  std::array<uint32_t, 4> counter_;
  std::array<uint32_t, 4> block_{};
  int used_ = 4;
  void identify(const std::array<uint32_t, 4>& stream);
  void refill();
  void advance(uint64_t blocks);
};

/// A keyed permutation of 0..n-1 in O(1) memory and time (a Feistel network with cycle walking).
/// Required: n >= 1, and 0 <= i < n.
class Permutation {
 public:
  Permutation(int64_t n, const Key& key);
  int64_t operator()(int64_t i) const;

 private:
  uint64_t once(uint64_t x) const;
  uint64_t n_;
  int left_, right_;  ///< bits of the two halves
  std::array<uint64_t, 12> keys_;
};

/// Permutation(n, key)(i): shuffles data sets of any size without an index in memory.
int64_t permuted(int64_t i, int64_t n, const Key& key);

/// 64-bit mix of a string (FNV-1a with a finaliser); stable for ever: stored runs depend on it.
uint64_t stable_hash(std::string_view text);

}  // namespace etude
