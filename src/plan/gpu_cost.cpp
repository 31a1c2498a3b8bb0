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

// From a CTA's own store to the end of staging, both barriers of a timestep included: what is left of whole
// kernels (some 60 plans of tanh 2304, LSTM 256 to 4096, GRU 384 and 2560; one to four groups) without
// product and cell update.
constexpr std::array exchange_points = {Point{2, 0.72},  Point{4, 0.80},  Point{9, 0.88},
                                        Point{18, 1.03}, Point{32, 1.27}, Point{72, 2.10}};
// Of an exchange whose state is held; the barrier that remains is in the sums.
constexpr double held_share = 0.63;
// A group within one side of the L2 (engines/cuda/placement.hpp). A single one gains less, and only where the
// state is held (batch 1, an H200: tanh 1536 by dense-mma 1.03 and 1.07 us with 64 CTAs, 1.13 with 128; by
// gather 1.21 with 64, as without).
constexpr double one_side_us = 0.08, single_side_us = 0.05;
// Few CTAs wait for few others, most of all in a cluster: LSTM 128, LSTM, GRU and tanh 256 with 4, 8 and 16
// CTAs a group took 0.25, 0.2 and 0.15 us less than such prices, whether they stage h or hold it, and 0.05
// (held: 0.1) less than the same through the L2 (126 plans each way). They exchanged up to 1 KiB; at 8 KiB
// few CTAs take as long as many (lab/README.md).
constexpr double few_ctas_most_kib = 4.0, few_ctas_all_kib = 1.0;
constexpr int many_ctas = 32, fewest_ctas = 4;
constexpr double few_ctas_us = 0.05;  // each time there are half as many
constexpr double in_cluster_us = 0.11;
constexpr double few_warps_us = 0.05;  // 4 warps against 8, where h is staged
// tanh 2304, two groups: slices of 70 entries 1.44, of 72 entries 1.34; stored to shared memory 4 and 16
// bytes at a time.
constexpr double uneven_slice_us = 0.06;
constexpr double grid_barrier_us = 0.45;  // instead of stamps: tanh 2304, LSTM 1024 and 2304
constexpr double fence_us = 0.4;          // the same three

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

double interpolate(double kib) {
  const auto* above = std::find_if(exchange_points.begin(), exchange_points.end() - 1,
                                   [&](const Point& point) { return point.kib >= kib; });
  if (above == exchange_points.begin()) return above->us;
  const Point& low = *(above - 1);
  return low.us + (kib - low.kib) * (above->us - low.us) / (above->kib - low.kib);
}

}  // namespace

double exchange_cost(const GpuPlan& plan, std::int64_t positions, ExchangeWord word, DType dtype,
                     const GpuDescription& gpu, bool held) {
  double kib =
      static_cast<double>(positions * plan.group_batch) * static_cast<double>(size_of(dtype)) / 1024.0;
  if (plan.stamps && word == ExchangeWord::tag) kib *= dtype == DType::fp32 ? 4.0 / 3.0 : 8.0 / 7.0;
  double us = interpolate(kib);
  const bool several = plan.groups > 1 && 2 * plan.groups * plan.ctas > gpu.sm_count;
  const bool single = plan.groups == 1 && plan.ctas > many_ctas && held;
  if (2 * plan.ctas <= gpu.sm_count) us -= several ? one_side_us : single ? single_side_us : 0.0;
  const std::int64_t slice_bytes =
      positions / plan.ctas * plan.group_batch * static_cast<std::int64_t>(size_of(dtype));
  if (slice_bytes % 16 != 0) us += uneven_slice_us;
  if (!plan.stamps) us += grid_barrier_us;
  if (plan.fence) us += fence_us;
  if (held) us *= held_share;
  if (plan.ctas < many_ctas) {
    const double part = (few_ctas_most_kib - kib) / (few_ctas_most_kib - few_ctas_all_kib);
    us -= std::clamp(part, 0.0, 1.0) * few_ctas_us *
          std::log2(static_cast<double>(many_ctas) / std::max(plan.ctas, fewest_ctas));
  }
  if (plan.in_cluster) us -= in_cluster_us + (!held && plan.warps < 8 ? few_warps_us : 0.0);
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
