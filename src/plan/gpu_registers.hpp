// Registers that the kernel needs whatever its product: models of what the compiler makes of it.
#pragma once

#include "plan/gpu_layout.hpp"

namespace sprnn::gpu {

// Of the exchange of a vector of `units_a_cta` units a CTA.
[[nodiscard]] int receiving_registers(const GpuPlan& plan, const Image& image, int units_a_cta,
                                      ExchangeWord word);

}  // namespace sprnn::gpu
