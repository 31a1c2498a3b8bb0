#include "plan/gpu_cost.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace sprnn::gpu {

namespace {

struct Point {
  double kib, us;
};

// Of an exchange that ends in shared memory, from a CTA's own store to the end of staging, both barriers of a
// timestep included: 214 plans of gather, 0.9 to 44 KiB, one to 16 groups of 8 to 131 CTAs of 4 to 20 warps
// (tanh 537 to 5632, LSTM 250 to 4096, GRU 391 to 3526, relu), 202 of them within 6 %, 210 within 10 % (H200,
// 2026-11-30). Each poll more of those threads that have most takes as long as 8 KiB more for all. In a
// cluster few CTAs and little to store in each gain most: 40 plans of 0.3 to 5 KiB, 0.03 us off.
constexpr double staged_us = 0.566, staged_us_a_kib = 0.006, staged_us_a_poll = 0.05;
constexpr double staged_one_side_us = 0.074, staged_uneven_us = 0.049;
constexpr double cluster_us = 0.245, cluster_us_a_kib = 0.042, cluster_us_a_doubling = 0.041;
constexpr int fewest_ctas = 4;
constexpr double grid_barrier_us = 0.45;  // instead of stamps: tanh 2304, LSTM 1024 and 2304
constexpr double fence_us = 0.4;          // the same three

// Of one whose words warps hold as they come; the barrier that remains is in the sums.
constexpr std::array held_points = {Point{2, 0.454},  Point{4, 0.504},  Point{9, 0.554},
                                    Point{18, 0.649}, Point{32, 0.800}, Point{72, 1.323}};
// A single group on one side of the L2 gains less than several: batch 1, an H200, tanh 1536 by dense-mma 1.03
// and 1.07 us with 64 CTAs, 1.13 with 128.
constexpr double held_one_side_us = 0.05, held_single_side_us = 0.03, held_uneven_us = 0.04;
// Few CTAs wait for few others, most of all in a cluster: LSTM 128, LSTM, GRU and tanh 256 with 4, 8 and 16
// CTAs a group took 0.1 us less than such prices, and 0.1 less than the same through the L2 (126 plans each
// way). They exchanged up to 1 KiB; at 8 KiB few CTAs take as long as many (lab/README.md).
constexpr double few_ctas_most_kib = 4.0, few_ctas_all_kib = 1.0;
constexpr int many_ctas = 32;
constexpr double few_ctas_us = 0.05;  // each time there are half as many
constexpr double held_in_cluster_us = 0.11;
constexpr double held_grid_barrier_us = 0.28, held_fence_us = 0.25;

// A relu has no transcendental function: relu 1024 took 0.93 us where the others' prices made it 1.17.
constexpr double update_us = 0.10, relu_update_us = 0.06;
constexpr double update_us_a_gate = 0.01;
constexpr double accurate_us = 0.1;  // fp32 has the accurate functions

constexpr double l2_usable = 0.7;  // of the L2 for streamed weights; beyond, they come from memory

// The input projection, measured for LSTM 1024 and 2304 with 8192 and 7280 rows of x, W_ih of 1, 3, 10 and 30
// % on an H100 (docs/decisions/input-projection.md has the times). Outputs take longer where tiles of x
// leave room for few blocks an SM: LSTM, GRU and tanh 4096 (3 blocks) 14 to 17 ps, tanh 5632 (2) 24 (an H200,
// W_ih of one non-zero a row).
constexpr double gemm_efficiency = 0.7;
constexpr double csr_ps_a_nonzero = 0.29, csr_ps_a_nonzero_fp32 = 0.52;  // and row of x
constexpr double csr_ps_an_output = 10.0, csr_ps_an_output_of_one_block = 46.0;
constexpr int measured_sms = 132;
// x into rows of the element type: layers of hidden 584 to 2474, batch 1 to 32 (an H200).
constexpr double gathering_ps_a_value = 2.0;

// `quads`: of the ring's slot of a group.
double staged_exchange(const GpuPlan& plan, double kib, double quads, bool even, const GpuDescription& gpu) {
  const double polls = std::ceil(quads / (plan.warps * warp_lanes));
  double us = staged_us + staged_us_a_kib * kib + staged_us_a_poll * polls;
  if (plan.in_cluster) {
    const double doublings = std::log2(static_cast<double>(std::max(plan.ctas, fewest_ctas)) / fewest_ctas);
    us -= cluster_us - cluster_us_a_kib * kib - cluster_us_a_doubling * doublings;
  } else if (sides_hold(plan, gpu)) {
    us -= staged_one_side_us;
  }
  return us + (even ? 0.0 : staged_uneven_us) + (plan.stamps ? 0.0 : grid_barrier_us) +
         (plan.fence ? fence_us : 0.0);
}

double held_exchange(const GpuPlan& plan, double kib, bool even, const GpuDescription& gpu) {
  const auto* above = std::find_if(held_points.begin(), held_points.end() - 1,
                                   [&](const Point& point) { return point.kib >= kib; });
  double us = above->us;
  if (above != held_points.begin()) {
    const Point& low = *(above - 1);
    us = low.us + (kib - low.kib) * (above->us - low.us) / (above->kib - low.kib);
  }
  const bool single = plan.groups == 1 && plan.ctas > many_ctas && 2 * plan.ctas <= gpu.sm_count;
  us -= sides_hold(plan, gpu) ? held_one_side_us : single ? held_single_side_us : 0.0;
  if (plan.ctas < many_ctas) {
    const double part = (few_ctas_most_kib - kib) / (few_ctas_most_kib - few_ctas_all_kib);
    us -= std::clamp(part, 0.0, 1.0) * few_ctas_us *
          std::log2(static_cast<double>(many_ctas) / std::max(plan.ctas, fewest_ctas));
  }
  if (plan.in_cluster) us -= held_in_cluster_us;
  return us + (even ? 0.0 : held_uneven_us) + (plan.stamps ? 0.0 : held_grid_barrier_us) +
         (plan.fence ? held_fence_us : 0.0);
}

}  // namespace

bool sides_hold(const GpuPlan& plan, const GpuDescription& gpu) {
  const int a_side = gpu.sm_count / 2 / plan.ctas;
  return plan.groups > 1 && plan.groups <= 2 * a_side && 2 * plan.groups * plan.ctas > gpu.sm_count;
}

double exchange_cost(const GpuPlan& plan, std::int64_t positions, ExchangeWord word, DType dtype,
                     const GpuDescription& gpu, bool held) {
  const std::int64_t unit_bytes = plan.group_batch * static_cast<std::int64_t>(size_of(dtype));
  double kib = static_cast<double>(positions * unit_bytes) / 1024.0;
  if (plan.stamps && word == ExchangeWord::tag) kib *= dtype == DType::fp32 ? 4.0 / 3.0 : 8.0 / 7.0;
  const bool even = positions / plan.ctas * unit_bytes % 16 == 0;  // slices, stored 16 bytes at a time
  const auto quads =
      static_cast<double>(staged_quads(plan.ctas, static_cast<int>(positions / plan.ctas), plan.group_batch,
                                       static_cast<int>(size_of(dtype)), word));
  const double us = held ? held_exchange(plan, kib, even, gpu) : staged_exchange(plan, kib, quads, even, gpu);
  return us * measured_clock_ghz / gpu.clock_ghz;
}

double update_cost(const GpuPlan& plan, int units_a_cta, const Cell& cell, DType dtype,
                   const GpuDescription& gpu) {
  const double cells = static_cast<double>(units_a_cta) * plan.group_batch;
  const double rounds = std::ceil(cells / (plan.warps * warp_lanes));
  double update = cell == relu_cell() ? relu_update_us : update_us + update_us_a_gate * cell.gates();
  if (dtype == DType::fp32 && cell != relu_cell()) update += accurate_us;
  return rounds * update * measured_clock_ghz / gpu.clock_ghz;
}

double usable_l2_bytes(const GpuDescription& gpu) { return l2_usable * static_cast<double>(gpu.l2_bytes); }

bool stays_in_l2(double bytes, const GpuDescription& gpu) { return bytes <= usable_l2_bytes(gpu); }

double streaming_cost(const GpuPlan& plan, double bytes, const GpuDescription& gpu) {
  // Groups stream the same weights from L2, each for itself; memory is read once for all of them.
  const double from_l2 = bytes * plan.groups / (gpu.l2_gbytes_per_s * 1e3);
  if (stays_in_l2(bytes, gpu)) return from_l2;
  return std::max(from_l2, bytes / (gpu.memory_gbytes_per_s * 1e3));
}

double input_cost(InputStorage storage, int tile_steps, const Problem& problem,
                  const DirectionProblem& direction, const GpuDescription& gpu) {
  const MatrixSummary& w = direction.w_ih;
  const double batch = problem.batch;
  const double rows = static_cast<double>(w.rows);
  const double element = static_cast<double>(size_of(problem.dtype));
  const bool dense = storage == InputStorage::dense;
  const double entries = dense ? rows * static_cast<double>(w.cols) : static_cast<double>(w.nonzeros());
  double arithmetic = 0.0;
  if (dense) {
    const double peak = problem.dtype == DType::fp32 ? gpu.fp32_tflops : gpu.tensor_tflops;
    arithmetic = 2.0 * entries * batch / (peak * gemm_efficiency * 1e6);
  } else if (input_tile_fits(w.cols, problem.dtype, gpu)) {
    const double nonzero = problem.dtype == DType::fp32 ? csr_ps_a_nonzero_fp32 : csr_ps_a_nonzero;
    const double slower = measured_sms * measured_clock_ghz / (gpu.sm_count * gpu.clock_ghz);
    const double blocks = static_cast<double>(
        gpu.shared_bytes_per_block / std::max<std::int64_t>(1, input_tile_bytes(w.cols, problem.dtype)));
    const double output = std::max(csr_ps_an_output, csr_ps_an_output_of_one_block / std::max(1.0, blocks));
    arithmetic = 1e-6 * batch * slower * (nonzero * entries + output * rows);
  } else {
    return std::numeric_limits<double>::max();
  }
  const double weights = entries * (dense ? element : element + 4.0) / tile_steps;
  const double results = 2.0 * rows * batch * 4.0;  // fp32, written and read
  const double gathering = 1e-6 * gathering_ps_a_value * batch * static_cast<double>(w.cols);
  return gathering + std::max(arithmetic, (weights + results) / (gpu.memory_gbytes_per_s * 1e3));
}

}  // namespace sprnn::gpu
