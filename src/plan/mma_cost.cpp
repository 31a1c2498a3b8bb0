#include "plan/mma_cost.hpp"

#include <algorithm>

#include "plan/gpu_cost.hpp"
#include "plan/gpu_registers.hpp"

namespace sprnn::mma {

namespace {

// Cycles that one of an SM's four tensor cores is busy with a fragment and 8 batch entries: from early lab
// kernels of LSTM 2304 on an H100, all columns 2.94 us a timestep with 90 fragments a warp of 8, shared
// columns 2.35, 1.83 and 1.73 with 30, 10 and 1 %; with 8 batch entries instead of 4 0.35 more. The present
// kernel is not timed yet.
constexpr double dense_cycles = 14.0, gathered_cycles = 20.0;
constexpr double further_plane =
    0.7;  // of a fragment's cycles for 8 batch entries more: its weights are there
constexpr double schedulers = 4.0;
constexpr double sums_us = 0.2;                // the warps' sums through shared memory, and their barrier
constexpr double wavefronts_a_fragment = 4.0;  // read from shared memory

double product(const MmaPlan& plan, const MatrixLayout& matrix, const GpuDescription& gpu) {
  const double warps = plan.warps, tiles = matrix.tiles;
  const double fragment =
      (plan.gathered ? gathered_cycles : dense_cycles) * (1.0 + further_plane * (matrix.image.planes - 1));
  const double tensor = warps * plan.steps.total() * tiles * fragment / schedulers;
  const double reads = warps * 2.0 * matrix.image.planes * plan.steps.total() * (plan.gathered ? tiles : 1.0);
  const double wavefronts = reads + warps * plan.steps.shared * tiles * wavefronts_a_fragment;
  const double streamed = 4.0 * static_cast<double>(plan.ctas * matrix.block_words(Place::l2));
  return std::max(tensor, wavefronts) / (gpu.clock_ghz * 1e3) + gpu::streaming_cost(plan, streamed, gpu) +
         sums_us * gpu::measured_clock_ghz / gpu.clock_ghz;
}

}  // namespace

std::vector<CostPart> cost(const MmaPlan& plan, const Problem& problem, const DirectionProblem& direction,
                           const GpuDescription& gpu) {
  const Layout layout = make_layout(plan, problem, direction);
  return {{"exchange", plan.passes * gpu::exchange_cost(plan, layout.state.positions, plan.exchange_word,
                                                        problem.dtype, gpu)},
          {"product", plan.passes * product(plan, layout.w_hh, gpu)},
          {"cell update",
           plan.passes * gpu::update_cost(plan, layout.units_a_cta, direction.cell, problem.dtype, gpu)},
          {"input projection", gpu::input_cost(plan.w_ih, plan.tile_steps, problem, direction, gpu)}};
}

namespace {

// Fitted to NVRTC 13.0 for sm_90, as gather_registers.cpp says: the least count that spills nothing, less the
// weights.
constexpr int base = 13;
constexpr int state_in_flight = 8;  // words of h on their way from shared memory, a plane
constexpr int streaming = 8;        // addresses in L2
constexpr int staging_of_8 =
    11;  // 8ths: words of h lie 16 bytes apart, so a quad is staged at more addresses

}  // namespace

int working_registers(const MmaPlan& plan, const Layout& layout, Place furthest) {
  const MatrixLayout& matrix = layout.w_hh;
  const int sums = 4 * matrix.tiles * matrix.image.planes;
  const int step = furthest == Place::registers ? 0 : fragment_words * matrix.tiles;  // on its way
  const int multiplying = sums + state_in_flight * matrix.image.planes + step;
  const int updating = plan.warps * matrix.gates;  // sums that are asked for together
  const int receiving =
      gpu::receiving_registers(plan, layout.state, plan.units_a_cta, plan.exchange_word) * staging_of_8 / 8;
  const int entries = gpu::entries_a_thread(plan, plan.units_a_cta);
  return base + std::max({multiplying, updating, receiving}) + (3 * matrix.gates + 2) * entries +
         (furthest == Place::l2 ? streaming : 0);
}

}  // namespace sprnn::mma
