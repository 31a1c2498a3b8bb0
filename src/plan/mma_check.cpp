// Whether the fields of a plan, which may come from a file, agree with each other and with the problem.
#include <fmt/format.h>

#include <limits>

#include "plan/gpu_check.hpp"
#include "plan/mma_layout.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn::mma {

using gpu::expect;
using gpu::expect_in;

void check(const MmaPlan& plan, const Problem& problem, const DirectionProblem& direction) {
  gpu::check_common(plan, problem, direction);
  // What either of the others lacks beside is a matter of the weights, which pack looks at.
  if (const std::string reason = missing(problem, direction, GpuStrategy::dense_mma); !reason.empty())
    throw Error(ErrorCode::format,
                fmt::format("GPU plan: strategy {}: {}", to_string(plan.strategy()), reason));
  expect(!plan.sparse || !plan.gathered, "sparse", 1, "0 in vector-mma");
  if (plan.rest) {
    expect(plan.sparse, "rest", 1, "none but in sparse-mma");
    expect(plan.row_parts == 1, "row_parts", plan.row_parts, "1 beside a rest");
    expect_in("group_batch", plan.group_batch, 1, plane_entries);
  }
  const int gates = direction.cell.gates();
  const int sharing = mma_sharing_units(gates);
  expect_in("units_a_cta", plan.units_a_cta, 1,
            plan.gathered ? most_tiles * sharing : most_tiles * tile_rows / gates);
  // Every unit has a position, and every CTA a unit.
  const std::int64_t units = problem.hidden_size;
  expect(std::int64_t{plan.ctas} * plan.units_a_cta >= units, "units_a_cta", plan.units_a_cta,
         fmt::format("at least {} of {} units in {} CTAs", (units + plan.ctas - 1) / plan.ctas, units,
                     plan.ctas));
  expect(std::int64_t{plan.ctas - 1} * plan.units_a_cta < units, "ctas", plan.ctas,
         fmt::format("at most {} with {} units each", (units + plan.units_a_cta - 1) / plan.units_a_cta,
                     plan.units_a_cta));
  if (plan.gathered) {
    expect(plan.units_a_cta % sharing == 0, "units_a_cta", plan.units_a_cta,
           fmt::format("a multiple of {}", sharing));
  }
  if (plan.gathered || plan.row_parts != plan.warps)
    expect_in("row_parts", plan.row_parts, 1, plan.gathered ? 1 : most_row_parts);
  for (const int steps : {plan.steps.registers, plan.steps.shared, plan.steps.l2})
    expect_in("steps", steps, 0, gpu::max_slots);
  expect_in("steps", plan.steps.total(), 1, gpu::max_slots);
  expect_in("kept_steps", plan.kept_steps, 0, plan.gathered ? 0 : plan.steps.l2);
  if (plan.asks_late) {
    expect(!plan.gathered, "asks_late", 1, "0 in vector-mma");
    expect(plan.group_batch > plane_entries, "asks_late", 1,
           fmt::format("0 for a group's batch of {}", plan.group_batch));
    expect(plan.steps.registers == 0, "steps.registers", plan.steps.registers,
           "0 where the state is asked for late");
  }
  // The layout takes its fields for granted.
  if (plan.rest) {
    gather::check_matrix(*plan.rest, "rest", plan.units_a_cta, gates,
                         gather::sums_halves(problem, direction, false), bytes_of_word(plan), plan);
    for (const RowPass& pass : plan.rest->passes)
      expect(pass.registers == 0, "rest.passes.registers", pass.registers, "0");
  }
  const Layout layout = make_layout(plan, problem, direction);
  if (plan.rest)
    gather::check_image(layout.rest->image, plan.rest->offset_unit, "the state that the rest reads");
  if (plan.asks_late) {
    const int late_steps = layout.w_hh.late_steps();
    expect(plan.steps.l2 == 0 || plan.steps.shared % late_steps == 0, "steps.shared", plan.steps.shared,
           fmt::format("a multiple of {}", late_steps));
  }
  // The kernel counts the words of a CTA's weights in 32 bits.
  for (const Place place : {Place::registers, Place::shared, Place::l2}) {
    const std::int64_t words = layout.w_hh.block_words(place);
    expect(words <= std::numeric_limits<std::int32_t>::max(), fmt::format("steps.{}", gpu::to_string(place)),
           words, "weights of less than 8 GB a CTA");
  }
  if (plan.gathered) {
    const std::int64_t last = layout.w_hh.zero_position(column_phases - 1);
    expect(last < 65536, "positions", last, "less than 65536");
  } else {
    expect(plan.units_a_cta % held_units == 0, "units_a_cta", plan.units_a_cta,
           fmt::format("a multiple of {}", held_units));
    const int warps = layout.w_hh.column_warps();
    const std::int64_t columns = std::int64_t{warps} * plan.steps.total() * layout.w_hh.step_columns();
    // A warp that published nothing would be overrun: each has units, and all of them are read.
    const bool whole = layout.w_hh.whole_rows();
    const std::int64_t read = whole ? std::int64_t{plan.ctas} * plan.units_a_cta : units;
    expect(columns >= read, "steps", plan.steps.total(),
           fmt::format("enough for {} units in {} warps", read, warps));
    if (whole) {
      expect(
          (plan.warps - 1) * layout.w_hh.units_a_warp() < plan.units_a_cta, "row_parts", plan.row_parts,
          fmt::format("1 to {}: {} units a CTA leave a warp without rows", most_row_parts, plan.units_a_cta));
      expect(plan.steps.l2 == 0, "steps.l2", plan.steps.l2, "0 with whole rows a warp");
      expect(!plan.asks_late, "asks_late", 1, "0 with whole rows a warp");
    }
    // Both slots of all groups' rings, in 64-bit words: the kernel counts them in 32 bits.
    const std::int64_t words = 4 * plan.groups * layout.w_hh.ring_quads(plan.group_batch, ExchangeWord::tag);
    expect(words <= std::numeric_limits<std::int32_t>::max(), "group_batch", plan.group_batch,
           "a ring of less than 16 GB");
  }
  gpu::check_budgets(plan, weight_registers(layout.w_hh, plan.steps.registers),
                     shared_budget(layout, plan.group_batch, plan.shared.available));
}

}  // namespace sprnn::mma
