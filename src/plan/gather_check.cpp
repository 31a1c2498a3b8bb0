// Whether the fields of a plan, which may come from a file, agree with each other and with the problem.
#include <fmt/format.h>

#include <bit>

#include "plan/gather_balance.hpp"
#include "plan/gather_layout.hpp"
#include "plan/gpu_check.hpp"
#include "plan/strategy.hpp"

namespace sprnn::gather {

using gpu::expect;
using gpu::expect_in;
using gpu::max_slots;

void check_matrix(const GatherMatrix& matrix, std::string_view name, std::int64_t units_a_cta, int gates,
                  bool half_sums, int word_bytes, const GpuPlan& plan) {
  const auto field = [&](std::string_view what) { return fmt::format("{}.{}", name, what); };
  expect(matrix.units_a_cta == units_a_cta, field("units_a_cta"), matrix.units_a_cta,
         fmt::format("{}", units_a_cta));
  expect_in(field("lanes"), matrix.lanes, 1, warp_lanes);
  expect(std::has_single_bit(static_cast<unsigned>(matrix.lanes)), field("lanes"), matrix.lanes,
         "a power of two");
  expect(matrix.offset_unit == 1 || matrix.offset_unit == word_bytes, field("offset_unit"),
         matrix.offset_unit, fmt::format("1 or {}", word_bytes));
  // Weights without a large one may be packed under the plan of others.
  expect(!matrix.half_sums || half_sums, field("half_sums"), 1,
         "0: four products of such weights and states may be more than fp16 has");
  const std::int64_t row_groups = plan.warps * warp_lanes / matrix.lanes;
  const std::int64_t passes = (units_a_cta * gates + row_groups - 1) / row_groups;
  expect(static_cast<std::int64_t>(matrix.passes.size()) == passes, field("passes"),
         static_cast<std::int64_t>(matrix.passes.size()), fmt::format("{}", passes));
  expect_in(field("parts"), matrix.parts, 1, passes > 1 ? 1 : max_parts);
  std::int64_t slots = 0;
  for (const RowPass& pass : matrix.passes) {
    for (const int count : {pass.registers, pass.shared, pass.l2})
      expect_in(field("passes"), count, 0, max_slots);
    expect(pass.shared % quad == 0, field("passes.shared"), pass.shared, "a multiple of 4");
    expect(pass.l2 % quad == 0, field("passes.l2"), pass.l2, "a multiple of 4");
    const bool overflows = pass.shared + pass.l2 > 0;
    expect(!overflows || pass.registers % quad == 0, field("passes.registers"), pass.registers,
           "a multiple of 4");
    slots += pass.slots();
    expect_in(field("passes, all slots"), slots, 0, max_slots);
  }
}

void check_image(const Image& image, int offset_unit, std::string_view name) {
  expect(image.plane_bytes <= offset_values * offset_unit, name, image.plane_bytes,
         fmt::format("at most {} bytes a plane, which 16-bit offsets in steps of {} reach",
                     offset_values * offset_unit, offset_unit));
}

void check(const GatherPlan& plan, const Problem& problem, const DirectionProblem& direction) {
  gpu::check_common(plan, problem, direction);
  expect_in("word_bytes", plan.word_bytes, static_cast<std::int64_t>(size_of(problem.dtype)), 16);
  expect(std::has_single_bit(static_cast<unsigned>(plan.word_bytes)), "word_bytes", plan.word_bytes,
         "a power of two");
  const bool projects = problem.projection_size > 0;
  expect(plan.w_hr.has_value() == projects, "w_hr", plan.w_hr ? 1 : 0, projects ? "a matrix" : "no matrix");
  const auto check_of = [&](const GatherMatrix& matrix, std::string_view name, bool projection) {
    const std::int64_t units = projection ? problem.projection_size : problem.hidden_size;
    check_matrix(matrix, name, (units + plan.ctas - 1) / plan.ctas, projection ? 1 : direction.cell.gates(),
                 sums_halves(problem, direction, projection), plan.word_bytes, plan);
  };
  check_of(plan.w_hh, "w_hh", false);
  if (plan.w_hr) check_of(*plan.w_hr, "w_hr", true);

  const Layout layout = make_layout(plan, problem, direction);
  check_image(layout.w_hh.image, layout.w_hh.offset_unit, "the state that w_hh reads");
  if (layout.w_hr) check_image(layout.w_hr->image, layout.w_hr->offset_unit, "the output that w_hr reads");
  gpu::check_budgets(plan, pair_registers(layout, plan.opaque_pairs),
                     shared_budget(layout, plan.group_batch, plan.shared.available));
}

}  // namespace sprnn::gather
