// Predicted microseconds of a timestep under a GatherPlan, by part.
#pragma once

#include <vector>

#include "sprnn/plan.hpp"

namespace sprnn::gather {

// `plan` satisfies check(). The parts: "exchange", "product", "cell update", with a projection "projection
// exchange" and "projection product", and "input projection".
[[nodiscard]] std::vector<CostPart> cost(const GatherPlan& plan, const Problem& problem,
                                         const DirectionProblem& direction, const GpuDescription& gpu);

// Of a timestep's input projection, which is planned for itself.
[[nodiscard]] double input_cost(InputStorage storage, int tile_steps, const Problem& problem,
                                const DirectionProblem& direction, const GpuDescription& gpu);

// Cycles between a CTA's own store and its first poll; looks at the groups and their CTAs.
[[nodiscard]] int poll_wait(const GatherPlan& plan);

}  // namespace sprnn::gather
