// What strategies dense-mma and vector-mma cost: microseconds a timestep, and registers.
#pragma once

#include <vector>

#include "plan/mma_layout.hpp"

namespace sprnn::mma {

[[nodiscard]] std::vector<CostPart> cost(const MmaPlan& plan, const Problem& problem,
                                         const DirectionProblem& direction, const GpuDescription& gpu);

// Of a thread, beside weights: what the compiler needs so that nothing is spilled.
[[nodiscard]] int working_registers(const MmaPlan& plan, const Layout& layout);

}  // namespace sprnn::mma
