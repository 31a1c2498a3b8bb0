// Registers of strategies dense-mma, sparse-mma and vector-mma.
#pragma once

#include "plan/mma_layout.hpp"

namespace sprnn::mma {

// Of a thread, beside weights: what the compiler needs so that nothing is spilled. `compute_capability`: 80,
// 90, ...
[[nodiscard]] int working_registers(const MmaPlan& plan, const Layout& layout, const Cell& cell,
                                    int compute_capability);

}  // namespace sprnn::mma
