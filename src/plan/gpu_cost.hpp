// What strategies of a GPU have in common in the price of a timestep, in microseconds.
#pragma once

#include "plan/gpu_layout.hpp"

namespace sprnn::gpu {

// Everything measured is of one H100 (fp16, T >= 256, 1.98 GHz). Latencies are taken to scale with the clock
// on other devices: not measured there.
inline constexpr double measured_clock_ghz = 1.98;

// Whether whole groups fill the sides of the L2, each within one (engines/cuda/placement.hpp).
[[nodiscard]] bool sides_hold(const GpuPlan& plan, const GpuDescription& gpu);

// Of one pass over the batch: a vector of `positions` units, from a CTA's own store to the end of staging;
// `held`: of one that warps hold as it comes.
[[nodiscard]] double exchange_cost(const GpuPlan& plan, std::int64_t positions, ExchangeWord word,
                                   DType dtype, const GpuDescription& gpu, bool held = false);
[[nodiscard]] double update_cost(const GpuPlan& plan, int units_a_cta, const Cell& cell, DType dtype,
                                 const GpuDescription& gpu);
// Of the L2, for streamed weights; beyond, they come from memory.
[[nodiscard]] double usable_l2_bytes(const GpuDescription& gpu);
[[nodiscard]] bool stays_in_l2(double bytes, const GpuDescription& gpu);
// Of `bytes` of weights that lie outside the chip.
[[nodiscard]] double streaming_cost(const GpuPlan& plan, double bytes, const GpuDescription& gpu);

// A CSR W_ih is multiplied by tiles of so many rows of x, which lie in shared memory (kernels/input.cu).
inline constexpr std::int64_t input_tile_rows = 8;
[[nodiscard]] inline std::int64_t input_tile_bytes(std::int64_t columns, DType dtype) noexcept {
  return columns * input_tile_rows * static_cast<std::int64_t>(size_of(dtype));
}
[[nodiscard]] inline bool input_tile_fits(std::int64_t columns, DType dtype,
                                          const GpuDescription& gpu) noexcept {
  return input_tile_bytes(columns, dtype) <= gpu.shared_bytes_per_block;
}

// Of a timestep's input projection, which is planned for itself.
[[nodiscard]] double input_cost(InputStorage storage, int tile_steps, const Problem& problem,
                                const DirectionProblem& direction, const GpuDescription& gpu);

}  // namespace sprnn::gpu
