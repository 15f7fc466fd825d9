#include "etude/base/rng.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <numbers>
#include <tuple>
#include <utility>

#include "etude/base/error.h"

namespace etude {
namespace {

using Words = std::array<uint32_t, 4>;
__extension__ typedef unsigned __int128 Wide;

// Random123's constants (table 2 of the paper).
constexpr uint32_t kMultiply0 = 0xD2511F53, kMultiply1 = 0xCD9E8D57;
constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
constexpr int kRounds = 10;

// Keeps streams made from a Key apart from those made by fork().
constexpr uint32_t kKeyDomain = 0x45747564, kForkDomain = 0x666F726B;

constexpr uint32_t low(uint64_t x) { return static_cast<uint32_t>(x); }
constexpr uint32_t high(uint64_t x) { return static_cast<uint32_t>(x >> 32); }
constexpr uint64_t both(uint32_t lo, uint32_t hi) { return uint64_t{hi} << 32 | lo; }

/// Murmur3's finaliser: every bit of x reaches every bit of the result.
constexpr uint64_t mix(uint64_t x) {
  x = (x ^ x >> 33) * 0xFF51AFD7ED558CCD;
  x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53;
  return x ^ x >> 33;
}

/// `kLanes` consecutive blocks at once, in a form that compilers vectorise. counter[0..1] is the index
/// of the first block.
constexpr int kLanes = 16;
void philox_lanes(const Words& counter, std::array<uint32_t, 2> key, uint32_t* out) {
  uint32_t c[4][kLanes];
  const uint64_t first = both(counter[0], counter[1]);
  for (int l = 0; l < kLanes; ++l) {
    c[0][l] = low(first + static_cast<uint64_t>(l));
    c[1][l] = high(first + static_cast<uint64_t>(l));
    c[2][l] = counter[2];
    c[3][l] = counter[3];
  }
  for (int round = 0; round < kRounds; ++round) {
    for (int l = 0; l < kLanes; ++l) {
      const uint64_t p0 = uint64_t{kMultiply0} * c[0][l], p1 = uint64_t{kMultiply1} * c[2][l];
      c[0][l] = high(p1) ^ c[1][l] ^ key[0];
      c[2][l] = high(p0) ^ c[3][l] ^ key[1];
      c[1][l] = low(p1);
      c[3][l] = low(p0);
    }
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  for (int l = 0; l < kLanes; ++l) {
    for (int w = 0; w < 4; ++w) out[4 * l + w] = c[w][l];
  }
}

constexpr double unit_double(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1p-53; }
constexpr float unit_float(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24f; }

/// Box-Muller: a pair of normals from the uniforms u in (0, 1] and v in [0, 1).
template <class F>
std::pair<F, F> normal_pair(F u, F v) {
  const F radius = std::sqrt(F(-2) * std::log(u));
  const F angle = F(2) * std::numbers::pi_v<F> * v;
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

}  // namespace

Words philox(Words c, std::array<uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t p0 = uint64_t{kMultiply0} * c[0], p1 = uint64_t{kMultiply1} * c[2];
    c = {high(p1) ^ c[1] ^ key[0], low(p1), high(p0) ^ c[3] ^ key[1], low(p0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return c;
}

Purpose purpose_of(std::string_view name) { return static_cast<Purpose>(0x80000000u | low(stable_hash(name))); }

Rng::Rng(const Key& key) {
  // A bijection of (step, item) under the seed, then one under the purpose: keys of one seed and
  // purpose never share a stream.
  const auto step = static_cast<uint64_t>(key.step), item = static_cast<uint64_t>(key.item);
  const Words place = philox({low(step), high(step), low(item), high(item)}, {low(key.seed), high(key.seed)});
  identify(philox(place, {static_cast<uint32_t>(key.purpose), kKeyDomain}));
}

void Rng::identify(const Words& stream) {
  key_ = {stream[0], stream[1]};
  counter_ = {0, 0, stream[2], stream[3]};
  used_ = 4;
}

Rng Rng::fork(uint64_t salt) const {
  const Words salted = philox({key_[0], key_[1], counter_[2], counter_[3]}, {low(salt), high(salt)});
  Rng out = *this;
  out.identify(philox(salted, {kForkDomain, kKeyDomain}));
  return out;
}

Rng Rng::fork(std::string_view salt) const { return fork(stable_hash(salt)); }

void Rng::refill() {
  block_ = philox(counter_, key_);
  advance(1);
  used_ = 0;
}

void Rng::advance(uint64_t blocks) {
  const uint64_t index = both(counter_[0], counter_[1]) + blocks;
  counter_[0] = low(index);
  counter_[1] = high(index);
}

uint32_t Rng::bits32() {
  if (used_ == 4) refill();
  return block_[static_cast<size_t>(used_++)];
}

uint64_t Rng::bits64() {
  const uint32_t lo = bits32();
  return both(lo, bits32());
}

double Rng::uniform() { return unit_double(bits64()); }

double Rng::normal() {
  const double u = 1 - uniform();
  return normal_pair(u, uniform()).first;
}

double Rng::exponential() { return -std::log1p(-uniform()); }

int64_t Rng::below(int64_t n) {
  ETUDE_CHECK(n >= 1, "below() needs at least one value");
  // Lemire, "Fast random integer generation in an interval" (2019): the low word of bits * n tells the
  // few draws that would make some values likelier.
  const auto range = static_cast<uint64_t>(n);
  Wide product = Wide{bits64()} * range;
  if (static_cast<uint64_t>(product) < range) {
    const uint64_t surplus = (0 - range) % range;
    while (static_cast<uint64_t>(product) < surplus) product = Wide{bits64()} * range;
  }
  return static_cast<int64_t>(product >> 64);
}

std::vector<int64_t> Rng::permutation(int64_t n) {
  ETUDE_CHECK(n >= 0, "a permutation has no negative length");
  std::vector<int64_t> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = i;
  for (int64_t i = n - 1; i > 0; --i) {
    std::swap(out[static_cast<size_t>(i)], out[static_cast<size_t>(below(i + 1))]);
  }
  return out;
}

void Rng::fill_bits(std::span<uint32_t> out) {
  size_t i = 0;
  while (i < out.size() && used_ < 4) out[i++] = bits32();
  constexpr size_t kWords = size_t{4} * kLanes;
  for (; out.size() - i >= kWords; i += kWords) {
    philox_lanes(counter_, key_, out.data() + i);
    advance(kLanes);
  }
  while (i < out.size()) out[i++] = bits32();
}

namespace {

/// Draws `per` words for every element, in pieces that stay in the first-level cache.
template <class T, class Fill, class Convert>
void fill_in_pieces(std::span<T> out, size_t per, const Fill& fill, const Convert& convert) {
  constexpr size_t kPiece = 1024;
  std::array<uint32_t, kPiece> words;
  for (size_t i = 0; i < out.size();) {
    const size_t n = std::min(kPiece / per, out.size() - i);
    fill(std::span(words).first(n * per));
    convert(words.data(), out.subspan(i, n));
    i += n;
  }
}

}  // namespace

void Rng::fill_uniform(std::span<float> out) {
  fill_in_pieces(
      out, 1, [&](auto words) { fill_bits(words); },
      [](const uint32_t* words, std::span<float> piece) {
        for (size_t i = 0; i < piece.size(); ++i) piece[i] = unit_float(words[i]);
      });
}

void Rng::fill_uniform(std::span<double> out) {
  fill_in_pieces(
      out, 2, [&](auto words) { fill_bits(words); },
      [](const uint32_t* words, std::span<double> piece) {
        for (size_t i = 0; i < piece.size(); ++i) {
          piece[i] = unit_double(both(words[2 * i], words[2 * i + 1]));
        }
      });
}

void Rng::fill_normal(std::span<float> out) {
  // Pairs: both normals of a Box-Muller pair are used, an odd last element drops its second one.
  const auto pair = [](uint32_t a, uint32_t b) {
    return normal_pair((static_cast<float>(a) + 1) * 0x1p-32f, unit_float(b));
  };
  const size_t even = out.size() & ~size_t{1};
  fill_in_pieces(
      out.first(even), 1, [&](auto words) { fill_bits(words); },
      [&](const uint32_t* words, std::span<float> piece) {
        for (size_t i = 0; i < piece.size(); i += 2) {
          std::tie(piece[i], piece[i + 1]) = pair(words[i], words[i + 1]);
        }
      });
  if (even < out.size()) {
    const uint32_t a = bits32();
    out[even] = pair(a, bits32()).first;
  }
}

void Rng::fill_normal(std::span<double> out) {
  for (double& x : out) x = normal();
}

uint64_t Rng::position() const { return both(counter_[0], counter_[1]) * 4 - static_cast<uint64_t>(4 - used_); }

void Rng::seek(uint64_t position) {
  counter_[0] = low(position / 4);
  counter_[1] = high(position / 4);
  used_ = 4;
  if (position % 4 != 0) {
    refill();
    used_ = static_cast<int>(position % 4);
  }
}

Permutation::Permutation(int64_t n, const Key& key) : n_(static_cast<uint64_t>(n)) {
  ETUDE_CHECK(n >= 1, "a permutation needs at least one element");
  const int bits = std::max(2, static_cast<int>(std::bit_width(n_ - 1)));
  left_ = bits / 2;
  right_ = bits - left_;
  Rng rng(key);
  for (uint64_t& k : keys_) k = rng.bits64();
}

int64_t Permutation::operator()(int64_t i) const {
  ETUDE_CHECK(i >= 0 && static_cast<uint64_t>(i) < n_, "a permuted index is out of its range");
  auto x = static_cast<uint64_t>(i);
  do x = once(x);
  while (x >= n_);  // cycle walking: the orbit of i comes back below n
  return static_cast<int64_t>(x);
}

uint64_t Permutation::once(uint64_t x) const {
  // An alternating Feistel network: each round adds a keyed function of one half to the other.
  const uint64_t left_mask = (uint64_t{1} << left_) - 1, right_mask = (uint64_t{1} << right_) - 1;
  uint64_t left = x >> right_, right = x & right_mask;
  for (size_t round = 0; round < keys_.size(); round += 2) {
    left = (left + mix(right ^ keys_[round])) & left_mask;
    right = (right + mix(left ^ keys_[round + 1])) & right_mask;
  }
  return left << right_ | right;
}

int64_t permuted(int64_t i, int64_t n, const Key& key) { return Permutation(n, key)(i); }

uint64_t stable_hash(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3;
  return mix(hash);
}

}  // namespace etude
