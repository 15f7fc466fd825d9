// Tokens come in chunks, and each thread has a part of the vocabulary. For a chunk it goes through the panels of its
// part, and through the chunk's tiles of tokens:
//
//   l = W_panel x^T          logits of a tile, in the cache
//   e = exp(l - r)           r a reference per token and thread near the largest logit; e is kept for the chunk
//   s += sum of e            the softmax is e exp(r) / sum over threads of s exp(r), e times a factor of the token
//   dx^T += W_panel^T e
//
// Then all threads know lse = log(sum exp(l)), so f = exp(r - lse), and dW_part += e^T (f x); dx is f dx^T summed over
// threads. This is the online softmax (Milakov and Gimelshein 2018, section 3), but for a reference that moves only
// when a logit exceeds it by kHeadroom, which is rare, as e has float32's range of exponents even in bfloat16. The
// label's own share, softmax - target, would vanish in the rounding of e where the model is sure of it: e is set to
// zero there, and the share added in float32.
//
// N tokens, M tokens of a chunk, K of a tile, D width, V vocabulary, P words of a panel.

#include "etude/tensor/cross_entropy_blocks.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "etude/tensor/cross_entropy_kernels.h"

namespace etude {
namespace {

using c10::BFloat16;

/// Logits may exceed their token's reference by so much. exp(40) words of a vocabulary are far from float32's range,
/// and so are factors exp(-40) of x from its smallest numbers.
constexpr float kHeadroom = 40;
constexpr int64_t kK = kHeadTile, kPanel = PackedMatrix::kPanel;

int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t rounded_up(int64_t a, int64_t b) { return divided_up(a, b) * b; }

/// How the work is cut.
struct Plan {
  int64_t chunk, chunks;  ///< tokens, a multiple of tiles
  int64_t part, parts;    ///< words of the vocabulary
  int64_t panel;          ///< words
  int64_t depth;          ///< D as the products sum it: even in bfloat16
  int64_t e_stride, w_stride;
};

Plan plan_of(int64_t N, int64_t D, int64_t V, int64_t bytes, const HeadWants& wants, int threads) {
  Plan plan{};
  // Less work is done before a second thread has woken; parts are multiples of the kernels' blocks of rows.
  constexpr int64_t kWorthAThread = 1 << 18, kStep = 32, kLeastPart = 64;
  const int64_t most = std::min({static_cast<int64_t>(threads), divided_up(V, kLeastPart),
                                 divided_up(std::max<int64_t>(N, 1) * V * D, kWorthAThread)});
  plan.part = rounded_up(divided_up(V, most), kStep);
  plan.parts = divided_up(V, plan.part);
  // A panel of W, its transpose and a tile's sums stay in a second-level cache of 512 KiB and up.
  constexpr int64_t kPanelBytes = 128 << 10, kLargestPanel = 256;
  const int64_t largest = std::clamp(kPanelBytes / (D * bytes) / kStep * kStep, kStep, kLargestPanel);
  plan.panel = rounded_up(divided_up(plan.part, divided_up(plan.part, largest)), kStep);
  // The longer a chunk, the fewer passes over W and dW; what a chunk keeps is bounded.
  constexpr int64_t kKeptBytes = 8 << 20, kSumsBytes = 8 << 20, kLongest = 1024;
  const int64_t kept = wants.weight || wants.bias ? kKeptBytes / (V * bytes) : kLongest;
  const int64_t sums = kSumsBytes / (plan.parts * D * (4 + bytes));
  const int64_t longest = std::clamp(std::min(kept, sums) / kK * kK, kK, kLongest);
  plan.chunks = divided_up(N, longest);
  plan.chunk = plan.chunks == 0 ? kK : rounded_up(divided_up(N, plan.chunks), kK);
  plan.chunks = divided_up(N, plan.chunk);
  plan.depth = bytes == 2 ? rounded_up(D, 2) : D;
  // Rows 32 bytes off a power of two do not fall into the same sets of the cache.
  plan.e_stride = plan.chunk + 32 / bytes;
  plan.w_stride = plan.depth + 32 / bytes;
  return plan;
}

/// Numbers of a type, not initialised.
template <class T>
class Buffer {
 public:
  explicit Buffer(int64_t count = 0) : memory_(at::empty({count}, c10::CppTypeToScalarType<T>::value)) {}
  T* at(int64_t i) { return memory_.template mutable_data_ptr<T>() + i; }

 private:
  Tensor memory_;
};

/// What one thread computes with.
template <class T>
struct Part {
  int64_t first, last;               ///< its words
  Buffer<T> w_PD, w_DP, pairs;       ///< a panel of W, and its transpose; e of a tile as right operand
  Buffer<float> logits_PK, sums_DM;  ///< dx^T in tiles [D, K]
  Buffer<T> scaled_MD;               ///< f x in panels
  Buffer<float> rows_KD, row_sums_KD;
};

/// C (+)= A B for operands in the caches.
void tile_product(int64_t M, int64_t N, int64_t K, const BFloat16* a, int64_t lda, const BFloat16* b, int64_t ldb,
                  float* c, int64_t ldc, bool add) {
  block_product(M, N, K, a, lda, b, ldb, c, ldc, add);
}
void tile_product(int64_t M, int64_t N, int64_t K, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                  int64_t ldc, bool add) {
  if (has_block_kernels()) return block_product(M, N, K, a, lda, b, ldb, c, ldc, add);
  const auto matrix = [](const float* data, int64_t rows, int64_t cols, int64_t stride) {
    return at::from_blob(const_cast<float*>(data), {rows, cols}, {stride, 1}, at::TensorOptions().dtype(at::kFloat));
  };
  Tensor c_MN = matrix(c, M, N, ldc);
  if (add)
    c_MN.addmm_(matrix(a, M, K, lda), matrix(b, K, N, ldb));
  else
    at::mm_out(c_MN, matrix(a, M, K, lda), matrix(b, K, N, ldb));
}

template <class T>
class HeadPass {
 public:
  HeadPass(const Head& head, const HeadWants& wants);
  HeadLosses run();

 private:
  static constexpr bool kNarrow = sizeof(T) == 2;

  void pack_tokens();
  void forward(int64_t part);
  void pack_panel(Part<T>& own, int64_t first, int64_t words);
  void logits_of(Part<T>& own, int64_t first, int64_t words, int64_t tile);
  void move_reference(Part<T>& own, int64_t t, int64_t first, int64_t tile, const float* largest_K);
  void join();
  void backward(int64_t part);
  void add_weight_gradient(Part<T>& own, int64_t t);
  void add_bias_gradient(const Part<T>& own, int64_t t);
  void write_x_gradient(Part<T>& own, int64_t first_tile, int64_t last_tile);

  template <class F>
  void each_part(const F& f) {
    at::parallel_for(0, plan_.parts, 1, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) f(i);
      end_block_products(kNarrow ? Format::bfloat16 : Format::float32);
    });
  }
  bool keeps_e() const { return wants_.any(); }
  int64_t tiles() const { return divided_up(count_, kK); }
  int64_t padded_count() const { return tiles() * kK; }
  MatrixView tokens(int64_t first, int64_t count) const { return x_ND_.slice(start_ + first, count); }
  const float* weight_row(int64_t v) const {
    return static_cast<const float*>(weight_VD_.data) + v * weight_VD_.row_stride;
  }
  /// Of a token of the chunk, in a part's share of `all`.
  float* of_part(Buffer<float>& all, int64_t part, int64_t token) { return all.at(part * plan_.chunk + token); }

  const HeadWants wants_;
  const int64_t N_, D_, V_;
  const MatrixView x_ND_, weight_VD_;
  const float *bias_V_, *token_weight_N_;
  const int64_t* labels_N_;
  const double smoothing_;
  const Tensor mean_D_;  ///< of all words' weights, where smoothing needs it
  const Plan plan_;
  HeadLosses out_;

  int64_t start_ = 0, count_ = 0;  ///< tokens of this chunk
  Buffer<T> tokens_MD_, e_VM_;
  Buffer<float> reference_, sum_, total_, factor_;                ///< [parts, M]
  Buffer<float> lse_M_, label_logit_M_, ones_M_, label_share_M_;  ///< label_share: (softmax - target) of the label
  std::vector<Part<T>> parts_;
};

Tensor mean_of_words(const Head& head, const HeadWants& wants) {
  return head.smoothing > 0 && wants.x ? head.weight_VD.mean(0) : Tensor();
}

template <class T>
HeadPass<T>::HeadPass(const Head& head, const HeadWants& wants)
    : wants_(wants),
      N_(head.x_ND.size(0)),
      D_(head.x_ND.size(1)),
      V_(head.weight_VD.size(0)),
      x_ND_(MatrixView::of(head.x_ND)),
      weight_VD_(MatrixView::of(head.weight_VD)),
      bias_V_(head.bias_V.defined() ? head.bias_V.const_data_ptr<float>() : nullptr),
      token_weight_N_(head.token_weight_N.defined() ? head.token_weight_N.const_data_ptr<float>() : nullptr),
      labels_N_(head.labels_N.const_data_ptr<int64_t>()),
      smoothing_(head.smoothing),
      mean_D_(mean_of_words(head, wants)),
      plan_(plan_of(N_, D_, V_, sizeof(T), wants, at::get_num_threads())),
      tokens_MD_(plan_.chunk * plan_.depth),
      e_VM_(keeps_e() ? plan_.part * plan_.parts * plan_.e_stride : 0),
      reference_(plan_.parts * plan_.chunk),
      sum_(plan_.parts * plan_.chunk),
      total_(plan_.parts * plan_.chunk),
      factor_(plan_.parts * plan_.chunk),
      lse_M_(plan_.chunk),
      label_logit_M_(plan_.chunk),
      ones_M_(plan_.chunk),
      label_share_M_(plan_.chunk) {
  const auto floats = at::TensorOptions().dtype(at::kFloat);
  out_.item_N = at::empty({N_}, floats);
  if (wants.x) out_.x_ND = at::empty({N_, D_}, head.x_ND.scalar_type());
  if (wants.weight) out_.weight_VD = N_ == 0 ? at::zeros({V_, D_}, floats) : at::empty({V_, D_}, floats);
  if (wants.bias) out_.bias_V = at::zeros({V_}, floats);
  std::fill(ones_M_.at(0), ones_M_.at(0) + plan_.chunk, 1.0F);
  const int64_t row_floats = wants.x ? kK * D_ : 0;
  for (int64_t t = 0; t < plan_.parts; ++t)
    parts_.push_back({.first = t * plan_.part,
                      .last = std::min(V_, (t + 1) * plan_.part),
                      .w_PD = Buffer<T>(kNarrow ? plan_.panel * plan_.w_stride : 0),
                      .w_DP = Buffer<T>(wants.x ? D_ * plan_.panel : 0),
                      .pairs = Buffer<T>(kNarrow && keeps_e() ? plan_.panel * kK : 0),
                      .logits_PK = Buffer<float>(plan_.panel * kK),
                      .sums_DM = Buffer<float>(wants.x ? D_ * plan_.chunk : 0),
                      .scaled_MD = Buffer<T>(wants.weight ? plan_.chunk * rounded_up(D_, kPanel) : 0),
                      .rows_KD = Buffer<float>(row_floats),
                      .row_sums_KD = Buffer<float>(row_floats)});
}

/// x^T in tiles [depth, K], zeros for tokens beyond the chunk's last.
template <class T>
void HeadPass<T>::pack_tokens() {
  at::parallel_for(0, tiles(), 4, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      copy_panel(tokens(i * kK, std::min(kK, count_ - i * kK)).t(), tokens_MD_.at(i * kK * plan_.depth), kK, kK);
  });
}

template <class T>
void HeadPass<T>::pack_panel(Part<T>& own, int64_t first, int64_t words) {
  const MatrixView panel = weight_VD_.slice(first, words);
  if constexpr (kNarrow) copy_rows(panel, own.w_PD.at(0), plan_.w_stride, plan_.depth);
  if (wants_.x) copy_rows(panel.t(), own.w_DP.at(0), plan_.panel, kNarrow ? rounded_up(words, 2) : words);
}

template <class T>
void HeadPass<T>::logits_of(Part<T>& own, int64_t first, int64_t words, int64_t tile) {
  const T* panel;
  int64_t stride = plan_.w_stride;
  if constexpr (kNarrow) {
    panel = own.w_PD.at(0);
  } else {
    panel = weight_row(first);
    stride = weight_VD_.row_stride;
  }
  float* const logits = own.logits_PK.at(0);
  tile_product(words, kK, plan_.depth, panel, stride, tokens_MD_.at(tile * kK * plan_.depth), kK, logits, kK, false);
  for (int64_t p = 0; bias_V_ && p < words; ++p)
    for (int64_t i = 0; i < kK; ++i) logits[p * kK + i] += bias_V_[first + p];
}

/// Where a logit exceeds its token's reference by too much, it becomes the reference, and what was summed with the old
/// one in this part, for words before `first`, is scaled.
template <class T>
void HeadPass<T>::move_reference(Part<T>& own, int64_t t, int64_t first, int64_t tile, const float* largest_K) {
  for (int64_t i = 0; i < kK; ++i) {
    const int64_t m = tile * kK + i;
    float& reference = *of_part(reference_, t, m);
    if (!(largest_K[i] > reference + kHeadroom)) continue;
    const float scale = std::exp(reference - largest_K[i]);
    reference = largest_K[i];
    *of_part(sum_, t, m) *= scale;
    for (int64_t v = own.first; keeps_e() && v < first; ++v) {
      T& e = *e_VM_.at(v * plan_.e_stride + m);
      e = static_cast<T>(static_cast<float>(e) * scale);
    }
    for (int64_t d = 0; wants_.x && d < D_; ++d) *own.sums_DM.at((tile * D_ + d) * kK + i) *= scale;
  }
}

template <class T>
void HeadPass<T>::forward(int64_t t) {
  Part<T>& own = parts_[static_cast<size_t>(t)];
  std::fill(of_part(sum_, t, 0), of_part(sum_, t, plan_.chunk), 0.0F);
  std::fill(of_part(total_, t, 0), of_part(total_, t, plan_.chunk), 0.0F);
  for (int64_t first = own.first; first < own.last; first += plan_.panel) {
    const int64_t words = std::min(plan_.panel, own.last - first);
    pack_panel(own, first, words);
    for (int64_t tile = 0; tile < tiles(); ++tile) {
      logits_of(own, first, words, tile);
      const float* const logits = own.logits_PK.at(0);
      const int64_t m = tile * kK, count = std::min(kK, count_ - m);
      float largest[kK];
      largest_logits(logits, words, largest);
      if (first == own.first)
        std::copy(largest, largest + kK, of_part(reference_, t, m));
      else
        move_reference(own, t, first, tile, largest);

      const Exponentials exponents{logits, words, of_part(reference_, t, m), of_part(sum_, t, m),
                                   smoothing_ > 0 ? of_part(total_, t, m) : nullptr};
      T* const e = keeps_e() ? e_VM_.at(first * plan_.e_stride + m) : nullptr;
      if constexpr (kNarrow) {
        exponentials(exponents, e, plan_.e_stride, own.pairs.at(0));
        // Rows of pairs are even.
        for (int64_t i = 0; e && words % 2 != 0 && i < kK; ++i) *own.pairs.at((words - 1) * kK + 2 * i + 1) = 0;
      } else {
        exponentials(exponents, e, plan_.e_stride);
      }
      for (int64_t i = 0; i < count; ++i) {
        const int64_t p = labels_N_[start_ + m + i] - first;
        if (p < 0 || p >= words) continue;
        *label_logit_M_.at(m + i) = logits[p * kK + i];
        if (!e) continue;
        e[p * plan_.e_stride + i] = 0;
        if constexpr (kNarrow) *own.pairs.at((p / 2 * kK + i) * 2 + p % 2) = 0;
      }
      if (!wants_.x) continue;
      float* const sums = own.sums_DM.at(tile * D_ * kK);
      const bool add = first != own.first;
      if constexpr (kNarrow)
        tile_product(D_, kK, rounded_up(words, 2), own.w_DP.at(0), plan_.panel, own.pairs.at(0), kK, sums, kK, add);
      else
        tile_product(D_, kK, words, own.w_DP.at(0), plan_.panel, e, plan_.e_stride, sums, kK, add);
    }
  }
}

/// The chunk's items, and the factors of its gradients.
template <class T>
void HeadPass<T>::join() {
  const int64_t M = plan_.chunk;
  join_softmaxes(reference_.at(0), sum_.at(0), plan_.parts, M, count_, lse_M_.at(0));
  const float* const weight = token_weight_N_ ? token_weight_N_ + start_ : ones_M_.at(0);
  const float* const lse = lse_M_.at(0);
  const auto spread = static_cast<float>(smoothing_);
  for (int64_t m = 0; m < count_; ++m) {
    float loss = lse[m] - (1 - spread) * *label_logit_M_.at(m);
    if (smoothing_ > 0) {
      double total = 0;
      for (int64_t t = 0; t < plan_.parts; ++t) total += *of_part(total_, t, m);
      loss -= spread * static_cast<float>(total / static_cast<double>(V_));
    }
    out_.item_N.mutable_data_ptr<float>()[start_ + m] = weight[m] == 0 ? 0 : weight[m] * loss;
  }
  if (!wants_.any()) return;
  for (int64_t t = 0; t < plan_.parts; ++t)
    scaled_exponentials(of_part(reference_, t, 0), lse, weight, count_, of_part(factor_, t, 0));
  scaled_exponentials(label_logit_M_.at(0), lse, weight, count_, label_share_M_.at(0));
  for (int64_t m = 0; m < count_; ++m) *label_share_M_.at(m) -= weight[m] * (1 - spread);
}

/// dW of the part's words, but for what smoothing spreads over all.
template <class T>
void HeadPass<T>::add_weight_gradient(Part<T>& own, int64_t t) {
  const int64_t M = padded_count();
  float* const gradient = out_.weight_VD.mutable_data_ptr<float>();
  const MatrixView x_MD = tokens(0, count_);
  for (int64_t d = 0; d < D_; d += kPanel)
    scaled_panel(x_MD.t().slice(d, std::min(kPanel, D_ - d)).t(), of_part(factor_, t, 0), M, own.scaled_MD.at(d * M));
  for (int64_t first = own.first; first < own.last; first += plan_.panel) {
    const int64_t words = std::min(plan_.panel, own.last - first);
    for (int64_t d = 0; d < D_; d += kPanel)
      tile_product(words, std::min(kPanel, D_ - d), M, e_VM_.at(first * plan_.e_stride), plan_.e_stride,
                   own.scaled_MD.at(d * M), kPanel, gradient + first * D_ + d, D_, start_ > 0);
  }
  const auto row_bytes = x_MD.row_stride * static_cast<int64_t>(c10::elementSize(x_MD.type));
  for (int64_t m = 0; m < count_; ++m) {
    const int64_t label = labels_N_[start_ + m];
    if (label < own.first || label >= own.last) continue;
    add_scaled(gradient + label * D_, static_cast<const char*>(x_MD.data) + m * row_bytes, x_MD.type,
               *label_share_M_.at(m), D_);
  }
}

template <class T>
void HeadPass<T>::add_bias_gradient(const Part<T>& own, int64_t t) {
  float* const gradient = out_.bias_V.mutable_data_ptr<float>();
  for (int64_t v = own.first; v < own.last; ++v)
    gradient[v] += dot(e_VM_.at(v * plan_.e_stride), of_part(factor_, t, 0), count_);
  for (int64_t m = 0; m < count_; ++m) {
    const int64_t label = labels_N_[start_ + m];
    if (label >= own.first && label < own.last) gradient[label] += *label_share_M_.at(m);
  }
}

template <class T>
void HeadPass<T>::write_x_gradient(Part<T>& own, int64_t first_tile, int64_t last_tile) {
  for (int64_t tile = first_tile; tile < last_tile; ++tile) {
    const int64_t m = tile * kK, count = std::min(kK, count_ - m);
    float* const sums = own.row_sums_KD.at(0);
    std::fill(sums, sums + count * D_, 0.0F);
    for (int64_t t = 0; t < plan_.parts; ++t) {
      const float* const of_words = parts_[static_cast<size_t>(t)].sums_DM.at(tile * D_ * kK);
      copy_rows(MatrixView{of_words, at::kFloat, count, D_, 1, kK}, own.rows_KD.at(0), D_, D_);
      for (int64_t i = 0; i < count; ++i)
        add_scaled(sums + i * D_, own.rows_KD.at(i * D_), at::kFloat, *of_part(factor_, t, m + i), D_);
    }
    for (int64_t i = 0; i < count; ++i) {
      float* const row = sums + i * D_;
      add_scaled(row, weight_row(labels_N_[start_ + m + i]), at::kFloat, *label_share_M_.at(m + i), D_);
      if (!mean_D_.defined()) continue;
      const float weight = token_weight_N_ ? token_weight_N_[start_ + m + i] : 1;
      add_scaled(row, mean_D_.const_data_ptr(), at::kFloat, -static_cast<float>(smoothing_) * weight, D_);
    }
    const MatrixView rows{sums, at::kFloat, count, D_, D_, 1};
    const int64_t at = (start_ + m) * D_;
    if (out_.x_ND.scalar_type() == at::kFloat)
      copy_rows(rows, out_.x_ND.mutable_data_ptr<float>() + at, D_, D_);
    else
      copy_rows(rows, out_.x_ND.mutable_data_ptr<BFloat16>() + at, D_, D_);
  }
}

template <class T>
void HeadPass<T>::backward(int64_t t) {
  Part<T>& own = parts_[static_cast<size_t>(t)];
  if (wants_.weight) add_weight_gradient(own, t);
  if (wants_.bias) add_bias_gradient(own, t);
  if (wants_.x) write_x_gradient(own, t * tiles() / plan_.parts, (t + 1) * tiles() / plan_.parts);
}

template <class T>
HeadLosses HeadPass<T>::run() {
  for (start_ = 0; start_ < N_; start_ += plan_.chunk) {
    count_ = std::min(plan_.chunk, N_ - start_);
    pack_tokens();
    each_part([&](int64_t t) { forward(t); });
    join();
    if (wants_.any()) each_part([&](int64_t t) { backward(t); });
  }
  return out_;
}

/// - smoothing / V of each token's weight, for all words.
void spread_over_words(const Head& head, HeadLosses& losses) {
  const double share = head.smoothing / static_cast<double>(head.weight_VD.size(0));
  const Tensor weight_N = head.token_weight_N.defined()
                              ? head.token_weight_N
                              : at::ones({head.x_ND.size(0)}, at::TensorOptions().dtype(at::kFloat));
  if (losses.weight_VD.defined()) losses.weight_VD.sub_(at::mv(head.x_ND.to(at::kFloat).t(), weight_N), share);
  if (losses.bias_V.defined()) losses.bias_V.sub_(weight_N.sum(), share);
}

/// Processors without block kernels compute in float32 whatever the format.
bool narrow(Format format) { return format == Format::bfloat16 && has_block_kernels(); }

}  // namespace

HeadLosses head_losses(const Head& head, const HeadWants& wants) {
  const at::NoGradGuard no_grad;
  HeadLosses losses = narrow(head.format) ? HeadPass<BFloat16>(head, wants).run() : HeadPass<float>(head, wants).run();
  if (head.smoothing > 0) spread_over_words(head, losses);
  return losses;
}

int64_t head_workspace_bytes(int64_t N, int64_t D, int64_t V, Format format, const HeadWants& wants, int threads) {
  const int64_t bytes = narrow(format) ? 2 : 4;
  const Plan p = plan_of(N, D, V, bytes, wants, threads);
  const int64_t tokens = p.chunk * p.depth * bytes + 4 * p.chunk * (p.parts + 1) * 4;
  const int64_t e = wants.any() ? p.part * p.parts * p.e_stride * bytes : 0;
  int64_t own = p.panel * kK * 4;
  if (bytes == 2) own += (p.panel * p.w_stride + (wants.any() ? p.panel * kK : 0)) * bytes;
  if (wants.x) own += D * (p.panel * bytes + p.chunk * 4 + 2 * kK * 4);
  if (wants.weight) own += p.chunk * rounded_up(D, kPanel) * bytes;
  return tokens + e + p.parts * own;
}

}  // namespace etude
