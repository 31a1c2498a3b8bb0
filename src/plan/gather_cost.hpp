// Predicted microseconds of a timestep under a GatherPlan, by part.
#pragma once

#include <vector>

#include "plan/gather_layout.hpp"
#include "sprnn/plan.hpp"

namespace sprnn::gather {

// `plan` satisfies check(). The parts: "exchange", "product", "cell update", with a projection "projection
// exchange" and "projection product", and "input projection".
[[nodiscard]] std::vector<CostPart> cost(const GatherPlan& plan, const Problem& problem,
                                         const DirectionProblem& direction, const GpuDescription& gpu);

// Of the product of one matrix, on all groups at once.
[[nodiscard]] double product_cost(const GpuPlan& plan, const MatrixLayout& matrix, bool bank_order,
                                  DType dtype, const GpuDescription& gpu);

}  // namespace sprnn::gather
