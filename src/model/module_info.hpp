// What a stored module is, from the shapes of its tensors.
#pragma once

#include <string>

#include "model/module_names.hpp"

namespace sprnn {

// Fills everything that can be told, and `problem` if that is not enough to read the module.
[[nodiscard]] ModuleInfo describe(const Checkpoint& checkpoint, const StoredModule& module);

// "'encoder.' (gru, input 256, hidden 256, 1 layer, fp32)"
[[nodiscard]] std::string to_text(const ModuleInfo& info);

}  // namespace sprnn
