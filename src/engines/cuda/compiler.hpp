// Kernels are compiled for the plan at run time, by NVRTC. No GPU is needed for it.
#pragma once

#include <span>
#include <string>

#include "engines/cuda/kernel_code.hpp"

namespace sprnn::cuda {

struct Compiled {
  std::string cubin;
  std::string ptx;    // as text, for newer architectures
  int registers = 0;  // a thread
  int stack_bytes = 0;
  int spill_bytes = 0;  // stores and loads
};

// `plan_source` is what the kernel sources include as plan.cuh; `kernel` is the name of an embedded .cu file.
// `capability`: 80, 90, ...; the machine code runs on exactly that one. Throws Error(device) when NVRTC is
// missing, Error(internal) with its log when it refuses the source.
[[nodiscard]] Compiled compile(const std::string& kernel, const std::string& plan_source, int capability);
// Of every compilation, beside the architecture.
[[nodiscard]] std::span<const char* const> compile_options() noexcept;
[[nodiscard]] std::string compiler_version();  // "NVRTC 13.0"; Error(device) when it is missing
// Empty if NVRTC can be loaded, else why not.
[[nodiscard]] std::string compiler_refusal();

// compile() through the cache on disk (kernel_cache.hpp), if there is one.
[[nodiscard]] std::string compile_cached(const KernelRequest& request, int capability);

}  // namespace sprnn::cuda
