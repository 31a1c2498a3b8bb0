// The recurrent product of one timestep on tensor cores: every warp multiplies its share of each tile's columns, 16 at
// a time, and leaves its sums of the tile's 16 rows in shared memory, where the cell update adds up those of all warps.
// `M` is the matrix of plan.cuh; plan/mma_layout.hpp says how fragments lie.
#pragma once

#include "arguments.cuh"
#include "plan.cuh"
#include "types.cuh"

// The state of a step's 16 columns: operand B of mma.m16n8k16 for 8 batch entries. A row of ldmatrix is a column's 8
// entries; `address` is in shared memory, of lane l % 16 column l % 16, and of lanes 16 to 31 a plane further where
// `both`. Volatile, with memory: what is read changes between timesteps.
struct StatePair {
  u32 first[2], second[2];
};
__device__ __forceinline__ void load_state(u32 address, StatePair& state) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(state.first[0]), "=r"(state.first[1]), "=r"(state.second[0]), "=r"(state.second[1])
               : "r"(address)
               : "memory");
}
__device__ __forceinline__ void load_state(u32 address, u32 (&state)[2]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(state[0]), "=r"(state[1])
               : "r"(address)
               : "memory");
}

__device__ __forceinline__ void multiply_add(float (&sum)[4], const u32 (&weights)[4], const u32 (&state)[2]) {
  if constexpr (Element::is_fp16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "r"(state[0]), "r"(state[1]));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "r"(state[0]), "r"(state[1]));
  }
}

// One CTA's part of a matrix, as a thread holds it.
template <class M>
class Product {
 public:
  // `shared_weights`: room for M::shared_block_words words.
  __device__ __forceinline__ Product(const MatrixArrays& arrays, int cta, unsigned char* shared_weights)
      : arrays_(arrays), cta_(cta), shared_(shared_weights) {
    const u32* const block = arrays.registers + static_cast<i64>(cta) * M::register_block_words;
#pragma unroll
    for (int i = 0; i < M::register_steps * M::tiles; ++i) {
      const uint4 v = reinterpret_cast<const uint4*>(block)[i * THREADS + threadIdx.x];
      weights_[i][0] = v.x, weights_[i][1] = v.y, weights_[i][2] = v.z, weights_[i][3] = v.w;
    }
#pragma unroll
    for (int i = 0; i < M::register_steps * M::column_words; ++i) {
      columns_[i] = block[columns_at<M::register_steps>() + i * THREADS + threadIdx.x];
    }
    const u32* const more = arrays.shared + static_cast<i64>(cta) * M::shared_block_words;
    for (int i = threadIdx.x; i < M::shared_block_words; i += THREADS) {
      reinterpret_cast<u32*>(shared_weights)[i] = more[i];
    }
    const int lane = threadIdx.x % 32;
    first_ = lane / 16 * Image::plane_bytes;
    if constexpr (!M::gathered) first_ += (static_cast<int>(threadIdx.x / 32) * M::steps * 16 + lane % 16) * 16;
  }

  // Where the sums of a row of the CTA lie, for row_sum.
  __device__ __forceinline__ static u32 sums_of_row(const MatrixArrays&, int, int row) {
    const int unit = row / GATES;
    return unit / M::units_a_tile * 16 + unit % M::units_a_tile * GATES + row % GATES;
  }
  __device__ __forceinline__ static float row_sum(const float* sums, u32 of_row, int b) {
    const float* const first = sums + b * M::sum_pitch + of_row;
    float parts[warps];
#pragma unroll
    for (int w = 0; w < warps; ++w) parts[w] = first[w * GROUP_BATCH * M::sum_pitch];
    float sum = parts[0];
#pragma unroll
    for (int w = 1; w < warps; ++w) sum += parts[w];
    return sum;
  }

  // sums: [warp][batch entry of the group][row]. `nonfinite`: the state holds a NaN or an infinity.
  __device__ __forceinline__ void run(const unsigned char* image, float* sums, bool nonfinite) {
    hide_columns();
    float sum[M::tiles][planes][4] = {};
    const u32 state = shared_address(image) + first_;
#pragma unroll
    for (int s = 0; s < M::register_steps; ++s) {
      step(sum, state, s, [&](int tile) -> const u32(&)[4] { return weights_[s * M::tiles + tile]; },
           [&](int word) { return columns_[s * M::column_words + word]; });
    }
    further_steps<M::shared_steps, false>(sum, state, M::register_steps, reinterpret_cast<const u32*>(shared_));
    further_steps<M::l2_steps, true>(sum, state, M::register_steps + M::shared_steps,
                                     arrays_.l2 + static_cast<i64>(cta_) * M::l2_block_words);
    // After the product, so that it need not wait for the flag.
    if (nonfinite) {
      sum_stored_weights(image, sums);
      return;
    }
    float* const own = sums + static_cast<int>(threadIdx.x / 32) * GROUP_BATCH * M::sum_pitch;
    const int row = threadIdx.x % 32 / 4, entry = threadIdx.x % 4 * 2;
#pragma unroll
    for (int tile = 0; tile < M::tiles; ++tile) {
#pragma unroll
      for (int plane = 0; plane < planes; ++plane) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int b = plane * 8 + entry + i % 2, r = tile * 16 + i / 2 * 8 + row;
          if (b < GROUP_BATCH && r < M::sum_rows) own[b * M::sum_pitch + r] = sum[tile][plane][i];
        }
      }
    }
  }

 private:
  using Image = typename M::Image;
  static constexpr int planes = Image::planes;
  static constexpr int warps = THREADS / 32;

  // Word of a place's block, of as many steps, at which the columns begin.
  template <int Steps>
  __device__ static constexpr int columns_at() {
    return Steps * M::tiles * 4 * THREADS;
  }

  // Else the compiler unpacks the columns once before the time loop, into twice as many registers.
  __device__ __forceinline__ void hide_columns() {
#pragma unroll
    for (int i = 0; i < M::register_steps * M::column_words; ++i) asm volatile("" : "+r"(columns_[i]));
  }

  __device__ __forceinline__ static void load_planes(u32 address, u32 (&state)[planes][2]) {
#pragma unroll
    for (int plane = 0; plane + 1 < planes; plane += 2) {
      StatePair both;
      load_state(address + plane * Image::plane_bytes, both);
#pragma unroll
      for (int i = 0; i < 2; ++i) state[plane][i] = both.first[i], state[plane + 1][i] = both.second[i];
    }
    // Addresses of lanes 16 to 31 are not looked at.
    if constexpr (planes % 2 == 1) load_state(address + (planes - 1) * Image::plane_bytes, state[planes - 1]);
  }

  // Step `s` of the warp: weights(tile) is a fragment, columns(word) the columns of two tiles.
  template <class Weights, class Columns>
  __device__ __forceinline__ static void step(float (&sum)[M::tiles][planes][4], u32 state, int s, Weights&& weights,
                                              Columns&& columns) {
    u32 b[planes][2];
    if constexpr (!M::gathered) load_planes(state + s * 256, b);
#pragma unroll
    for (int tile = 0; tile < M::tiles; ++tile) {
      if constexpr (M::gathered) {
        const u32 two = columns(tile / 2);
        load_planes(state + (tile % 2 == 0 ? two & 0xFFFF : two >> 16) * 16, b);
      }
#pragma unroll
      for (int plane = 0; plane < planes; ++plane) multiply_add(sum[tile][plane], weights(tile), b[plane]);
    }
  }

  // Steps whose fragments lie in `block`, shared memory or L2; `first`: the number of the first of them.
  template <int Steps, bool InL2>
  __device__ __forceinline__ static void further_steps(float (&sum)[M::tiles][planes][4], u32 state, int first,
                                                       const u32* block) {
#pragma unroll 1
    for (int s = 0; s < Steps; ++s) {
      u32 weights[M::tiles][4];
#pragma unroll
      for (int tile = 0; tile < M::tiles; ++tile) {
        const uint4* const from = reinterpret_cast<const uint4*>(block) + (s * M::tiles + tile) * THREADS + threadIdx.x;
        const uint4 v = InL2 ? __ldcg(from) : *from;
        weights[tile][0] = v.x, weights[tile][1] = v.y, weights[tile][2] = v.z, weights[tile][3] = v.w;
      }
      step(sum, state, first + s, [&](int tile) -> const u32(&)[4] { return weights[tile]; }, [&](int word) {
        const u32* const from = block + columns_at<Steps>() + (s * M::column_words + word) * THREADS + threadIdx.x;
        return InL2 ? __ldcg(from) : *from;
      });
    }
  }

  // The rare product: a NaN or an infinity goes along stored weights only, and a tensor core would multiply it by the
  // others' zeros. Weights come from memory, which holds all of them; a lane sums what it has of a fragment.
  __device__ __forceinline__ void sum_stored_weights(const unsigned char* image, float* sums) const {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll 1
    for (int tile = 0; tile < M::tiles; ++tile) {
#pragma unroll 1
      for (int b = 0; b < GROUP_BATCH; ++b) {
        const unsigned char* const entry = image + b / 8 * Image::plane_bytes + b % 8 * 2;
        float low = 0.0f, high = 0.0f;  // of rows lane / 4 and lane / 4 + 8
#pragma unroll 1
        for (int s = 0; s < M::steps; ++s) {
          const Block block = block_of(s);
          const uint4 a = reinterpret_cast<const uint4*>(block.words)[(block.step * M::tiles + tile) * THREADS + threadIdx.x];
#pragma unroll
          for (int k = 0; k < 16; ++k) {
            if (k % 8 / 2 != lane % 4) continue;
            int column = (warp * M::steps + s) * 16 + k;
            if constexpr (M::gathered) {
              const u32 two = block.words[block.steps * M::tiles * 4 * THREADS +
                                          (block.step * M::column_words + tile / 2) * THREADS + warp * 32 + k];
              column = tile % 2 == 0 ? two & 0xFFFF : two >> 16;
            }
            const float h = Element::decode(*reinterpret_cast<const u16*>(entry + column * 16));
            add_stored(low, k < 8 ? a.x : a.z, k % 2, h);
            add_stored(high, k < 8 ? a.y : a.w, k % 2, h);
          }
        }
#pragma unroll
        for (int offset = 1; offset < 4; offset *= 2) {
          low += __shfl_xor_sync(~0u, low, offset);
          high += __shfl_xor_sync(~0u, high, offset);
        }
        if (lane % 4 == 0) {
          float* const to = sums + (warp * GROUP_BATCH + b) * M::sum_pitch;
          const int row = tile * 16 + lane / 4;
          if (row < M::sum_rows) to[row] = low;
          if (row + 8 < M::sum_rows) to[row + 8] = high;
        }
      }
    }
  }
  __device__ __forceinline__ static void add_stored(float& sum, u32 two, int half, float h) {
    const u32 bits = half == 0 ? two & 0xFFFF : two >> 16;
    if (bits != 0) sum = fmaf(Element::decode(bits), h, sum);
  }
  struct Block {
    const u32* words;
    int steps, step;
  };
  __device__ __forceinline__ Block block_of(int s) const {
    if (s < M::register_steps) {
      return {arrays_.registers + static_cast<i64>(cta_) * M::register_block_words, M::register_steps, s};
    }
    s -= M::register_steps;
    if (s < M::shared_steps) {
      return {arrays_.shared + static_cast<i64>(cta_) * M::shared_block_words, M::shared_steps, s};
    }
    return {arrays_.l2 + static_cast<i64>(cta_) * M::l2_block_words, M::l2_steps, s - M::shared_steps};
  }

  const MatrixArrays& arrays_;
  int cta_;
  const unsigned char* shared_;
  int first_;  // byte of the image that this lane reads in its first step; with gathered columns, of column 0
  u32 weights_[at_least_one(M::register_steps * M::tiles)][4];
  u32 columns_[at_least_one(M::register_steps * M::column_words)];
};
