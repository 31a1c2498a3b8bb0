#pragma once

#include <string>
#include <string_view>

namespace sprnn {

// The engine that a name means: for "auto" the one that SPRNN_ENGINE names, if it is set.
[[nodiscard]] std::string_view wanted_engine(std::string_view name) noexcept;

// What an error calls the engine that a name means: "engine cuda", or "SPRNN_ENGINE=cuda" where that has
// named it.
[[nodiscard]] std::string engine_label(std::string_view name);

}  // namespace sprnn
