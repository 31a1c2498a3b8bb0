// The recurrent product of strategy vector-mma: a tile's rows share a list of columns, whose state every warp gathers
// from the image, 16 columns a step.
#pragma once

#include "mma.cuh"

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

// One CTA's part of a matrix, as a thread holds it.
template <class M>
class Product {
 public:
  static constexpr int sum_buffers = 1, sum_bytes = WarpSums<M>::bytes;
  static constexpr bool whole_rows = false;

  __device__ __forceinline__ Product(const MatrixArrays& arrays, int cta, unsigned char* shared_weights)
      : weights_(arrays, cta, shared_weights) {
    const auto block = weights_.held_block();
#pragma unroll
    for (int i = 0; i < M::register_steps * M::index_words; ++i)
      columns_[i] = *block.index(i / M::index_words, i % M::index_words);
    plane_of_lane_ = threadIdx.x % 32 / 16 * Image::plane_bytes;
  }

  __device__ __forceinline__ static void place_sums(const MatrixArrays&, int, int unit, int b, u32 (&places)[GATES]) {
    places[0] = WarpSums<M>::place(unit, b);
  }
  __device__ __forceinline__ static void add_sums(u32 sums, const u32 (&places)[GATES], float (&total)[GATES]) {
    WarpSums<M>::add(sums, places[0], total);
  }
  // Between the sums' leaving and their adding up.
  __device__ __forceinline__ static void meet() { __syncthreads(); }

  // `nonfinite`: the state holds a NaN or an infinity.
  __device__ __forceinline__ void run(const unsigned char* image, u32 sums, bool nonfinite) {
    hide_columns();
    Sums sum = {};
    const u32 state = shared_address(image) + plane_of_lane_;
#pragma unroll
    for (int s = 0; s < M::register_steps; ++s) {
      step(sum, state, [&](int tile) -> const u32(&)[4] { return weights_.held(s, tile); },
           [&](int word) { return columns_[s * M::index_words + word]; });
    }
    further_steps<M::shared_steps, false>(sum, state, weights_.shared());
    further_steps<M::l2_steps, true>(sum, state, weights_.l2());
    // After the product, so that it need not wait for the flag.
    if (nonfinite) {
      sum_stored_weights(image, sums);
    } else {
      WarpSums<M>::leave(sum, sums);
    }
  }

 private:
  using Image = typename M::Image;
  using Sums = typename Fragments<M>::Sums;
  static constexpr int planes = Image::planes;

  // Else the compiler unpacks the columns once before the time loop, into twice as many registers.
  __device__ __forceinline__ void hide_columns() {
#pragma unroll
    for (int i = 0; i < M::register_steps * M::index_words; ++i) asm volatile("" : "+r"(columns_[i]));
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

  // weights(tile) is a fragment, columns(word) the columns of two tiles.
  template <class Weights, class Columns>
  __device__ __forceinline__ static void step(Sums& sum, u32 state, Weights&& weights, Columns&& columns) {
#pragma unroll
    for (int tile = 0; tile < M::tiles; ++tile) {
      const u32 two = columns(tile / 2);
      u32 b[planes][2];
      load_planes(state + (tile % 2 == 0 ? two & 0xFFFF : two >> 16) * 16, b);
#pragma unroll
      for (int plane = 0; plane < planes; ++plane) multiply_add(sum[tile][plane], weights(tile), b[plane]);
    }
  }

  template <int Steps, bool InL2>
  __device__ __forceinline__ static void further_steps(Sums& sum, u32 state, const typename Fragments<M>::Block& block) {
#pragma unroll 1
    for (int s = 0; s < Steps; ++s) {
      u32 weights[M::tiles][4];
#pragma unroll
      for (int tile = 0; tile < M::tiles; ++tile) {
        const uint4* const from = block.fragment(s, tile);
        Fragments<M>::take(InL2 ? __ldcg(from) : *from, weights[tile]);
      }
      step(sum, state, [&](int tile) -> const u32(&)[4] { return weights[tile]; },
           [&](int word) { return InL2 ? __ldcg(block.index(s, word)) : *block.index(s, word); });
    }
  }

  // The rare product, weights from memory; a lane sums what it has of a fragment.
  __device__ __forceinline__ void sum_stored_weights(const unsigned char* image, u32 sums) const {
    const int lane = threadIdx.x % 32, cta = weights_.opaque_cta();
#pragma unroll 1
    for (int tile = 0; tile < M::tiles; ++tile) {
#pragma unroll 1
      for (int b = 0; b < GROUP_BATCH; ++b) {
        const unsigned char* const entry = image + b / 8 * Image::plane_bytes + b % 8 * 2;
        float low = 0.0f, high = 0.0f;  // of rows lane / 4 and lane / 4 + 8
#pragma unroll 1
        for (int s = 0; s < M::steps; ++s) {
          int step = s;
          const auto block = weights_.stored(step, cta);
          const uint4 a = *block.fragment(step, tile);
#pragma unroll
          for (int k = 0; k < 16; ++k) {
            if (k % 8 / 2 != lane % 4) continue;
            const u32 two = block.index(step, tile / 2)[k - lane];
            const float h = Element::decode(*reinterpret_cast<const u16*>(entry + (tile % 2 == 0 ? two & 0xFFFF : two >> 16) * 16));
            add_stored(low, k < 8 ? a.x : a.z, k % 2, h);
            add_stored(high, k < 8 ? a.y : a.w, k % 2, h);
          }
        }
        WarpSums<M>::leave(sum_of_columns(low), sum_of_columns(high), tile, b, sums);
      }
    }
  }

  Fragments<M> weights_;
  int plane_of_lane_;
  u32 columns_[at_least_one(M::register_steps * M::index_words)];
};
