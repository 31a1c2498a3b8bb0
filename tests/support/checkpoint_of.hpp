// A model as a checkpoint of its own, under PyTorch's names.
#pragma once

#include <string>

#include "sprnn/checkpoint.hpp"

namespace sprnn::test {

// Appends the model's parameters as F32, F16 or BF16 tensors (the model's dtype), "<prefix>weight_ih_l0"
// first.
void append(Checkpoint& checkpoint, const std::string& prefix, const Model& model);
[[nodiscard]] Checkpoint checkpoint_of(const Model& model, const std::string& prefix = "");

}  // namespace sprnn::test
