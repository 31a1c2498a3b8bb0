// The recurrent product of strategy dense-mma: every warp multiplies its share of the columns, whose state comes from the
// ring into its registers, all at once or step by step.
#pragma once

#include "counted_exchange.cuh"
#include "held_exchange.cuh"
#include "mma.cuh"

// One CTA's part of a matrix, as a thread holds it.
template <class M>
class Product {
 public:
  // A warp may be a timestep ahead of those that still add up the sums of the last one. Where state is streamed they are
  // done long before it is: it waits for them, and the room of the second set is for weights. With whole rows a warp adds up
  // its own.
  static constexpr bool streams = M::held_steps < M::steps;
  static constexpr int sum_buffers = streams || M::whole_rows ? 1 : 2, sum_bytes = WarpSums<M>::bytes;

  __device__ __forceinline__ Product(const MatrixArrays& arrays, int cta, unsigned char* shared_weights)
      : weights_(arrays, cta, shared_weights) {
#pragma unroll
    for (int f = 0; f < streamed_ahead && M::l2_steps > 0; ++f) load_streamed(f / M::tiles, f % M::tiles, streamed_[f]);
  }

  __device__ __forceinline__ static void place_sums(const MatrixArrays&, int, int unit, int b, u32 (&places)[GATES]) {
    places[0] = WarpSums<M>::place(unit, b);
  }
  __device__ __forceinline__ static void add_sums(u32 sums, const u32 (&places)[GATES], float (&total)[GATES]) {
    WarpSums<M>::add(sums, places[0], total);
  }

  // `columns`: the state of the warp's (held_exchange.cuh).
  template <class Columns>
  __device__ __forceinline__ void run(Columns& columns, u32 sums) {
    // Where nothing is streamed it is known before the product.
    if constexpr (!streams && !COUNTED) {
      if (columns.end_nonfinite()) {
        sum_stored_weights(columns, sums);
        return;
      }
    }
    Sums sum[chains] = {};
    u32 coming[ahead][4];  // from shared memory
#pragma unroll
    for (int f = 0; f < ahead; ++f) load_shared_fragment(f, coming[f]);
    if constexpr (M::held_steps > 0) {
      multiply_held(columns, sum, coming);
    } else {
      multiply_streamed<0, M::shared_steps>(columns, sum[0], coming, [&](int step, int tile, u32(&words)[4]) {
        load_shared_fragment(step * M::tiles + tile, words);
      });
    }
    if constexpr (COUNTED) {
      WarpSums<M>::leave(sum[0], sums);
      if (__any_sync(~0u, is_nonfinite(sum[0]))) {
        __syncwarp();
        sum_stored_weights(columns, sums);
      }
    } else if constexpr (!streams) {
      WarpSums<M>::leave(sum[0], sums);
    } else {
      // The last ones load the next timestep's first.
      multiply_streamed<Quads::streamed - divide_up(M::l2_steps, Quads::steps), M::l2_steps>(
          columns, sum[0], streamed_, [&](int step, int tile, u32(&words)[4]) {
            load_streamed(step < M::l2_steps ? step : step - M::l2_steps, tile, words);
          });
      const bool nonfinite = columns.end_nonfinite();
      __syncthreads();
      if (nonfinite) {
        sum_stored_weights(columns, sums);
      } else {
        WarpSums<M>::leave(sum[0], sums);
      }
    }
  }

  // Between the sums' leaving and their adding up.
  __device__ __forceinline__ static void meet() {
    if constexpr (M::whole_rows) {
      __syncwarp();
    } else {
      __syncthreads();
    }
  }

 private:
  using Sums = typename Fragments<M>::Sums;
  using Quads = HeldQuads<M, H_WORD>;
  static constexpr int planes = Fragments<M>::planes;
  // A product waits for the last one that adds to the same sums.
  static constexpr int chains = M::tiles * planes >= 4 || M::register_steps + M::shared_steps == 1 ? 1
                                : M::whole_rows ? 4 / (M::tiles * planes) : 2;
  static constexpr int ahead = M::fragments_ahead;
  static_assert(M::held_steps > 0 || M::l2_steps == 0 || M::shared_steps % Quads::steps == 0, "the l2 steps begin with a quad");
  static constexpr bool two_steps = M::streams_two_steps && M::l2_steps % 2 == 0 && Quads::steps % 2 == 0;
  static constexpr int streamed_ahead = two_steps ? 2 * M::tiles : ahead;

  __device__ __forceinline__ static void multiply(float (&sum)[planes][4], const u32 (&weights)[4], const u32 (&b)[planes][2]) {
#pragma unroll
    for (int plane = 0; plane < planes; ++plane) multiply_add(sum[plane], weights, b[plane]);
  }

  // Steps whose state is held.
  template <class Columns>
  __device__ __forceinline__ void multiply_held(Columns& columns, Sums (&sum)[chains], u32 (&coming)[ahead][4]) {
    // Those whose weights are in registers fill the time that those of the others take to come.
#pragma unroll
    for (int s = 0; s < M::register_steps || s < M::shared_steps; ++s) {
      if (s < M::register_steps) {
        u32 b[planes][2];
        columns.operand(s, b);
#pragma unroll
        for (int tile = 0; tile < M::tiles; ++tile) multiply(sum[s % chains][tile], weights_.held(s, tile), b);
      }
      if (s < M::shared_steps) {
        u32 b[planes][2];
        columns.operand(M::register_steps + s, b);
#pragma unroll
        for (int tile = 0; tile < M::tiles; ++tile) {
          const int f = s * M::tiles + tile;
          multiply(sum[s % chains][tile], coming[f % ahead], b);
          load_shared_fragment(f + ahead, coming[f % ahead]);
        }
      }
    }
#pragma unroll
    for (int chain = 1; chain < chains; ++chain) {
#pragma unroll
      for (int i = 0; i < M::tiles * planes * 4; ++i) {
        sum[0][i / 4 / planes][i / 4 % planes][i % 4] += sum[chain][i / 4 / planes][i / 4 % planes][i % 4];
      }
    }
  }

  // A NaN or an infinity of the state, times any weight, zeros too, has made a NaN of each sum of its batch entry.
  __device__ __forceinline__ static bool is_nonfinite(const Sums& sum) {
    float zero = 0.0f;
#pragma unroll
    for (int i = 0; i < M::tiles * planes * 4; ++i) zero = fmaf(0.0f, sum[i / 4 / planes][i / 4 % planes][i % 4], zero);
    return zero != zero;
  }

  // Of those in shared memory, if there are so many: [step][tile].
  __device__ __forceinline__ void load_shared_fragment(int f, u32 (&words)[4]) const {
    if (f < M::shared_steps * M::tiles) Fragments<M>::take(*weights_.shared().fragment(f / M::tiles, f % M::tiles), words);
  }

  // `steps` steps whose state comes a quad at a time, from quad `first` on: any number, in a rolled loop. `coming`: their
  // fragments that are on their way; `load(step, tile, words)` sends for those behind.
  template <int first, int steps, int N, class Columns, class Load>
  __device__ __forceinline__ void multiply_streamed(Columns& columns, Sums& sum, u32 (&coming)[N][4], Load&& load) {
#pragma unroll 1
    for (int quad = 0; quad < divide_up(steps, Quads::steps); ++quad) {
      u64 words[planes][Quads::words];
      columns.take_streamed(first + quad, words);
#pragma unroll
      for (int i = 0; i < Quads::steps; ++i) {
        const int s = quad * Quads::steps + i;
        if (steps % Quads::steps != 0 && s >= steps) break;
        u32 b[planes][2];
#pragma unroll
        for (int plane = 0; plane < planes; ++plane) {
          const u64 word = words[plane][i / Quads::parts];
          b[plane][0] = static_cast<u32>(word), b[plane][1] = static_cast<u32>(word >> 32);
          hand_down<Quads>(b[plane], i % Quads::parts);
        }
#pragma unroll
        for (int tile = 0; tile < M::tiles; ++tile) {
          u32(&place)[4] = coming[(i * M::tiles + tile) % N];
          multiply(sum[tile], place, b);
          load(s + (tile + N) / M::tiles, (tile + N) % M::tiles, place);
        }
      }
    }
  }
  __device__ __forceinline__ void load_streamed(int s, int tile, u32 (&words)[4]) const {
    const uint4* const from = weights_.l2().fragment(s, tile);
    Fragments<M>::take(M::kept_steps == 0 ? __ldcg(from) : load_streamed_128(from, s < M::kept_steps), words);
  }

  // The rare product, weights from memory; a lane sums what it has of a fragment.
  template <class Columns>
  __device__ __forceinline__ void sum_stored_weights(const Columns& columns, u32 sums) const {
    const int cta = weights_.opaque_cta();
#pragma unroll 1
    for (int tile = 0; tile < M::tiles; ++tile) {
#pragma unroll 1
      for (int entry = 0; entry < GROUP_BATCH; ++entry) {
        float low = 0.0f, high = 0.0f;  // of rows lane / 4 and lane / 4 + 8
#pragma unroll 1
        for (int s = 0; s < M::steps; ++s) {
          u32 h[2];
          columns.again(s, entry / 8, entry % 8, h);
          int step = s;
          const auto block = weights_.stored(step, cta);
          const uint4 a = *block.fragment(step, tile);
#pragma unroll
          for (int k = 0; k < 4; ++k) {
            add_stored(low, k < 2 ? a.x : a.z, k % 2, entry_of<Element>(h, k));
            add_stored(high, k < 2 ? a.y : a.w, k % 2, entry_of<Element>(h, k));
          }
        }
        WarpSums<M>::leave(sum_of_columns(low), sum_of_columns(high), tile, entry, sums);
      }
    }
  }

  Fragments<M> weights_;
  u32 streamed_[streamed_ahead][4];  // on their way, from one timestep to the next
};
