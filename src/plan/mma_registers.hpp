// Registers of strategies dense-mma and vector-mma.
#pragma once

#include "plan/mma_layout.hpp"

namespace sprnn::mma {

// Of a thread, beside weights: what the compiler needs so that nothing is spilled.
[[nodiscard]] int working_registers(const MmaPlan& plan, const Layout& layout, const Cell& cell);

}  // namespace sprnn::mma
