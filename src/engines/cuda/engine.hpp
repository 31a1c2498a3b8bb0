// The sparse persistent kernel on an NVIDIA GPU.
#pragma once

#include "sprnn/engine.hpp"

namespace sprnn {

[[nodiscard]] const Engine& cuda_engine();

}  // namespace sprnn
