// Around the input projection: x into rows of the element type, rows that a dense product must not do, and y to fp32;
// and around a run: the state in and out.
#include "plan.cuh"
#include "types.cuh"
#include "wait.cuh"

__device__ __forceinline__ float load_element(const void* array, i64 index) {
  if constexpr (Element::bytes == 2) return Element::decode(static_cast<const u16*>(array)[index]);
  return Element::decode(static_cast<const u32*>(array)[index]);
}

// One block a row (time, batch entry): element (time, b, i) of x is x[time * time_stride + b * batch_stride + i].
// What lies between `columns` and `pitch` becomes zero. nonfinite[row] says whether the row, once rounded, has a NaN
// or an infinity.
extern "C" __global__ void gather_input(const void* x, int x_is_fp32, i64 time_stride, i64 batch_stride, int batch, int columns,
                                        int pitch, void* out, u32* nonfinite) {
  const i64 row = blockIdx.x;
  const i64 from = row / batch * time_stride + row % batch * batch_stride;
  bool any = false;
  for (int i = threadIdx.x; i < pitch; i += blockDim.x) {
    const float value = i >= columns ? 0.0f : x_is_fp32 ? static_cast<const float*>(x)[from + i] : load_element(x, from + i);
    const u32 bits = Element::encode(value);
    store_element<Element>(out, row * pitch + i, bits);
    any |= !isfinite(Element::decode(bits));
  }
  any = __syncthreads_or(any);
  if (threadIdx.x == 0) nonfinite[row] = any;
}

// out [row][outputs] = W x + bias of CSR weights, 8 rows at a time: their x lies in shared memory, [column][row], so that
// a non-zero meets 8 values by one 16-byte load or two. 8 lanes sum an output, in an order that no other row changes.
// The outputs of a tile of rows are split over `splits` blocks.
constexpr int tile_rows = 8;
constexpr int tile_words = tile_rows * Element::bytes / 4;  // of a column
extern __shared__ __align__(16) u32 tile[];

extern "C" __global__ void __launch_bounds__(256) project_tiles(const void* x, int columns, int pitch, i64 rows, const void* values,
                                                                const i64* row_begin, const int* column, const float* bias,
                                                                int outputs, float* out, int splits) {
  const i64 first = static_cast<i64>(blockIdx.x / splits) * tile_rows;
  const int split = blockIdx.x % splits;
  for (int c = threadIdx.x; c < columns; c += blockDim.x) {
    u32 words[tile_words] = {};
#pragma unroll
    for (int r = 0; r < tile_rows; ++r) {
      if (first + r >= rows) break;
      const i64 at = (first + r) * pitch + c;
      if constexpr (Element::bytes == 2) {
        words[r / 2] |= static_cast<u32>(static_cast<const u16*>(x)[at]) << (r % 2 * 16);
      } else {
        words[r] = static_cast<const u32*>(x)[at];
      }
    }
#pragma unroll
    for (int w = 0; w < tile_words; w += 4) {
      reinterpret_cast<uint4*>(tile)[(c * tile_words + w) / 4] = make_uint4(words[w], words[w + 1], words[w + 2], words[w + 3]);
    }
  }
  __syncthreads();

  const int lane = threadIdx.x % tile_rows, groups = blockDim.x / tile_rows;
  for (int n0 = split * groups; n0 < outputs; n0 += splits * groups) {
    const int n = n0 + threadIdx.x / tile_rows;
    const i64 end = n < outputs ? row_begin[n + 1] : 0;
    float sum[tile_rows] = {};
#pragma unroll 4
    for (i64 i = n < outputs ? row_begin[n] + lane : 0; i < end; i += tile_rows) {
      const float weight = load_element(values, i);
      const uint4* const from = reinterpret_cast<const uint4*>(tile + column[i] * tile_words);
      u32 words[tile_words];
#pragma unroll
      for (int w = 0; w < tile_words; w += 4) {
        const uint4 v = from[w / 4];
        words[w] = v.x, words[w + 1] = v.y, words[w + 2] = v.z, words[w + 3] = v.w;
      }
#pragma unroll
      for (int r = 0; r < tile_rows; ++r) sum[r] = fmaf(weight, entry_of<Element>(words, r), sum[r]);
    }
    // Each lane gives away half of what it has left, until it has row `lane`.
#pragma unroll
    for (int half = tile_rows / 2; half > 0; half /= 2) {
      const bool upper = lane & half;
#pragma unroll
      for (int r = 0; r < half; ++r) {
        const float mine = upper ? sum[r + half] : sum[r], theirs = upper ? sum[r] : sum[r + half];
        sum[r] = mine + __shfl_xor_sync(~0u, theirs, half);
      }
    }
    if (n < outputs && first + lane < rows) out[(first + lane) * outputs + n] = sum[0] + bias[n];
  }
}

// The same, a warp an output and row: all rows for CSR weights whose tile no shared memory holds, those marked in
// `nonfinite` for dense ones, since a pruned weight must not meet the NaN of x. A row's outputs are split over `splits`
// blocks.
extern "C" __global__ void project_rows(const void* x, int columns, int pitch, const u32* nonfinite, const void* values,
                                        const i64* row_begin, const int* column, const float* bias, int outputs, float* out,
                                        int splits) {
  const i64 row = blockIdx.x / splits;
  const int split = blockIdx.x % splits;
  if (nonfinite != nullptr && nonfinite[row] == 0) return;
  const int lane = threadIdx.x % 32;
  for (int n = split * (blockDim.x / 32) + threadIdx.x / 32; n < outputs; n += splits * (blockDim.x / 32)) {
    const i64 begin = row_begin == nullptr ? static_cast<i64>(n) * pitch : row_begin[n];
    const i64 end = row_begin == nullptr ? begin + columns : row_begin[n + 1];
    float sum = 0.0f;
    for (i64 i = begin + lane; i < end; i += 32) {
      const bool stored = row_begin != nullptr || (Element::bytes == 2 ? static_cast<const u16*>(values)[i] != 0
                                                                       : static_cast<const u32*>(values)[i] != 0);
      if (!stored) continue;
      const i64 k = row_begin == nullptr ? i - begin : column[i];
      sum = fmaf(load_element(values, i), load_element(x, row * pitch + k), sum);
    }
#pragma unroll
    for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_xor_sync(~0u, sum, offset);
    if (lane == 0) out[row * outputs + n] = sum + bias[n];
  }
}

extern "C" __global__ void widen_output(const void* y, i64 count, float* out) {
  const i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) out[i] = load_element(y, i);
}

// unbounded[i / direction_size] becomes 1 if a value of that direction is none that a stamped word can carry
// (ring.cuh); null: nobody asks.
extern "C" __global__ void load_state(const void* state, i64 count, float* out, i64 direction_size, int is_relu, u32* unbounded) {
  const i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i >= count) return;
  const float value = load_element(state, i);
  out[i] = value;
  if (unbounded == nullptr) return;
  const bool bounded = is_relu ? (__float_as_uint(value) & Fp32::sign) == 0 : fabsf(value) < 2.0f;
  if (!bounded) unbounded[i / direction_size] = 1;
}

// NaN where the run was given up.
extern "C" __global__ void store_state(const float* state, i64 count, const Status* status, void* out) {
  const i64 i = static_cast<i64>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < count) store_element<Element>(out, i, status->aborted != 0 ? Element::nan : Element::encode(state[i]));
}
