#pragma once

#include "sprnn/engine.hpp"

namespace sprnn {

[[nodiscard]] const Engine& cpu_engine();

}  // namespace sprnn
