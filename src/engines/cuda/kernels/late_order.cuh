// In which order a warp multiplies the steps whose state it asks for late, and how much of it is on its way meanwhile.
#pragma once

#include "plan.cuh"
#include "types.cuh"

// `M` is the matrix that reads the state (plan.cuh), `W` its word.
template <class M, Word W>
struct LateOrder {
  static constexpr int planes = M::Image::planes;
  static constexpr int most_unrolled = 1024;  // products, that the instruction cache holds
  // A fifth of such a timestep, or more: docs/kernel.md. Words without a flag, a barrier instead of stamps and many cells of a
  // thread take registers that unrolled code lacks then.
  static constexpr bool unrolled = M::held_steps == 0 && planes > 1 && !M::sparse && STAMPS && W == Word::stamp && CELL != Cell::relu &&
                                   M::Image::units_a_cta * GROUP_BATCH <= 6 * THREADS && M::steps * M::tiles * planes <= most_unrolled;

  // Unrolled, steps whose weights come from L2 lie evenly between those that have them in shared memory, so that the way from
  // L2 is never idle: LSTM 2304, batch 32, 6.9 us a timestep; 7.3 with all of them last.
  __device__ __forceinline__ static constexpr int step_at(int position) {
    if (!unrolled) return position;
    const int far = position * M::l2_steps / M::steps;  // before it
    return (position + 1) * M::l2_steps / M::steps > far ? M::shared_steps + far : position - far;
  }
  __device__ __forceinline__ static constexpr int position_of(int step) {
    if (!unrolled) return step;
    if (step < M::shared_steps) return step * M::steps / at_least_one(M::shared_steps);
    return divide_up((step - M::shared_steps + 1) * M::steps, at_least_one(M::l2_steps)) - 1;
  }

  // Quads of a plane that are on their way. Of two tiles or one the products of a quad take less time than the next one's way
  // from L2: tanh 3520, batch 32, two tiles, 6.3 us with three of them, 7.2 with one; of four and five tiles nothing was gained.
  static constexpr int quads_ahead = unrolled && THREADS <= 256 && M::tiles <= 2 && planes <= 4 ? 3 : 1;
};
