#include "plan/gather_cost.hpp"

#include <algorithm>
#include <cmath>

#include "plan/gpu_cost.hpp"

namespace sprnn::gather {

namespace {

// What the product takes whatever the number of pairs, fitted together with the exchange (gpu_cost.cpp): a
// further pass over the rows, whose shuffles the next one's loads hide; each sum that a thread of the cell
// update collects; warps that meet; and each time that twice as many lanes share a row, a shuffle.
constexpr double pass_us = 0.03;
constexpr double part_us = 0.0065;
constexpr int cheap_warps = 8;
constexpr double warp_us = 0.007;
constexpr double shuffle_us = 0.02;

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

}  // namespace

double product_cost(const GpuPlan& plan, const MatrixLayout& matrix, bool bank_order, DType dtype,
                    const GpuDescription& gpu) {
  const Image& image = matrix.image;
  const double slots = matrix.slots[0] + matrix.slots[1] + matrix.slots[2];
  const double entries = image.planes * image.entries;
  const double wavefronts_a_load =
      std::max(1, image.word_bytes * warp_lanes / bank_row_bytes) *
      (bank_order ? ordered_conflicts(slots / static_cast<double>(matrix.passes.size()))
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
  const double streamed = static_cast<double>(matrix.block_words(Place::l2)) * 4.0 * plan.ctas;
  const double fixed = pass_us * static_cast<double>(matrix.passes.size() - 1) +
                       part_us * matrix.parts * matrix.gates +
                       warp_us * std::max(0, plan.warps - cheap_warps) + shuffle_us * std::log2(matrix.lanes);
  return cycles / (gpu.clock_ghz * 1e3) + gpu::streaming_cost(plan, streamed, gpu) +
         fixed * gpu::measured_clock_ghz / gpu.clock_ghz;
}

std::vector<CostPart> cost(const GatherPlan& plan, const Problem& problem, const DirectionProblem& direction,
                           const GpuDescription& gpu) {
  const Layout layout = make_layout(plan, problem, direction);
  const auto exchange = [&](const Image& image, ExchangeWord word) {
    return plan.passes * gpu::exchange_cost(plan, image.positions, word, problem.dtype, gpu);
  };
  std::vector<CostPart> parts;
  parts.push_back({"exchange", exchange(layout.state, plan.exchange_word)});
  parts.push_back(
      {"product", plan.passes * product_cost(plan, layout.w_hh, plan.bank_order, problem.dtype, gpu)});
  parts.push_back({"cell update", plan.passes * gpu::update_cost(plan, layout.units_a_cta, direction.cell,
                                                                 problem.dtype, gpu)});
  if (layout.w_hr) {
    parts.push_back({"projection exchange", exchange(*layout.output, ExchangeWord::stamp)});
    parts.push_back({"projection product",
                     plan.passes * product_cost(plan, *layout.w_hr, plan.bank_order, problem.dtype, gpu)});
  }
  parts.push_back({"input projection", gpu::input_cost(plan.w_ih, plan.tile_steps, problem, direction, gpu)});
  return parts;
}

}  // namespace sprnn::gather
