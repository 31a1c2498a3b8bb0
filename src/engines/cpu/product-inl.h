// W x for each layout. Every output is a sum over its row's stored values in ascending column order, split
// into the layout's number of partial sums (docs/cpu.md, "Order of summation"), whatever the number of
// samples, the blocking below or the instruction set: so chunks, threads and machines give the same bits.
#if defined(SPRNN_CPU_PRODUCT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPRNN_CPU_PRODUCT_INL_H_
#undef SPRNN_CPU_PRODUCT_INL_H_
#else
#define SPRNN_CPU_PRODUCT_INL_H_
#endif

#include <type_traits>

#include "engines/cpu/kernels.hpp"
#include "engines/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sprnn::cpu::HWY_NAMESPACE {

// What the registers hold: 32 of 16 floats with AVX-512, 16 of 8 with AVX2.
inline constexpr int kDense = HWY_TARGET == HWY_AVX3 ? 8 : 4;        // dense: samples
inline constexpr int kDenseSums = HWY_TARGET == HWY_AVX3 ? 16 : 4;   // dense: groups x samples
inline constexpr int kTile = HWY_TARGET == HWY_AVX3 ? 4 : 1;         // tile: samples
inline constexpr int kColumnSums = HWY_TARGET == HWY_AVX3 ? 16 : 4;  // columns: partial sums x samples
inline constexpr int kRowSums = HWY_TARGET == HWY_AVX3 ? 16 : 8;     // row: partial sums x vectors

HWY_INLINE void emit(const ProductArgs& args, std::int64_t group, std::int64_t sample, V16 sum) {
  const std::int64_t at = (group - args.group_begin) * cpu_group_rows;
  const V16 add =
      args.add == nullptr ? broadcast<kParts>(0.0F) : load<kParts>(args.add + sample * args.add_stride + at);
  store(sum + add, args.out + sample * args.out_stride + at);
}

// block(n, s) for the samples from s on, n at a time: Most, then half as many, down to one.
template <int Most, class Block>
HWY_INLINE void in_blocks(std::int64_t samples, const Block& block, std::int64_t s = 0) {
  for (; s + Most <= samples; s += Most) block(std::integral_constant<int, Most>(), s);
  if constexpr (Most > 1) in_blocks<Most / 2>(samples, block, s);
}

// Sum k of each k, at `at`: ((s0 + s1) + (s2 + s3)) + ..., for a power of two of sums.
template <class V, int Sums, int Count>
HWY_INLINE V add_neighbours(const V (&sums)[Sums][Count], int at) {
  V total[Sums];
  SPRNN_UNROLL for (int k = 0; k < Sums; ++k) total[k] = sums[k][at];
  SPRNN_UNROLL for (int apart = 1; apart < Sums; apart *= 2) {
    SPRNN_UNROLL for (int k = 0; k < Sums; k += 2 * apart) total[k] = total[k] + total[k + apart];
  }
  return total[0];
}

// ---- dense: one sum a row; groups and samples side by side hide the latency of the additions

template <int Groups, int Samples>
HWY_NOINLINE void dense_block(const ProductArgs& args, std::int64_t group, std::int64_t sample) {
  const std::int64_t cols = args.matrix->shape.cols;
  const float* values = args.matrix->values + group * cols * cpu_group_rows;
  const float* x = args.x + sample * args.x_stride;
  V16 sum[Groups][Samples];
  SPRNN_UNROLL for (int g = 0; g < Groups; ++g) {
    SPRNN_UNROLL for (int s = 0; s < Samples; ++s) sum[g][s] = broadcast<kParts>(0.0F);
  }
  for (std::int64_t c = 0; c < cols; ++c) {
    V16 w[Groups];
    SPRNN_UNROLL for (int g = 0; g < Groups; ++g) {
      w[g] = load<kParts>(values + (g * cols + c) * cpu_group_rows);
    }
    SPRNN_UNROLL for (int s = 0; s < Samples; ++s) {
      const V16 xs = broadcast<kParts>(x[s * args.x_stride + c]);
      SPRNN_UNROLL for (int g = 0; g < Groups; ++g) sum[g][s] = fma(w[g], xs, sum[g][s]);
    }
  }
  SPRNN_UNROLL for (int g = 0; g < Groups; ++g) {
    SPRNN_UNROLL for (int s = 0; s < Samples; ++s) emit(args, group + g, sample + s, sum[g][s]);
  }
}

template <int Groups>
void dense_groups(const ProductArgs& args, std::int64_t group) {
  in_blocks<kDense>(args.samples, [&](auto samples, std::int64_t sample) HWY_ATTR {
    constexpr int together = Groups * samples <= kDenseSums ? Groups : 1;
    for (int g = 0; g < Groups; g += together) dense_block<together, samples>(args, group + g, sample);
  });
}

void multiply_dense(const ProductArgs& args) {
  std::int64_t g = args.group_begin;
  // A single sample is bound by reading the weights, and four chains keep enough of them under way.
  if (args.samples == 1) {
    for (; g + 4 <= args.group_end; g += 4) dense_block<4, 1>(args, g, 0);
  }
  for (; g + 2 <= args.group_end; g += 2) dense_groups<2>(args, g);
  if (g < args.group_end) dense_groups<1>(args, g);
}

// ---- columns: partial sum k takes every fourth column of the group's list from the k-th on

// As many partial sums at a time as the registers hold: the columns are found again for the next ones, but
// each of them serves all samples.
template <int Samples>
HWY_NOINLINE void columns_block(const ProductArgs& args, std::int64_t group, std::int64_t sample) {
  const MatrixView& w = *args.matrix;
  const float* x = args.x + sample * args.x_stride;
  constexpr int sums = HWY_MIN(column_step, kColumnSums / Samples);
  V16 total[column_step / sums][Samples];
  SPRNN_UNROLL for (int first = 0; first < column_step; first += sums) {
    V16 sum[sums][Samples];
    SPRNN_UNROLL for (int k = 0; k < sums; ++k) {
      SPRNN_UNROLL for (int s = 0; s < Samples; ++s) sum[k][s] = broadcast<kParts>(0.0F);
    }
    const std::int64_t end = std::int64_t{w.starts[group + 1]} * column_step;
    for (std::int64_t i = std::int64_t{w.starts[group]} * column_step + first; i < end; i += column_step) {
      SPRNN_UNROLL for (int k = 0; k < sums; ++k) {
        const V16 values = load<kParts>(w.values + (i + k) * cpu_group_rows);
        const float* from = x + w.columns[i + k];
        SPRNN_UNROLL for (int s = 0; s < Samples; ++s) {
          sum[k][s] = fma(values, broadcast<kParts>(from[s * args.x_stride]), sum[k][s]);
        }
      }
    }
    SPRNN_UNROLL for (int s = 0; s < Samples; ++s) total[first / sums][s] = add_neighbours(sum, s);
  }
  SPRNN_UNROLL for (int s = 0; s < Samples; ++s) emit(args, group, sample + s, add_neighbours(total, s));
}

void multiply_columns(const ProductArgs& args) {
  for (std::int64_t g = args.group_begin; g < args.group_end; ++g) {
    in_blocks<4>(args.samples, [&](auto samples, std::int64_t sample)
                                   HWY_ATTR { columns_block<samples>(args, g, sample); });
  }
}

// ---- tile: partial sum k takes every third slot of the group from the k-th on

inline constexpr int tile_sums = 3;

#if HWY_TARGET == HWY_AVX3
using Offsets = __m512i;
HWY_INLINE Offsets load_offsets(const std::uint32_t* p) { return _mm512_loadu_si512(p); }
HWY_INLINE V16 look_up(const float* window, Offsets offsets, int k) {
  // The permutation ignores all but the low five bits of an index.
  const __m512i index = _mm512_srli_epi32(offsets, static_cast<unsigned>(5 * k));
  return {{Native{_mm512_permutex2var_ps(_mm512_loadu_ps(window), index, _mm512_loadu_ps(window + 16))}}};
}
#elif HWY_TARGET == HWY_AVX2
struct Offsets {
  __m256i v[kParts];
};
HWY_INLINE Offsets load_offsets(const std::uint32_t* p) {
  Offsets r;
  SPRNN_UNROLL for (int i = 0; i < kParts; ++i) {
    r.v[i] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + i * kLanes));
  }
  return r;
}
// A permutation takes the low three bits of an index; of four of them the next bits choose, moved to the
// sign's place. `vgatherdps` takes three times as long on Zen 3, and longer still on processors whose gathers
// are mitigated.
HWY_INLINE V16 look_up(const float* window, Offsets offsets, int k) {
  const __m256 part0 = _mm256_loadu_ps(window), part1 = _mm256_loadu_ps(window + 8);
  const __m256 part2 = _mm256_loadu_ps(window + 16), part3 = _mm256_loadu_ps(window + 24);
  V16 r;
  SPRNN_UNROLL for (int i = 0; i < kParts; ++i) {
    const __m256i index = _mm256_srli_epi32(offsets.v[i], 5 * k);
    const __m256 bit3 = _mm256_castsi256_ps(_mm256_slli_epi32(offsets.v[i], 28 - 5 * k));
    const __m256 bit4 = _mm256_castsi256_ps(_mm256_slli_epi32(offsets.v[i], 27 - 5 * k));
    const __m256 low = _mm256_blendv_ps(_mm256_permutevar8x32_ps(part0, index),
                                        _mm256_permutevar8x32_ps(part1, index), bit3);
    const __m256 high = _mm256_blendv_ps(_mm256_permutevar8x32_ps(part2, index),
                                         _mm256_permutevar8x32_ps(part3, index), bit3);
    r.v[i] = Native{_mm256_blendv_ps(low, high, bit4)};
  }
  return r;
}
#else
using Offsets = const std::uint32_t*;
HWY_INLINE Offsets load_offsets(const std::uint32_t* p) { return p; }
HWY_INLINE V16 look_up(const float* window, Offsets offsets, int k) {
  V16 r;
  for (int i = 0; i < cpu_group_rows; ++i) r.v[i] = window[offsets[i] >> (5 * k) & 31U];
  return r;
}
#endif

template <int Samples>
HWY_NOINLINE void tile_block(const ProductArgs& args, std::int64_t group, std::int64_t sample) {
  const MatrixView& w = *args.matrix;
  const float* x = args.x + sample * args.x_stride;
  V16 sum[tile_sums][Samples];
  SPRNN_UNROLL for (int k = 0; k < tile_sums; ++k) {
    SPRNN_UNROLL for (int s = 0; s < Samples; ++s) sum[k][s] = broadcast<kParts>(0.0F);
  }
  for (std::int64_t b = w.starts[group]; b < w.starts[group + 1]; ++b) {
    const TileBlock& block = w.blocks[b];
    const Offsets offsets = load_offsets(block.offsets);
    SPRNN_UNROLL for (int k = 0; k < tile_step; ++k) {
      const V16 values = load<kParts>(block.values[k]);
      const float* window = x + std::int64_t{w.columns[b * tile_step + k]} * 16;
      SPRNN_UNROLL for (int s = 0; s < Samples; ++s) {
        sum[k % tile_sums][s] =
            fma(values, look_up(window + s * args.x_stride, offsets, k), sum[k % tile_sums][s]);
      }
    }
  }
  SPRNN_UNROLL for (int s = 0; s < Samples; ++s) {
    emit(args, group, sample + s, (sum[0][s] + sum[1][s]) + sum[2][s]);
  }
}

void multiply_tile(const ProductArgs& args) {
  for (std::int64_t g = args.group_begin; g < args.group_end; ++g) {
    in_blocks<kTile>(args.samples, [&](auto samples, std::int64_t sample)
                                       HWY_ATTR { tile_block<samples>(args, g, sample); });
  }
}

// ---- row: partial sum k takes every eighth value of the row from the k-th on

// Row of each lane of a group; lanes beyond the last unit have none.
HWY_INLINE std::int64_t rows_in(const MatrixShape& shape, std::int64_t group, std::int64_t& first) {
  const std::int64_t unit = group % shape.groups_per_gate() * cpu_group_rows;
  first = group / shape.groups_per_gate() * shape.units + unit;
  return HWY_MIN(shape.units - unit, static_cast<std::int64_t>(cpu_group_rows));
}

#if SPRNN_SCALAR_TARGET
HWY_INLINE void gather_steps(const std::uint16_t* columns, const float* values, const float* x,
                             std::int64_t steps, float* sums) {
  for (std::int64_t i = 0; i < steps * row_step; ++i) {
    sums[i % row_step] = exact_fma(values[i], x[columns[i]], sums[i % row_step]);
  }
}
#else
using Eight = hn::FixedTag<float, row_step>;
#if HWY_TARGET == HWY_AVX2
HWY_INLINE hn::Vec<Eight> gather(const float* x, const std::uint16_t* c) {
  return {_mm256_setr_ps(x[c[0]], x[c[1]], x[c[2]], x[c[3]], x[c[4]], x[c[5]], x[c[6]], x[c[7]])};
}
#else
HWY_INLINE hn::Vec<Eight> gather(const float* x, const std::uint16_t* columns) {
  const hn::Rebind<std::uint16_t, Eight> du;
  return hn::GatherIndex(Eight(), x, hn::PromoteTo(hn::RebindToSigned<Eight>(), hn::LoadU(du, columns)));
}
#endif
HWY_INLINE void gather_steps(const std::uint16_t* columns, const float* values, const float* x,
                             std::int64_t steps, float* sums) {
  const Eight d;
  auto sum = hn::Zero(d);
  for (std::int64_t i = 0; i < steps; ++i) {
    sum = hn::MulAdd(hn::LoadU(d, values + i * row_step), gather(x, columns + i * row_step), sum);
  }
  hn::StoreU(sum, d, sums);
}
#endif

HWY_INLINE float add_up(const float* s) {
  return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

void multiply_row_by_rows(const ProductArgs& args) {
  const MatrixView& w = *args.matrix;
  for (std::int64_t g = args.group_begin; g < args.group_end; ++g) {
    std::int64_t first = 0;
    const std::int64_t rows = rows_in(w.shape, g, first);
    for (std::int64_t s = 0; s < args.samples; ++s) {
      alignas(64) float out[cpu_group_rows] = {};
      for (std::int64_t lane = 0; lane < rows; ++lane) {
        const std::int64_t begin = w.starts[first + lane];
        float sums[row_step] = {};
        gather_steps(w.columns + begin * row_step, w.values + begin * row_step, args.x + s * args.x_stride,
                     w.starts[first + lane + 1] - begin, sums);
        out[lane] = add_up(sums);
      }
      emit(args, g, s, load<kParts>(out));
    }
  }
}

// `in` [samples][count] by stride -> `out` [count][samples] by stride.
void transpose(const float* in, std::int64_t in_stride, std::int64_t samples, std::int64_t count, float* out,
               std::int64_t out_stride) noexcept {
  std::int64_t s = 0;
#if !SPRNN_SCALAR_TARGET
  const hn::FixedTag<float, 4> d;
  for (; s + 4 <= samples; s += 4) {
    std::int64_t i = 0;
    for (; i + 4 <= count; i += 4) {
      const float* p = in + s * in_stride + i;
      const auto r0 = hn::LoadU(d, p), r1 = hn::LoadU(d, p + in_stride);
      const auto r2 = hn::LoadU(d, p + 2 * in_stride), r3 = hn::LoadU(d, p + 3 * in_stride);
      const auto low02 = hn::InterleaveLower(d, r0, r2), low13 = hn::InterleaveLower(d, r1, r3);
      const auto high02 = hn::InterleaveUpper(d, r0, r2), high13 = hn::InterleaveUpper(d, r1, r3);
      float* q = out + i * out_stride + s;
      hn::StoreU(hn::InterleaveLower(d, low02, low13), d, q);
      hn::StoreU(hn::InterleaveUpper(d, low02, low13), d, q + out_stride);
      hn::StoreU(hn::InterleaveLower(d, high02, high13), d, q + 2 * out_stride);
      hn::StoreU(hn::InterleaveUpper(d, high02, high13), d, q + 3 * out_stride);
    }
    for (; i < count; ++i) {
      for (std::int64_t k = s; k < s + 4; ++k) out[i * out_stride + k] = in[k * in_stride + i];
    }
  }
#endif
  for (; s < samples; ++s) {
    for (std::int64_t i = 0; i < count; ++i) out[i * out_stride + s] = in[s * in_stride + i];
  }
}

// One row times `Vectors` vectors of samples. As many partial sums at a time as the registers hold: the row's
// values and columns are read again for the next ones, but each of them serves all vectors.
template <int Vectors>
HWY_INLINE void row_block(const MatrixView& w, std::int64_t row, const float* x, std::int64_t x_stride,
                          float* out) {
  using V = Vec<1>;
  constexpr int sums = HWY_MIN(row_step, kRowSums / Vectors);
  V total[row_step / sums][Vectors];
  SPRNN_UNROLL for (int first = 0; first < row_step; first += sums) {
    V sum[sums][Vectors];
    SPRNN_UNROLL for (int k = 0; k < sums; ++k) {
      SPRNN_UNROLL for (int v = 0; v < Vectors; ++v) sum[k][v] = broadcast<1>(0.0F);
    }
    const std::int64_t end = std::int64_t{w.starts[row + 1]} * row_step;
    for (std::int64_t i = std::int64_t{w.starts[row]} * row_step + first; i < end; i += row_step) {
      SPRNN_UNROLL for (int k = 0; k < sums; ++k) {
        const V value = broadcast<1>(w.values[i + k]);
        const float* from = x + w.columns[i + k] * x_stride;
        SPRNN_UNROLL for (int v = 0; v < Vectors; ++v) {
          sum[k][v] = fma(value, load<1>(from + v * kLanes), sum[k][v]);
        }
      }
    }
    SPRNN_UNROLL for (int v = 0; v < Vectors; ++v) total[first / sums][v] = add_neighbours(sum, v);
  }
  SPRNN_UNROLL for (int v = 0; v < Vectors; ++v) store(add_neighbours(total, v), out + v * kLanes);
}

template <int Vectors>
void row_group(const ProductArgs& args, std::int64_t group, std::int64_t sample) {
  constexpr int width = Vectors * kLanes;
  alignas(64) float by_row[cpu_group_rows * width] = {};
  alignas(64) float by_sample[width * cpu_group_rows];
  std::int64_t first = 0;
  const std::int64_t rows = rows_in(args.matrix->shape, group, first);
  for (std::int64_t lane = 0; lane < rows; ++lane) {
    row_block<Vectors>(*args.matrix, first + lane, args.x + sample, args.x_stride, by_row + lane * width);
  }
  transpose(by_row, width, cpu_group_rows, width, by_sample, cpu_group_rows);
  const std::int64_t samples = HWY_MIN(args.samples - sample, static_cast<std::int64_t>(width));
  for (std::int64_t s = 0; s < samples; ++s) {
    emit(args, group, sample + s, load<kParts>(by_sample + s * cpu_group_rows));
  }
}

void multiply_row_by_columns(const ProductArgs& args) {
  for (std::int64_t g = args.group_begin; g < args.group_end; ++g) {
    std::int64_t s = 0;
    for (; s + 3 * kLanes < args.samples; s += 4 * kLanes) row_group<4>(args, g, s);
    for (; s + kLanes < args.samples; s += 2 * kLanes) row_group<2>(args, g, s);
    if (s < args.samples) row_group<1>(args, g, s);
  }
}

void multiply(const ProductArgs& args) noexcept {
  switch (args.matrix->layout) {
    case CpuLayout::none:
      return;
    case CpuLayout::dense:
      return multiply_dense(args);
    case CpuLayout::columns:
      return multiply_columns(args);
    case CpuLayout::tile:
      return multiply_tile(args);
    case CpuLayout::row:
      return args.x_by_columns ? multiply_row_by_columns(args) : multiply_row_by_rows(args);
  }
}

}  // namespace sprnn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
