// The float64 reference (reference.hpp) behind the interface of the engines. It takes any plan, since it
// unpacks the weights; unlike the other engines it allocates while it runs.
#pragma once

#include "sprnn/engine.hpp"

namespace sprnn {

[[nodiscard]] const Engine& reference_engine();

}  // namespace sprnn
