#include "plan/gather_cost.hpp"

#include <algorithm>
#include <array>
#include <cmath>

#include "plan/gather_layout.hpp"

namespace sprnn::gather {

namespace {

// Everything measured here is of one H100 (fp16, T >= 256, 1.98 GHz). Latencies are taken to scale with
// the clock on other devices: not measured there.
constexpr double measured_clock_ghz = 1.98;

struct Point {
  double kib, us;
};

// From a CTA's own store to the end of staging, both barriers of a timestep included: what is left of whole
// kernels (tanh 2304, LSTM 1024, 2048, 2304 and 4096, GRU 1024; one and two groups) without product and cell
// update.
constexpr std::array exchange_points = {Point{2, 0.80},  Point{4, 0.82},  Point{9, 0.86},
                                        Point{18, 1.04}, Point{32, 1.35}, Point{72, 2.20}};
// tanh 2304, two groups: slices of 70 entries 1.44, of 72 entries 1.34; stored to shared memory 4 and 16
// bytes at a time.
constexpr double uneven_slice_us = 0.06;
constexpr double grid_barrier_us = 0.45;  // instead of stamps: tanh 2304, LSTM 1024 and 2304
constexpr double fence_us = 0.4;          // the same three

// A relu has no transcendental function, and words that flag no NaN: relu 1024 took 0.93 us where the others'
// prices made it 1.17.
constexpr double update_us = 0.10;
constexpr double update_us_a_gate = 0.01;
// A pass over the rows ends in shuffles that little hides: 0.08 to 0.2 for each further one of tanh 2304 and
// LSTM 4096.
constexpr double pass_us = 0.13;
// The barriers cost more with more warps: LSTM 2048 with 32, tanh 2304 with 28.
constexpr int cheap_warps = 16;
constexpr double warp_us = 0.01;

// Issue slots a pair, from the assembly: 1 to extract the offset, a load a word, 1 to widen the value unless
// sums are in half precision; then for 4 entries 3 in half precision (2 fused multiply-adds, the sums'
// conversion shared by 4 pairs), or a conversion and a multiply-add an entry.
constexpr double half_slots_an_entry = 0.75;
constexpr double convert_slots_an_entry = 2.0;
constexpr double fp32_slots_an_entry = 1.0;
constexpr double schedulers = 4.0;
// Wavefronts a phase. In column order: the most loaded of n banks under n random addresses, for n = 32,
// 16, 8. In bank order a pass costs what its fullest bank class needs, and the spread of a count grows with
// its root: packs of 2048 to 2304 at 10 and 30 % gave 0.9 to 1.4 over that root.
double random_conflicts(int classes) { return classes >= 32 ? 3.5 : classes >= 16 ? 3.1 : 2.6; }
double ordered_conflicts(double slots_a_pass) { return 1.0 + 1.2 / std::sqrt(std::max(1.0, slots_a_pass)); }
// A lane's slots depend on each other: cycles a slot when nothing hides them.
constexpr double dependent_cycles = 7.0;
constexpr double l2_usable = 0.7;  // of the L2 for streamed weights; beyond, they come from memory

// Fractions of the peak that the input projection is taken to reach: assumed.
constexpr double gemm_efficiency = 0.5;
constexpr double csr_efficiency = 0.1;

double interpolate(double kib) {
  const auto* above = std::find_if(exchange_points.begin(), exchange_points.end() - 1,
                                   [&](const Point& point) { return point.kib >= kib; });
  if (above == exchange_points.begin()) return above->us;
  const Point& low = *(above - 1);
  return low.us + (kib - low.kib) * (above->us - low.us) / (above->kib - low.kib);
}

double exchange(const GatherPlan& plan, std::int64_t positions, ExchangeWord word, DType dtype,
                const GpuDescription& gpu) {
  double kib =
      static_cast<double>(positions * plan.group_batch) * static_cast<double>(size_of(dtype)) / 1024.0;
  if (plan.stamps && word == ExchangeWord::tag) kib *= dtype == DType::fp32 ? 4.0 / 3.0 : 8.0 / 7.0;
  double us = interpolate(kib);
  const std::int64_t slice_bytes =
      positions / plan.ctas * plan.group_batch * static_cast<std::int64_t>(size_of(dtype));
  if (slice_bytes % 16 != 0) us += uneven_slice_us;
  if (!plan.stamps) us += grid_barrier_us;
  if (plan.fence) us += fence_us;
  return us * measured_clock_ghz / gpu.clock_ghz;
}

double product(const GatherPlan& plan, const MatrixLayout& matrix, DType dtype, const GpuDescription& gpu) {
  const Image& image = matrix.image;
  const double slots = matrix.slots[0] + matrix.slots[1] + matrix.slots[2];
  const double entries = image.planes * image.entries;
  const double wavefronts_a_load =
      std::max(1, image.word_bytes * warp_lanes / bank_row_bytes) *
      (plan.bank_order ? ordered_conflicts(slots / static_cast<double>(matrix.passes.size()))
                       : random_conflicts(image.bank_classes()));
  const double pair_words = matrix.wide_values ? 1.5 : 1.0;
  const double wavefronts =
      plan.warps * (slots * image.planes * wavefronts_a_load + matrix.slots[1] * pair_words);

  double slots_a_pair = 1.0 + (matrix.offset_unit > 1 ? 1.0 : 0.0) +
                        (matrix.wide_values || matrix.half_sums ? 0.0 : 1.0) + image.planes;
  if (matrix.half_sums) {
    slots_a_pair += half_slots_an_entry * entries;
  } else {
    slots_a_pair += (dtype == DType::fp32 ? fp32_slots_an_entry : convert_slots_an_entry) * entries;
  }
  const double issue = plan.warps * slots * slots_a_pair / schedulers;

  const double cycles = std::max({wavefronts, issue, slots * dependent_cycles});
  const double l2_bytes = static_cast<double>(matrix.block_words(Place::l2)) * 4.0 * plan.ctas;
  const double gbytes_per_s = l2_bytes <= l2_usable * static_cast<double>(gpu.l2_bytes)
                                  ? gpu.l2_gbytes_per_s
                                  : gpu.memory_gbytes_per_s;
  // Groups stream the same weights, each for itself; memory is read once for all of them.
  const double streams = gbytes_per_s == gpu.l2_gbytes_per_s ? plan.groups : 1;
  const double fixed =
      pass_us * static_cast<double>(matrix.passes.size()) + warp_us * std::max(0, plan.warps - cheap_warps);
  return cycles / (gpu.clock_ghz * 1e3) + l2_bytes * streams / (gbytes_per_s * 1e3) +
         fixed * measured_clock_ghz / gpu.clock_ghz;
}

}  // namespace

int poll_wait(const GatherPlan& plan) {
  // Measured: 32 CTAs are as fast without; tanh 2304 in two groups takes 1.67 us with none, 1.36 with
  // 200, 1.43 with 400, LSTM 2304 in one group 3.98 with 200 and 3.88 with 400.
  if (plan.groups * plan.ctas <= 64) return 0;
  return plan.groups > 1 ? 200 : 400;
}

double input_cost(InputStorage storage, int tile_steps, const Problem& problem,
                  const DirectionProblem& direction, const GpuDescription& gpu) {
  const MatrixSummary& w = direction.w_ih;
  const double batch = problem.batch;
  const double rows = static_cast<double>(w.rows);
  const double element = static_cast<double>(size_of(problem.dtype));
  const bool dense = storage == InputStorage::dense;
  const double entries = dense ? rows * static_cast<double>(w.cols) : static_cast<double>(w.nonzeros());
  const double peak = problem.dtype == DType::fp32 || !dense ? gpu.fp32_tflops : gpu.tensor_tflops;
  const double arithmetic = 2.0 * entries * batch / (peak * (dense ? gemm_efficiency : csr_efficiency) * 1e6);
  const double weights = entries * (dense ? element : element + 4.0) / tile_steps;
  const double results = 2.0 * rows * batch * 4.0;  // fp32, written and read
  return std::max(arithmetic, (weights + results) / (gpu.memory_gbytes_per_s * 1e3));
}

std::vector<CostPart> cost(const GatherPlan& plan, const Problem& problem, const DirectionProblem& direction,
                           const GpuDescription& gpu) {
  const Layout layout = make_layout(plan, problem, direction);
  const double scale = plan.passes * measured_clock_ghz / gpu.clock_ghz;
  const double cells = static_cast<double>(plan.w_hh.units_a_cta) * plan.group_batch;
  const double rounds = std::ceil(cells / layout.w_hh.threads);
  std::vector<CostPart> parts;
  parts.push_back({"exchange", plan.passes * exchange(plan, layout.w_hh.image.positions, plan.exchange_word,
                                                      problem.dtype, gpu)});
  parts.push_back({"product", plan.passes * product(plan, layout.w_hh, problem.dtype, gpu)});
  const bool relu = direction.cell == relu_cell();
  const double update = relu ? 0.0 : update_us + update_us_a_gate * direction.cell.gates();
  parts.push_back({"cell update", scale * rounds * update});
  if (layout.w_hr) {
    parts.push_back({"projection exchange", plan.passes * exchange(plan, layout.w_hr->image.positions,
                                                                   ExchangeWord::stamp, problem.dtype, gpu)});
    parts.push_back({"projection product", plan.passes * product(plan, *layout.w_hr, problem.dtype, gpu)});
  }
  parts.push_back({"input projection", input_cost(plan.w_ih, plan.tile_steps, problem, direction, gpu)});
  return parts;
}

}  // namespace sprnn::gather
