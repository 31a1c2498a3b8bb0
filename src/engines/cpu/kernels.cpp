// Compiles the kernels for each instruction set through Highway's foreach_target.
// The fallback too, and no target that the engine has no name for, of which later versions of Highway have
// more.
#define HWY_COMPILE_ALL_ATTAINABLE
#define HWY_DISABLED_TARGETS (~(HWY_AVX2 | HWY_AVX3 | HWY_EMU128 | HWY_SCALAR))
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "engines/cpu/kernels.cpp"
#include <hwy/foreach_target.h>
// must come after foreach_target.h
#include <hwy/highway.h>
#include <hwy/targets.h>

#include "engines/cpu/cell-inl.h"
#include "engines/cpu/kernels.hpp"
#include "engines/cpu/product-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sprnn::cpu::HWY_NAMESPACE {

const Kernels& kernels() {
  static const Kernels table = {
#if HWY_TARGET == HWY_AVX3
    "avx512",
#elif HWY_TARGET == HWY_AVX2
    "avx2",
#else
    "scalar",
#endif
    kLanes,
    multiply,
    update,
    round_values,
    transpose
  };
  return table;
}

}  // namespace sprnn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace sprnn::cpu {

const std::vector<const Kernels*>& all_kernels() {
  static const std::vector<const Kernels*> all = [] {
    std::vector<const Kernels*> found;
    [[maybe_unused]] const std::int64_t supported = hwy::SupportedTargets();
#if HWY_TARGETS & HWY_AVX3
    if (supported & HWY_AVX3) found.push_back(&N_AVX3::kernels());
#endif
#if HWY_TARGETS & HWY_AVX2
    if (supported & HWY_AVX2) found.push_back(&N_AVX2::kernels());
#endif
#if HWY_TARGETS & HWY_EMU128
    found.push_back(&N_EMU128::kernels());
#elif HWY_TARGETS & HWY_SCALAR
    found.push_back(&N_SCALAR::kernels());
#endif
    return found;
  }();
  return all;
}

}  // namespace sprnn::cpu
#endif  // HWY_ONCE
