// What strategies dense-mma, sparse-mma and vector-mma cost, in microseconds a timestep.
#pragma once

#include <vector>

#include "plan/mma_layout.hpp"

namespace sprnn::mma {

[[nodiscard]] std::vector<CostPart> cost(const MmaPlan& plan, const Problem& problem,
                                         const DirectionProblem& direction, const GpuDescription& gpu);

}  // namespace sprnn::mma
