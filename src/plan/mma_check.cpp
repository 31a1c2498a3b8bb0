// Whether the fields of a plan, which may come from a file, agree with each other and with the problem.
#include <fmt/format.h>

#include "plan/gpu_check.hpp"
#include "plan/mma_layout.hpp"
#include "sprnn/error.hpp"

namespace sprnn::mma {

using gpu::expect;
using gpu::expect_in;

void check(const MmaPlan& plan, const Problem& problem, const DirectionProblem& direction) {
  gpu::check_common(plan);
  if (const std::string reason = missing(problem, direction, false); !reason.empty())
    throw Error(ErrorCode::format, fmt::format("GPU plan: strategy mma: {}", reason));
  const int gates = direction.cell.gates();
  expect_in("units_a_tile", plan.units_a_tile, 1, tile_rows / gates);
  expect_in("units_a_cta", plan.units_a_cta, 1, std::int64_t{most_tiles} * plan.units_a_tile);
  // Every unit has a position, and every CTA a unit.
  const std::int64_t units = problem.hidden_size;
  expect(std::int64_t{plan.ctas} * plan.units_a_cta >= units, "units_a_cta", plan.units_a_cta,
         fmt::format("at least {} of {} units in {} CTAs", (units + plan.ctas - 1) / plan.ctas, units,
                     plan.ctas));
  expect(std::int64_t{plan.ctas - 1} * plan.units_a_cta < units, "ctas", plan.ctas,
         fmt::format("at most {} with {} units each", (units + plan.units_a_cta - 1) / plan.units_a_cta,
                     plan.units_a_cta));
  if (plan.gathered) {
    expect(plan.units_a_cta % plan.units_a_tile == 0, "units_a_cta", plan.units_a_cta,
           fmt::format("a multiple of {}", plan.units_a_tile));
  }
  for (const int steps : {plan.steps.registers, plan.steps.shared, plan.steps.l2})
    expect_in("steps", steps, 0, gpu::max_slots);
  expect_in("steps", plan.steps.total(), 1, gpu::max_slots);
  const Layout layout = make_layout(plan, problem, direction);
  if (plan.gathered) {
    const std::int64_t last = layout.w_hh.zero_position(column_phases - 1);
    expect(last < 65536, "positions", last, "less than 65536");
  } else {
    expect(plan.units_a_cta % held_units == 0, "units_a_cta", plan.units_a_cta,
           fmt::format("a multiple of {}", held_units));
    const std::int64_t columns = std::int64_t{plan.warps} * plan.steps.total() * step_columns;
    expect(columns >= units, "steps", plan.steps.total(),
           fmt::format("enough for {} units in {} warps", units, plan.warps));
  }
  gpu::check_budgets(plan, weight_registers(layout.w_hh, plan.steps.registers),
                     shared_budget(layout, plan.group_batch, plan.shared.available));
}

}  // namespace sprnn::mma
