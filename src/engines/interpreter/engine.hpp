// Runs what a GPU strategy packs, on the host, in the GPU's order and precision: the oracle says whether
// plan and pack are right, this engine whether the kernel is.
#pragma once

#include "sprnn/engine.hpp"

namespace sprnn {

[[nodiscard]] const Engine& interpreter_engine();

}  // namespace sprnn
