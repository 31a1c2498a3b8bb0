// Registers of a thread that are not pairs: a model of what the compiler makes of the kernel.
#pragma once

#include "plan/gather_layout.hpp"

namespace sprnn::gather {

// What it needs so that nothing is spilled, beside the pairs. `layout` has the plan's passes, wherever their
// slots will lie; `overflows`: some of them lie outside the registers.
[[nodiscard]] int working_registers(const GatherPlan& plan, const Layout& layout, bool overflows);

// What it takes at most of the registers that are left, where some are.
[[nodiscard]] constexpr int with_room(int working) { return 2 * working; }

}  // namespace sprnn::gather
