// Which kernels a plan needs, and where their machine code comes from.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "engines/cuda/plan_source.hpp"

namespace sprnn::cuda {

// What the kernels lack for this problem; empty if nothing.
[[nodiscard]] std::string missing_cell(const Problem& problem);

// One kernel file compiled for one plan.
struct KernelRequest {
  std::string kernel;       // name of an embedded .cu file
  std::string plan_source;  // what it includes as plan.cuh
};

[[nodiscard]] KernelRequest layer_kernel(const KernelShape& shape);
[[nodiscard]] KernelRequest input_kernel(DType dtype);
[[nodiscard]] KernelRequest sides_kernel();
// The kernel for states that no stamp can carry.
[[nodiscard]] KernelShape unbounded(KernelShape shape);

// All that sessions of a plan may ask for, each once.
[[nodiscard]] std::vector<KernelRequest> kernels_of(const Plan& plan, int compute_capability);

// SHA-256 of all that the code depends on but the compiler and the architecture: the kernel sources, the
// plan's source and the compiler's options.
[[nodiscard]] std::string source_hash(const KernelRequest& request);

// Gives the image for exactly this compute capability (80, 90, ...): from NVRTC and its cache, or from a
// directory of compiled code. Throws Error.
using CodeSource = std::function<std::string(const KernelRequest& request, int capability)>;

}  // namespace sprnn::cuda
