// The recurrent product of strategy dense-mma: every warp multiplies its share of the columns, whose state it holds in
// registers as it came from the ring.
#pragma once

#include "held_exchange.cuh"
#include "mma.cuh"

// One CTA's part of a matrix, as a thread holds it.
template <class M>
class Product {
 public:
  // A warp may be a timestep ahead of those that still add up the sums of the last one.
  static constexpr int sum_buffers = 2, sum_bytes = WarpSums<M>::bytes;

  __device__ __forceinline__ Product(const MatrixArrays& arrays, int cta, unsigned char* shared_weights)
      : weights_(arrays, cta, shared_weights) {}

  __device__ __forceinline__ static void place_sums(const MatrixArrays&, int, int unit, int b, u32 (&places)[GATES]) {
    places[0] = WarpSums<M>::place(unit, b);
  }
  __device__ __forceinline__ static void add_sums(u32 sums, const u32 (&places)[GATES], float (&total)[GATES]) {
    WarpSums<M>::add(sums, places[0], total);
  }

  // `nonfinite`: the warp's state holds a NaN or an infinity.
  __device__ __forceinline__ void run(const HeldState<M>& state, u32 sums, bool nonfinite) const {
    if (nonfinite) {
      sum_stored_weights(state, sums);
      return;
    }
    Sums sum[chains] = {};
    u32 coming[M::tiles][4];
    load(0, coming);
    // Steps whose weights are in registers fill the time that those of the others take to come.
#pragma unroll
    for (int s = 0; s < M::steps; ++s) {
      if (s < M::register_steps) {
        u32 b[planes][2];
        state.operand(s, b);
#pragma unroll
        for (int tile = 0; tile < M::tiles; ++tile) multiply(sum[s % chains][tile], weights_.held(s, tile), b);
      }
      if (s < further) {
        u32 b[planes][2];
        state.operand(M::register_steps + s, b);
#pragma unroll
        for (int tile = 0; tile < M::tiles; ++tile) {
          multiply(sum[s % chains][tile], coming[tile], b);
          load(s + 1, tile, coming[tile]);
        }
        // Else the compiler asks for all that is streamed at once, and spills what it gets.
        if (s >= M::shared_steps) __syncwarp();
      }
    }
#pragma unroll
    for (int tile = 0; chains > 1 && tile < M::tiles; ++tile) {
#pragma unroll
      for (int i = 0; i < planes * 4; ++i) sum[0][tile][i / 4][i % 4] += sum[chains - 1][tile][i / 4][i % 4];
    }
    WarpSums<M>::leave(sum[0], sums);
  }

 private:
  using Sums = typename Fragments<M>::Sums;
  static constexpr int planes = Fragments<M>::planes;
  // A product waits for the last one that adds to the same sums.
  static constexpr int chains = M::tiles * planes < 4 && M::steps > 1 ? 2 : 1;
  static constexpr int further = M::shared_steps + M::l2_steps;

  __device__ __forceinline__ static void multiply(float (&sum)[planes][4], const u32 (&weights)[4], const u32 (&b)[planes][2]) {
#pragma unroll
    for (int plane = 0; plane < planes; ++plane) multiply_add(sum[plane], weights, b[plane]);
  }

  // Of step `s` of those behind the registers, if there is one.
  __device__ __forceinline__ void load(int s, int tile, u32 (&words)[4]) const {
    if (s >= further) return;
    if (s < M::shared_steps) {
      Fragments<M>::take(*weights_.shared().fragment(s, tile), words);
    } else {
      Fragments<M>::take(__ldcg(weights_.l2().fragment(s - M::shared_steps, tile)), words);
    }
  }
  __device__ __forceinline__ void load(int s, u32 (&words)[M::tiles][4]) const {
#pragma unroll
    for (int tile = 0; tile < M::tiles; ++tile) load(s, tile, words[tile]);
  }

  // The rare product, weights from memory; a lane sums what it has of a fragment.
  __device__ __forceinline__ void sum_stored_weights(const HeldState<M>& state, u32 sums) const {
    const int cta = weights_.opaque_cta();
#pragma unroll 1
    for (int tile = 0; tile < M::tiles; ++tile) {
#pragma unroll
      for (int plane = 0; plane < planes; ++plane) {
#pragma unroll 1
        for (int b = plane * 8; b < GROUP_BATCH && b < plane * 8 + 8; ++b) {
          const int owner = b % 8 * 4 + threadIdx.x % 4;  // the lane that has this one's columns of batch entry b
          float low = 0.0f, high = 0.0f;                  // of rows lane / 4 and lane / 4 + 8
#pragma unroll
          for (int s = 0; s < M::steps; ++s) {
            int step = s;
            const auto block = weights_.stored(step, cta);
            const uint4 a = *block.fragment(step, tile);
            u32 operand[planes][2];
            state.operand(s, operand);
            const u32 h[2] = {__shfl_sync(~0u, operand[plane][0], owner), __shfl_sync(~0u, operand[plane][1], owner)};
#pragma unroll
            for (int k = 0; k < 4; ++k) {
              add_stored(low, k < 2 ? a.x : a.z, k % 2, entry_of<Element>(h, k));
              add_stored(high, k < 2 ? a.y : a.w, k % 2, entry_of<Element>(h, k));
            }
            __syncwarp();
          }
          WarpSums<M>::leave(sum_of_columns(low), sum_of_columns(high), tile, b, sums);
        }
      }
    }
  }

  Fragments<M> weights_;
};
