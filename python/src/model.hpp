// Models as Python holds them: immutable.
#pragma once

#include <memory>
#include <string>

#include "sprnn/checkpoint.hpp"
#include "sprnn/model.hpp"
#include "sprnn/pack.hpp"

namespace sprnn::python {

// A model, and the checkpoint that it came from.
struct SourcedModel {
  Model model;
  std::shared_ptr<const Checkpoint> checkpoint;  // null unless it was loaded from one
  std::string prefix;                            // of the module in the checkpoint
};

// Weights laid out for a device, shared among sessions.
struct PackedModel {
  std::shared_ptr<const Packed> packed;
};

}  // namespace sprnn::python
