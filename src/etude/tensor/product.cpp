// Blocks in the manner of Goto and van de Geijn (2008, "Anatomy of high-performance matrix multiplication", section 4),
// around the batch-reduce kernels of oneDNN that LibTorch holds.
//
// M rows, N columns, K summed; C the product.

#include "etude/tensor/product.h"

#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <ATen/native/CPUBlas.h>

#include <algorithm>

#include "etude/base/error.h"
#include "etude/tensor/paths.h"
#include "etude/tensor/processor.h"
#include "etude/tensor/scratch.h"

namespace etude {
namespace {

using c10::BFloat16;
constexpr int64_t kPanel = PackedMatrix::kPanel;

int64_t divided_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t rounded_up(int64_t a, int64_t b) { return divided_up(a, b) * b; }

enum class ProductScratch { sums, copy };

at::Tensor as_tensor(const MatrixView& m) {
  return at::from_blob(const_cast<void*>(m.data), {m.rows, m.cols}, {m.row_stride, m.col_stride},
                       at::TensorOptions().dtype(m.type));
}

/// The values that a product in this format multiplies.
at::Tensor rounded(const MatrixView& m, Format format) {
  const at::Tensor all = as_tensor(m);
  return (format == Format::bfloat16 ? all.to(at::kBFloat16) : all).to(at::kFloat);
}

/// By LibTorch's product of whole matrices.
void multiply_whole(const MatrixView& a, const at::Tensor& b_KN, Format format, FinishBlock finish) {
  const at::Tensor c_MN = at::mm(rounded(a, format), b_KN);
  float* const c = c_MN.mutable_data_ptr<float>();
  const int64_t M = a.rows, N = b_KN.size(1), rows = std::max<int64_t>(1, divided_up(M, at::get_num_threads()));
  at::parallel_for(0, divided_up(M, rows), 1, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      for (int64_t n = 0; n < N; n += kPanel)
        finish({i * rows, n, std::min(rows, M - i * rows), std::min(kPanel, N - n), c + i * rows * N + n, N});
  });
}

/// How a product is cut: blocks of rows, groups of panels whose sums stay in the cache together, chunks of K.
struct Cut {
  int64_t rows, blocks;    ///< of M
  int64_t panels, groups;  ///< of N
  int64_t depth, chunks;   ///< of K; even
};

template <class T>
Cut cut_of(int64_t M, int64_t N, int64_t K, bool copies_a, int threads) {
  // Of a core's second-level cache (1 MiB and up, or 512 KiB) a block of A takes 128 KiB, a chunk of a panel 64 KiB,
  // and the sums of a group 256 KiB.
  constexpr int64_t kDeepest = (64 << 10) / (kPanel * static_cast<int64_t>(sizeof(T)));
  constexpr int64_t kMostRows = 128, kMostSums = (256 << 10) / 4;
  Cut cut{};
  cut.chunks = K <= kDeepest + kDeepest / 2 ? 1 : divided_up(K, kDeepest);
  cut.depth = rounded_up(divided_up(K, cut.chunks), 2);
  cut.chunks = divided_up(K, cut.depth);
  const int64_t panels = divided_up(N, kPanel);
  cut.rows = std::min<int64_t>(kMostRows, rounded_up(M, 4));
  // A copied block serves all panels of a group.
  const int64_t together = copies_a || cut.chunks > 1 ? kMostSums / (cut.rows * kPanel) : 1;
  cut.groups = divided_up(panels, cut.chunks > 1 ? together : panels);
  cut.panels = divided_up(panels, cut.groups);
  cut.groups = divided_up(panels, cut.panels);
  cut.blocks = divided_up(M, cut.rows);
  // As many tasks as threads, or a multiple where they are few.
  while (cut.blocks * cut.groups % threads != 0 && cut.blocks * cut.groups < 8 * threads && cut.rows > 16) {
    cut.rows = rounded_up(divided_up(M, cut.blocks + 1), 4);
    if (divided_up(M, cut.rows) == cut.blocks) break;
    cut.blocks = divided_up(M, cut.rows);
  }
  return cut;
}

template <class T>
void multiply_blocks(const MatrixView& a, const PackedMatrix& b, FinishBlock finish) {
  const int64_t M = a.rows, N = b.cols(), K = b.rows(), padded_K = rounded_up(K, sizeof(T) == 2 ? 2 : 1);
  const bool in_place = a.type == c10::CppTypeToScalarType<T>::value && a.col_stride == 1 && K == padded_K;
  const int threads = at::in_parallel_region() ? 1 : at::get_num_threads();
  const Cut cut = cut_of<T>(M, N, padded_K, !in_place, threads);

  const auto work = [&](int64_t first, int64_t last) {
    const bool sums_of_group = cut.chunks > 1;
    float* const sums =
        thread_scratch<float, ProductScratch::sums>(cut.rows * kPanel * (sums_of_group ? cut.panels : 1));
    // Rows of a copy lie 32 bytes off a power of two, where they would fall into the same sets of the cache.
    const int64_t copy_stride = cut.depth + 32 / static_cast<int64_t>(sizeof(T));
    T* const copy = in_place ? nullptr : thread_scratch<T, ProductScratch::copy>(cut.rows * copy_stride);
    for (int64_t task = first; task < last; ++task) {
      const int64_t m = task / cut.groups * cut.rows, rows = std::min(cut.rows, M - m);
      const int64_t p0 = task % cut.groups * cut.panels, p1 = std::min(p0 + cut.panels, divided_up(N, kPanel));
      for (int64_t chunk = 0; chunk < cut.chunks; ++chunk) {
        const int64_t k = chunk * cut.depth, depth = std::min(cut.depth, padded_K - k);
        const T* left = static_cast<const T*>(a.data) + m * a.row_stride + k;
        int64_t left_stride = a.row_stride;
        if (copy) {
          MatrixView piece = a.slice(m, rows).t().slice(k, std::min(depth, K - k)).t();
          copy_rows(piece, copy, copy_stride, depth);
          left = copy;
          left_stride = copy_stride;
        }
        for (int64_t p = p0; p < p1; ++p) {
          float* const c = sums + (sums_of_group ? (p - p0) * cut.rows * kPanel : 0);
          block_product(rows, kPanel, depth, left, left_stride, static_cast<const T*>(b.panel(p)) + k * kPanel, kPanel,
                        c, kPanel, chunk > 0);
          if (chunk + 1 == cut.chunks) finish({m, p * kPanel, rows, std::min(kPanel, N - p * kPanel), c, kPanel});
        }
      }
    }
    end_block_products(sizeof(T) == 2 ? Format::bfloat16 : Format::float32);
  };
  const int64_t tasks = cut.blocks * cut.groups;
  // Small products are done before a second thread has woken.
  constexpr int64_t kWorthAThread = 1 << 18;
  const int64_t grain = std::max<int64_t>(1, divided_up(tasks * kWorthAThread, std::max<int64_t>(1, M * N * K)));
  at::parallel_for(0, tasks, grain, work);
}

/// Fewer rows than these are done before B is packed.
constexpr int64_t kRowsWorthPacking = 16;

}  // namespace

MatrixView MatrixView::of(const at::Tensor& matrix) {
  ETUDE_CHECK(matrix.dim() == 2 && matrix.is_cpu() &&
                  (matrix.scalar_type() == at::kFloat || matrix.scalar_type() == at::kBFloat16),
              "operands are matrices of float32 or bfloat16 on the CPU");
  MatrixView view{matrix.const_data_ptr(), matrix.scalar_type(), matrix.size(0),
                  matrix.size(1),          matrix.stride(0),     matrix.stride(1)};
  // Strides of dimensions of size 1 mean nothing.
  if (view.cols == 1) view.col_stride = 1;
  if (view.rows == 1 && view.col_stride == 1) view.row_stride = view.cols;
  return view;
}

MatrixView MatrixView::rows_of(const at::Tensor& x) {
  ETUDE_CHECK(x.is_contiguous() && x.dim() >= 1, "rows of a contiguous tensor");
  const int64_t cols = x.size(-1);
  return of(x.view({cols > 0 ? x.numel() / cols : 0, cols}));
}

MatrixView MatrixView::slice(int64_t first, int64_t count) const {
  MatrixView part = *this;
  const auto bytes = static_cast<int64_t>(c10::elementSize(type));
  part.data = static_cast<const char*>(data) + first * row_stride * bytes;
  part.rows = count;
  return part;
}

PackedMatrix::PackedMatrix(const MatrixView& b, Format format) : format_(format), rows_(b.rows), cols_(b.cols) {
  if (!has_block_kernels()) {
    panels_ = rounded(b, format).contiguous();
    if (panels_.is_alias_of(as_tensor(b))) panels_ = panels_.clone();
    return;
  }
  const int64_t K = format == Format::bfloat16 ? rounded_up(rows_, 2) : rows_, count = divided_up(cols_, kPanel);
  panels_ = at::empty({count, K, kPanel}, at::TensorOptions().dtype(storage_of(format)));
  // Panels cut along K too, so that two threads share a single one.
  constexpr int64_t kPiece = 256;
  const int64_t pieces = divided_up(K, kPiece);
  at::parallel_for(0, count * pieces, 4, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i) {
      const int64_t n = i / pieces * kPanel, k = i % pieces * kPiece;
      const MatrixView piece = b.slice(k, std::min(kPiece, rows_ - k)).t().slice(n, std::min(kPanel, cols_ - n)).t();
      const int64_t offset = i / pieces * K * kPanel + k * kPanel;
      if (format == Format::bfloat16)
        copy_panel(piece, panels_.mutable_data_ptr<BFloat16>() + offset, kPanel, kPanel);
      else
        copy_panel(piece, panels_.mutable_data_ptr<float>() + offset, kPanel, kPanel);
    }
  });
}

const void* PackedMatrix::panel(int64_t i) const {
  const int64_t bytes = panels_.size(1) * kPanel * static_cast<int64_t>(panels_.element_size());
  return static_cast<const char*>(panels_.const_data_ptr()) + i * bytes;
}

void multiply(const MatrixView& a, const PackedMatrix& b, FinishBlock finish) {
  ETUDE_CHECK(a.cols == b.rows(), "the columns of A are the rows of B");
  if (a.rows == 0 || b.cols() == 0) return;
  if (!has_block_kernels() || b.rows() == 0) return multiply_whole(a, b.whole(), b.format(), finish);
  if (b.format() == Format::bfloat16)
    multiply_blocks<BFloat16>(a, b, finish);
  else
    multiply_blocks<float>(a, b, finish);
}

void multiply(const MatrixView& a, const MatrixView& b, Format format, FinishBlock finish) {
  ETUDE_CHECK(a.cols == b.rows, "the columns of A are the rows of B");
  if (a.rows == 0 || b.cols == 0) return;
  if (!has_block_kernels() || a.rows < kRowsWorthPacking || b.rows == 0) {
    took_path("product", has_block_kernels() ? "aten: few rows" : "aten: no AVX-512");
    return multiply_whole(a, rounded(b, format), format, finish);
  }
  took_path("product", format == Format::bfloat16 ? "own: bfloat16" : "own: float32");
  multiply(a, PackedMatrix(b, format), finish);
}

at::Tensor product(const MatrixView& a, const MatrixView& b, Format format, at::ScalarType type) {
  const at::Tensor c_MN = at::empty({a.rows, b.cols}, at::TensorOptions().dtype(type));
  const int64_t N = b.cols;
  multiply(a, b, format, [&](const ProductBlock& block) {
    const MatrixView sums{block.data, at::kFloat, block.rows, block.cols, block.stride, 1};
    if (type == at::kFloat)
      copy_rows(sums, c_MN.mutable_data_ptr<float>() + block.row * N + block.col, N, 0);
    else
      copy_rows(sums, c_MN.mutable_data_ptr<BFloat16>() + block.row * N + block.col, N, 0);
  });
  return c_MN;
}

bool has_block_kernels() { return isa() >= Isa::avx512; }

void block_product(int64_t M, int64_t N, int64_t K, const float* a, int64_t lda, const float* b, int64_t ldb, float* c,
                   int64_t ldc, bool add) {
  at::native::cpublas::brgemm(M, N, K, lda, ldb, ldc, add, a, b, c, /*is_vnni=*/false);
}

void block_product(int64_t M, int64_t N, int64_t K, const BFloat16* a, int64_t lda, const BFloat16* b, int64_t ldb,
                   float* c, int64_t ldc, bool add) {
  at::native::cpublas::brgemm(M, N, K, lda, ldb, ldc, add, a, b, c, /*is_vnni=*/true);
}

void end_block_products(Format format) {
  if (isa() == Isa::amx) at::native::cpublas::brgemm_release(format == Format::bfloat16);
}

}  // namespace etude
