// The sparse persistent kernel on an NVIDIA GPU.
#pragma once

#include "sprnn/engine.hpp"

namespace sprnn {

[[nodiscard]] const Engine& cuda_engine();

// What this problem needs and the engine does not have, whatever the plan: a cell, or NVRTC on this machine.
// Empty if it has all.
[[nodiscard]] std::string cuda_lacks(const Problem& problem);

}  // namespace sprnn
