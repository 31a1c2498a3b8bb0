// Arithmetic by IEEE 754's defaults, whatever the thread is set to.
#pragma once

#include <cfenv>

namespace sprnn {

// For its lifetime the thread rounds to nearest and keeps subnormals. Who calls may have neither:
// torch.set_flush_denormal(True), a library linked with -ffast-math or std::fesetround change it, and then a
// result would depend on which of its values the caller's thread computes.
class DefaultFloatEnvironment {
 public:
  DefaultFloatEnvironment() noexcept {
    std::fegetenv(&callers_);
    std::fesetenv(FE_DFL_ENV);
  }
  ~DefaultFloatEnvironment() { std::fesetenv(&callers_); }
  DefaultFloatEnvironment(const DefaultFloatEnvironment&) = delete;
  DefaultFloatEnvironment& operator=(const DefaultFloatEnvironment&) = delete;

 private:
  std::fenv_t callers_;
};

}  // namespace sprnn
