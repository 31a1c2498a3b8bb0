// Arithmetic by IEEE 754's defaults, whatever the thread is set to.
#pragma once

#ifdef __SSE2__
#include <xmmintrin.h>
#else
#include <cfenv>
#endif

namespace sprnn {

// For its lifetime the thread rounds to nearest and keeps subnormals. Who calls may have neither:
// torch.set_flush_denormal(True), a library linked with -ffast-math or std::fesetround change it, and then a
// result would depend on which of its values the caller's thread computes.
class DefaultFloatEnvironment {
 public:
#ifdef __SSE2__
  // A register to look at; std::fesetenv takes 100 ns, of a call that may take 2 us.
  DefaultFloatEnvironment() noexcept : callers_(_mm_getcsr()), differs_((callers_ & ~flags) != defaults) {
    if (differs_) _mm_setcsr(defaults);
  }
  ~DefaultFloatEnvironment() {
    if (differs_) _mm_setcsr(callers_);
  }
#else
  DefaultFloatEnvironment() noexcept {
    std::fegetenv(&callers_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatEnvironment() { std::fesetenv(&callers_); }
#endif
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

 private:
#ifdef __SSE2__
  // Of MXCSR: what has happened, and what a process begins with: all exceptions masked.
  static constexpr unsigned flags = 0x3F, defaults = 0x1F80;
  unsigned callers_;
  bool differs_;
#else
  std::fenv_t callers_;
#endif
};

}  // namespace sprnn
