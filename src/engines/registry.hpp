#pragma once

#include <string_view>

namespace sprnn {

// The engine that a name means: for "auto" the one that SPRNN_ENGINE names, if it is set.
[[nodiscard]] std::string_view wanted_engine(std::string_view name) noexcept;

}  // namespace sprnn
