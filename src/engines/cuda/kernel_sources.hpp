// The files of kernels/, embedded by CMake.
#pragma once

#include <span>

namespace sprnn::cuda {

struct KernelSource {
  const char* name;
  const char* text;
};

[[nodiscard]] std::span<const KernelSource> kernel_sources() noexcept;

}  // namespace sprnn::cuda
