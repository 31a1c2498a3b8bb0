// Registers of a thread that are not pairs: a model of what the compiler makes of the kernel.
#pragma once

#include "plan/gather_layout.hpp"

namespace sprnn::gather {

// What it needs so that nothing is spilled, beside the pairs. `layout` has the plan's passes, wherever their
// slots will lie; `overflows`: some of them lie outside the registers.
[[nodiscard]] int working_registers(const GatherPlan& plan, const Layout& layout, bool overflows,
                                    int compute_capability);

// What it takes at most of the registers that are left, where some are: for loads further ahead. Of 185 plans
// with room (tests/cuda, NVRTC 13.0) the compiler took up to 40 more than they need, 4 on average, and 75 for a
// kernel that stands in for the planned one.
[[nodiscard]] constexpr int with_room(int working) { return working + 80; }

}  // namespace sprnn::gather
