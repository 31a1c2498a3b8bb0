// Kernels are compiled for the plan at run time, by NVRTC. No GPU is needed for it.
#pragma once

#include <string>

namespace sprnn::cuda {

struct Compiled {
  std::string cubin;
  int registers = 0;  // a thread
  int stack_bytes = 0;
  int spill_bytes = 0;  // stores and loads
};

// `plan_source` is what the kernel sources include as plan.cuh; `kernel` is the name of an embedded .cu file.
// `capability`: 80, 90, ...; the machine code runs on exactly that one. Throws Error(device) when NVRTC is
// missing, Error(internal) with its log when it refuses the source.
[[nodiscard]] Compiled compile(const std::string& kernel, const std::string& plan_source, int capability);

// Empty if NVRTC can be loaded, else why not.
[[nodiscard]] std::string compiler_refusal();

// compile() through the cache on disk (kernel_cache.hpp), if there is one.
[[nodiscard]] std::string compile_cached(const std::string& kernel, const std::string& plan_source,
                                         int capability);

}  // namespace sprnn::cuda
