// In which order a warp multiplies the steps whose state it asks for late, and how much of it is on its way meanwhile.
#pragma once

#include "plan.cuh"
#include "types.cuh"

// `M` is the matrix that reads the state (plan.cuh).
template <class M>
struct LateOrder {
  // The host knows what there is room for: plan/mma_layout.hpp. A fifth of such a timestep, or more: docs/kernel.md.
  static constexpr bool unrolled = M::unrolls_late_steps;

  // Steps whose weights come from L2 lie evenly between those that have them in shared memory, so that the way from L2 is never
  // idle: LSTM 2304, batch 32, 6.9 us a timestep; 7.3 with all of them last.
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

  // Fragments that are on their way from shared memory, for which registers are scarce where each word has to be asked whether
  // somebody publishes it: padding.cuh.
  static constexpr bool full_planes = GROUP_BATCH % 8 == 0;
  static constexpr int fragments_ahead = M::tiles * M::Image::planes < 20 || full_planes ? 2 : 1;
};
