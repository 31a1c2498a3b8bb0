#include "plan/mma_cost.hpp"

#include <algorithm>

#include "plan/gpu_cost.hpp"
#include "plan/gpu_registers.hpp"

namespace sprnn::mma {

namespace {

// Fitted to LSTM 256 to 2304, GRU 1024 and 2560 and tanh 2304 at batch 1 to 32 on an H100, 2026-11-28:
// dense-mma within 6 % of 20 plans, vector-mma within 12 % of 4. What is streamed: 24 plans of LSTM 2304 to
// 8192, GRU 4096 and tanh 5632 and 8192 on an H200, the same day, all but two within 10 %. Groups that stream
// from memory do not keep step: GRU 4096, two of them, took as long as each alone.

// Cycles that one of an SM's four tensor cores is busy with a fragment and 8 batch entries.
constexpr double dense_cycles = 4.3, gathered_cycles = 13.0;
constexpr double further_plane =
    0.7;  // of a fragment's cycles for 8 batch entries more: its weights are there
constexpr double schedulers = 4.0;
// Until a load is there, under load.
constexpr double fragment_bytes = 512.0, memory_us = 0.9, l2_us = 0.35;
constexpr double wavefronts_a_fragment = 4.0;  // read from shared memory
// Of the time that weights take to come, where products of others go on meanwhile.
constexpr double shared_in_front = 0.57, l2_in_front = 0.65;
// Of the exchange of a state that is staged; the barrier that remains is in the sums.
constexpr double held_exchange = 0.63;
// The warps' sums through shared memory, and their barrier.
constexpr double dense_sums_us = 0.41, dense_sums_us_a_tile_and_entry = 0.0051;
constexpr double gathered_sums_us = 0.04, gathered_sums_us_a_tile = 0.07;
// Of warps beyond 8: LSTM 1024 takes 1.27 us with 8, 1.29 with 12 and 1.39 to 1.54 with 16.
constexpr double us_a_warp_more = 0.01;

double product(const MmaPlan& plan, const MatrixLayout& matrix, const GpuDescription& gpu) {
  const double warps = plan.warps, tiles = matrix.tiles, steps = plan.steps.total();
  const double fragment =
      (plan.gathered ? gathered_cycles : dense_cycles) * (1.0 + further_plane * (matrix.image.planes - 1));
  const double tensor = warps * steps * tiles * fragment / schedulers;
  const double weights = warps * plan.steps.shared * tiles * wavefronts_a_fragment;
  const double block = 4.0 * static_cast<double>(matrix.block_words(Place::l2));
  const double ahead = static_cast<double>(matrix.streamed_ahead()) * plan.warps * fragment_bytes;
  const bool near = gpu::stays_in_l2(plan.ctas * block, gpu);
  double streaming =
      std::max(gpu::streaming_cost(plan, plan.ctas * block, gpu), block / ahead * (near ? l2_us : memory_us));
  if (!plan.gathered) streaming *= near ? l2_in_front : plan.groups;
  const double clock = gpu.clock_ghz * 1e3, slower = gpu::measured_clock_ghz / gpu.clock_ghz;
  if (plan.gathered) {
    const double state = warps * 2.0 * matrix.image.planes * steps * tiles;
    return std::max(tensor, state + weights) / clock + streaming +
           (gathered_sums_us + gathered_sums_us_a_tile * tiles) * slower;
  }
  const double sums = dense_sums_us + dense_sums_us_a_tile_and_entry * tiles * plan.group_batch +
                      us_a_warp_more * std::max(0.0, warps - 8.0);
  return (tensor + shared_in_front * weights) / clock + streaming + sums * slower;
}

}  // namespace

std::vector<CostPart> cost(const MmaPlan& plan, const Problem& problem, const DirectionProblem& direction,
                           const GpuDescription& gpu) {
  const Layout layout = make_layout(plan, problem, direction);
  const double exchange =
      gpu::exchange_cost(plan, layout.state.positions, plan.exchange_word, problem.dtype, gpu);
  return {{"exchange", plan.passes * exchange * (plan.gathered ? 1.0 : held_exchange)},
          {"product", plan.passes * product(plan, layout.w_hh, gpu)},
          {"cell update",
           plan.passes * gpu::update_cost(plan, layout.units_a_cta, direction.cell, problem.dtype, gpu)},
          {"input projection", gpu::input_cost(plan.w_ih, plan.tile_steps, problem, direction, gpu)}};
}

namespace {

// Fitted to NVRTC 13.0 for sm_90, as gather_registers.cpp says: the least count that spills nothing, less the
// weights.
constexpr int base = 13;
// Where the state is held too.
constexpr int holding_base = 52, holding_streaming = 8, streaming_many_tiles = 24, many_tiles = 8;
constexpr int much_held = 48, many_sums = 40;  // with fewer, some take the place of others
constexpr int adding_base = 34, two_steps_ahead = 4, streaming_entry = 4, streaming_entry_of_many = 28;
constexpr int two_planes = 12, few_tiles = 2;  // of more tiles than so
constexpr int state_in_flight = 8;             // words of h on their way from shared memory, a plane
constexpr int streaming = 8;                   // addresses in L2
constexpr int staging_of_8 =
    11;  // 8ths: words of h lie 16 bytes apart, so a quad is staged at more addresses

}  // namespace

int working_registers(const MmaPlan& plan, const Layout& layout) {
  const MatrixLayout& matrix = layout.w_hh;
  const int sums = 4 * matrix.tiles * matrix.image.planes;
  const bool streams = matrix.steps.l2 > 0;
  const bool on_their_way = matrix.steps.shared > 0 || (matrix.gathered && streams);
  const int step = on_their_way ? fragment_words * matrix.fragments_ahead() : 0;
  const int entries = gpu::entries_a_thread(plan, plan.units_a_cta);
  if (!matrix.gathered) {
    // Of few sums a lane has two each.
    const int chains = matrix.tiles * matrix.image.planes < 4 ? 2 : 1;
    const int held = 4 * matrix.state_quads(plan.group_batch, plan.exchange_word).held;
    const int streaming_step =
        fragment_words * matrix.streamed_ahead() + (matrix.streams_two_steps() ? two_steps_ahead : 0);
    const int adding =
        adding_base + plan.warps * matrix.gates;  // the warps' sums of a unit, asked for together
    const int multiplying = holding_base + held + std::max(0, held - much_held) + (chains * sums + step) / 2 +
                            std::max(0, sums - many_sums) / 2 + (3 * matrix.gates + 2) * (entries - 1);
    int more = matrix.image.planes > 1 && matrix.tiles > few_tiles ? two_planes : 0;
    if (streams) {
      more = holding_streaming + 4 * matrix.image.planes + streaming_step;
      more += streaming_entry * (entries - 1);
      if (matrix.tiles > many_tiles) more += streaming_many_tiles + streaming_entry_of_many * (entries - 1);
    }
    return std::max(adding, multiplying + more);
  }
  const int updating = plan.warps * matrix.gates;  // sums that are asked for together
  const int receiving =
      gpu::receiving_registers(plan, layout.state, plan.units_a_cta, plan.exchange_word) * staging_of_8 / 8;
  const int multiplying = sums + state_in_flight * matrix.image.planes + step;
  return base + std::max({multiplying, updating, receiving}) + (3 * matrix.gates + 2) * entries +
         (streams ? streaming : 0);
}

}  // namespace sprnn::mma
