// Checks of plans that may come from a file: what all strategies of a GPU share.
#pragma once

#include <cstdint>
#include <string_view>

#include "sprnn/plan.hpp"

namespace sprnn::gpu {

// Far above any device; they keep every product of sizes within 63 bits.
inline constexpr int max_ctas = 4096;
inline constexpr int max_slots = 1 << 20;

// Throw Error(format) that names the field.
void expect(bool good, std::string_view field, std::int64_t found, std::string_view expected);
void expect_in(std::string_view field, std::int64_t found, std::int64_t low, std::int64_t high);

// Every field of a GpuPlan but the budgets' parts, each for itself.
void check_common(const GpuPlan& plan, const Problem& problem, const DirectionProblem& direction);
// The budgets are those that the layout needs.
void check_budgets(const GpuPlan& plan, int weight_registers, const SharedBudget& needed);

}  // namespace sprnn::gpu
