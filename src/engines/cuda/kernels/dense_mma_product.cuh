// The recurrent product of strategies dense-mma and sparse-mma: every warp multiplies its share of the columns, whose state
// comes from the ring into its registers, all at once or step by step, or with a rest by way of shared memory.
#pragma once

#include "counted_exchange.cuh"
#include "held_exchange.cuh"
#include "mma.cuh"
#include "staged_exchange.cuh"

// One CTA's part of a matrix, as a thread holds it.
template <class M>
class Product {
 public:
  // A warp may be a timestep ahead of those that still add up the sums of the last one. Where state is streamed they are
  // done long before it is: it waits for them, and the room of the second set is for weights. Before a rest warps meet
  // anyway. With whole rows a warp adds up its own.
  static constexpr bool streams = M::held_steps < M::steps, whole_rows = M::whole_rows;
  static constexpr int sum_buffers = streams || M::has_rest || M::whole_rows ? 1 : 2, sum_bytes = WarpSums<M>::bytes;

  __device__ __forceinline__ Product(const MatrixArrays& arrays, int cta, unsigned char* shared_weights)
      : weights_(arrays, cta, shared_weights), shared_at_(shared_address(shared_weights) + threadIdx.x * 16) {
    asm volatile("" : "+r"(shared_at_));  // kept, not computed anew
    const auto block = weights_.held_block();
#pragma unroll
    for (int i = 0; i < M::register_steps * M::index_words; ++i) index_[i] = *block.index(i / M::index_words, i % M::index_words);
#pragma unroll
    for (int f = 0; f < streamed_ahead && M::l2_steps > 0; ++f) load_streamed(f / M::tiles, f % M::tiles, streamed_[f]);
  }

  __device__ __forceinline__ static void place_sums(const MatrixArrays&, int, int unit, int b, u32 (&places)[GATES]) {
    places[0] = WarpSums<M>::place(unit, b);
  }
  __device__ __forceinline__ static void add_sums(u32 sums, const u32 (&places)[GATES], float (&total)[GATES]) {
    WarpSums<M>::add(sums, places[0], total);
  }

  // `columns`: the state of the warp's (held_exchange.cuh, staged_exchange.cuh).
  template <class Columns>
  __device__ __forceinline__ void run(Columns& columns, u32 sums) {
    // Where nothing is streamed it is known before the product.
    if constexpr (!streams && !M::has_rest && !COUNTED) {
      if (columns.end_nonfinite()) {
        sum_stored_weights(columns, sums);
        return;
      }
    }
    Sums sum[chains] = {};
    // The last ones load the next timestep's first.
    const auto load = [&](int step, int tile, Fragment& to) {
      load_streamed(step < M::l2_steps ? step : step - M::l2_steps, tile, to);
    };
    // While these are multiplied and those whose weights are on chip, the others' weights come.
    if constexpr (M::has_rest && M::l2_steps > 0) multiply_far<0, far_in_front>(columns, sum[0], load);
    Fragment coming[near_ahead];  // from shared memory
#pragma unroll
    for (int f = 0; f < near_ahead; ++f) load_shared_fragment(f, coming[f]);
    if constexpr (M::held_steps > 0) {
      multiply_held(columns, sum, coming);
    } else if constexpr (Order::unrolled) {
      multiply_unrolled(columns, sum[0], coming, load);
    } else {
      multiply_streamed<0, M::shared_steps>(columns, sum[0], coming, [&](int step, int tile, Fragment& to) {
        load_late_fragment(step, tile, to);
      });
    }
    if constexpr (COUNTED) {
      WarpSums<M>::leave(sum[0], sums);
      if (__any_sync(~0u, is_nonfinite(sum[0]))) {
        __syncwarp();
        sum_stored_weights(columns, sums);
      }
    } else if constexpr (!streams && !M::has_rest) {
      WarpSums<M>::leave(sum[0], sums);
    } else {
      if constexpr (streams && !Order::unrolled) {
        multiply_streamed<Quads::streamed - divide_up(M::l2_steps * Quads::operands_a_step, Quads::steps), M::l2_steps>(
            columns, sum[0], streamed_, load);
      } else if constexpr (!streams && M::l2_steps > far_in_front) {
        multiply_far<far_in_front, M::l2_steps>(columns, sum[0], load);
      }
      const bool nonfinite = columns.end_nonfinite();
      if constexpr (WarpSums<M>::shared_sets) {
        const bool anybody = __syncthreads_or(nonfinite);
        if (nonfinite) zero(sum[0]);
        WarpSums<M>::leave(sum[0], sums);
        if (anybody) add_stored_weights_in_turn(columns, sums, nonfinite);
      } else {
        __syncthreads();
        if (nonfinite) {
          sum_stored_weights(columns, sums);
        } else {
          WarpSums<M>::leave(sum[0], sums);
        }
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
  using Order = LateOrder<M>;
  static constexpr int planes = Fragments<M>::planes;
  // A product waits for the last one that adds to the same sums.
  static constexpr int chains = M::tiles * planes >= 4 || M::register_steps + M::shared_steps <= 1 ? 1
                                : M::whole_rows ? 4 / (M::tiles * planes) : 2;
  static constexpr int ahead = M::fragments_ahead;
  static constexpr int near_ahead = Order::unrolled && ahead > 2 ? Order::fragments_ahead : ahead;
  // Streamed state comes in turns of at least so many steps of the weights and of whole quads.
  static constexpr int quads_a_turn(int least_steps) { return divide_up(least_steps * Quads::operands_a_step, Quads::steps); }
  static constexpr int steps_of_quads(int quads) { return quads * Quads::steps / Quads::operands_a_step; }
  static_assert(M::held_steps > 0 || Order::unrolled || M::l2_steps == 0 || M::shared_steps % steps_of_quads(quads_a_turn(1)) == 0,
                "the l2 steps begin with a quad");
  static constexpr bool two_steps = M::streams_two_steps && M::l2_steps % 2 == 0;
  static constexpr int streamed_ahead = two_steps ? 2 * M::tiles : ahead;
  static constexpr int far_in_front = divide_up(streamed_ahead, M::tiles);  // and in each turn

  using Operand = OperandB<M>;
  struct Fragment {  // on its way
    u32 words[4];
    u32 index;  // sparse: of the tile, if it is an even one, and the next
  };

  // `index`: sparse only.
  __device__ __forceinline__ static void multiply(int tile, Sums& sum, const u32 (&weights)[4], u32 index,
                                                  const Operand (&b)[planes]) {
#pragma unroll
    for (int plane = 0; plane < planes; ++plane) {
      if constexpr (!M::sparse) {
        multiply_add(sum[tile][plane], weights, b[plane].words);
      } else if (tile % 2 == 0) {
        multiply_add_sparse<false>(sum[tile][plane], weights, index, b[plane].words);
      } else {
        multiply_add_sparse<true>(sum[tile][plane], weights, index, b[plane].words);
      }
    }
  }

  // Steps whose state is held.
  template <class Columns>
  __device__ __forceinline__ void multiply_held(Columns& columns, Sums (&sum)[chains], Fragment (&coming)[near_ahead]) {
    // Those whose weights are in registers fill the time that those of the others take to come.
#pragma unroll
    for (int s = 0; s < M::register_steps || s < M::shared_steps; ++s) {
      if (s < M::register_steps) {
        Operand b[planes];
        columns.operand(s, b);
#pragma unroll
        for (int tile = 0; tile < M::tiles; ++tile) {
          multiply(tile, sum[s % chains], weights_.held(s, tile), M::sparse ? index_[s * M::index_words + tile / 2] : 0, b);
        }
      }
      if (s < M::shared_steps) {
        Operand b[planes];
        columns.operand(M::register_steps + s, b);
        u32 index = 0;
#pragma unroll
        for (int tile = 0; tile < M::tiles; ++tile) {
          const int f = s * M::tiles + tile;
          Fragment& place = coming[f % near_ahead];
          if (tile % 2 == 0) index = place.index;
          multiply(tile, sum[s % chains], place.words, index, b);
          load_shared_fragment(f + near_ahead, place);
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

  // A NaN or an infinity of the state, times any weight, zeros too, has made a NaN of each sum that takes it. A sum of sparse
  // weights may not, and is right as it is.
  __device__ __forceinline__ static bool is_nonfinite(const Sums& sum) {
    float zero = 0.0f;
#pragma unroll
    for (int i = 0; i < M::tiles * planes * 4; ++i) zero = fmaf(0.0f, sum[i / 4 / planes][i / 4 % planes][i % 4], zero);
    return zero != zero;
  }

  // Of those in shared memory, if there are so many: [step][tile].
  __device__ __forceinline__ void load_shared_fragment(int f, Fragment& to) const {
    const int step = f / M::tiles, tile = f % M::tiles;
    if (step >= M::shared_steps) return;
    Fragments<M>::take(*weights_.shared().fragment(step, tile), to.words);
    if (M::sparse && tile % 2 == 0) to.index = *weights_.shared().index(step, tile / 2);
  }

  // In a rolled loop the compiler would compute each address anew: GRU 2560, batch 32, 9.6 us a timestep instead of 8.2.
  __device__ __forceinline__ void load_late_fragment(int step, int tile, Fragment& to) const {
    if (step >= M::shared_steps) step = 0;  // loaded for nothing
    Fragments<M>::take(load_shared_128(shared_at_ + step * (M::tiles * THREADS * 16) + tile * (THREADS * 16)), to.words);
    if (M::sparse && tile % 2 == 0) to.index = *weights_.shared().index(step, tile / 2);
  }

  // `steps` steps whose state comes a quad at a time, from quad `first` on, in a rolled loop.
  // `coming`: their fragments that are on their way; `load(step, tile, fragment)` sends for those behind.
  template <int first, int steps, int N, class Columns, class Load>
  __device__ __forceinline__ void multiply_streamed(Columns& columns, Sums& sum, Fragment (&coming)[N], Load&& load) {
    constexpr int quads = quads_a_turn(divide_up(N, M::tiles)), steps_a_turn = steps_of_quads(quads);
    static_assert(steps_a_turn * M::tiles % N == 0, "a fragment has the same place in each turn");
#pragma unroll 1
    for (int turn = 0; turn < divide_up(steps, steps_a_turn); ++turn) {
      u64 words[planes][Quads::words];  // of a quad
#pragma unroll
      for (int i = 0; i < steps_a_turn; ++i) {
        const int s = turn * steps_a_turn + i;
        if (steps % steps_a_turn != 0 && s >= steps) break;
        Operand b[planes];
#pragma unroll
        for (int half = 0; half < Quads::operands_a_step; ++half) {
          const int operand = i * Quads::operands_a_step + half, place = operand % Quads::steps;
          if (place == 0) columns.take_streamed(first + turn * quads + operand / Quads::steps, words);
#pragma unroll
          for (int plane = 0; plane < planes; ++plane)
            put<Quads>(b[plane], half, words[plane][place / Quads::parts], place % Quads::parts);
        }
        multiply_coming(s, i, sum, coming, b, load);
      }
    }
  }
  // All steps in the order of late_order.cuh.
  template <class Columns, class Load>
  __device__ __forceinline__ void multiply_unrolled(Columns& columns, Sums& sum, Fragment (&coming)[near_ahead], Load&& load) {
    u64 words[planes][Quads::words];  // of a quad
#pragma unroll
    for (int p = 0; p < M::steps; ++p) {
      if (p % Quads::steps == 0) columns.take_streamed(p / Quads::steps, words);
      Operand b[planes];
#pragma unroll
      for (int plane = 0; plane < planes; ++plane) put<Quads>(b[plane], 0, words[plane][p % Quads::steps], 0);
      const int step = Order::step_at(p), far = step - M::shared_steps;
      if (far < 0) {
        multiply_coming(step, step, sum, coming, b, [&](int s, int tile, Fragment& to) { load_shared_fragment(s * M::tiles + tile, to); });
      } else {
        multiply_coming(far, far, sum, streamed_, b, load);
      }
      __syncwarp();  // else the compiler loads so far ahead that registers spill
    }
  }
  // Steps `first` to `end` of those whose weights come from L2, whose state is at hand.
  template <int first, int end, class Columns, class Load>
  __device__ __forceinline__ void multiply_far(Columns& columns, Sums& sum, Load&& load) {
    static_assert(far_in_front * M::tiles % streamed_ahead == 0 && (end - first) % far_in_front == 0,
                  "a fragment has the same place in each turn");
#pragma unroll 1
    for (int turn = first; turn < end; turn += far_in_front) {
#pragma unroll
      for (int i = 0; i < far_in_front; ++i) {
        Operand b[planes];
        columns.operand(M::register_steps + M::shared_steps + turn + i, b);
        multiply_coming(turn + i, i, sum, streamed_, b, load);
      }
    }
  }
  // Step `s` of its place, the `i`th of a turn or of all, whose fragments are on their way.
  template <int N, class Load>
  __device__ __forceinline__ static void multiply_coming(int s, int i, Sums& sum, Fragment (&coming)[N], const Operand (&b)[planes],
                                                         Load&& load) {
    u32 index = 0;
#pragma unroll
    for (int tile = 0; tile < M::tiles; ++tile) {
      Fragment& place = coming[(i * M::tiles + tile) % N];
      if (tile % 2 == 0) index = place.index;
      multiply(tile, sum, place.words, index, b);
      load(s + (tile + N) / M::tiles, (tile + N) % M::tiles, place);
    }
  }
  __device__ __forceinline__ void load_streamed(int s, int tile, Fragment& to) const {
    const uint4* const from = weights_.l2().fragment(s, tile);
    Fragments<M>::take(M::kept_steps == 0 ? __ldcg(from) : load_streamed_128(from, s < M::kept_steps), to.words);
    // A ninth of the bytes, whether its step is kept or not.
    if (M::sparse && tile % 2 == 0) to.index = __ldcg(weights_.l2().index(s, tile / 2));
  }

  __device__ __forceinline__ static void zero(Sums& sum) {
#pragma unroll
    for (int i = 0; i < M::tiles * planes * 4; ++i) sum[i / 4 / planes][i / 4 % planes][i % 4] = 0.0f;
  }
  // Those that share a set one after the other.
  template <class Columns>
  __device__ __forceinline__ void add_stored_weights_in_turn(const Columns& columns, u32 sums, bool nonfinite) const {
#pragma unroll 1
    for (int turn = 0; turn < 2; ++turn) {
      __syncthreads();
      if (nonfinite && turn == column_warp<M>() / M::sum_sets) sum_stored_weights(columns, sums);
    }
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
          int step = s;
          const auto block = weights_.stored(step, cta);
          const uint4 a = *block.fragment(step, tile);
          if constexpr (M::sparse) {
            const int lane = threadIdx.x % 4;
#pragma unroll
            for (int half = 0; half < 2; ++half) {  // of a step's columns: their words, and who has their index
              u32 h[2];
              columns.again(2 * s + half, lane % 2 * 2 + lane / 2, entry / 8, entry % 8, h);
              const u32 index = block.index(step, tile / 2)[tile % 2 * 2 + half - lane] >> 4 * lane;
#pragma unroll
              for (int k = 0; k < 2; ++k) {
                add_stored(low, half == 0 ? a.x : a.z, k, entry_of_four(h, index >> 2 * k & 3));
                add_stored(high, half == 0 ? a.y : a.w, k, entry_of_four(h, index >> (16 + 2 * k) & 3));
              }
            }
          } else {
            u32 h[2];
            columns.again(s, threadIdx.x % 4, entry / 8, entry % 8, h);
#pragma unroll
            for (int k = 0; k < 4; ++k) {
              add_stored(low, k < 2 ? a.x : a.z, k % 2, entry_of<Element>(h, k));
              add_stored(high, k < 2 ? a.y : a.w, k % 2, entry_of<Element>(h, k));
            }
          }
        }
        WarpSums<M>::leave(sum_of_columns(low), sum_of_columns(high), tile, entry, sums);
      }
    }
  }

  Fragments<M> weights_;
  u32 shared_at_;  // of this thread's words of the first fragment there
  u32 index_[at_least_one(M::register_steps * M::index_words)];
  Fragment streamed_[streamed_ahead];  // on their way, from one timestep to the next
};
