// The one exception type of sprnn. The library never prints, exits or aborts: it throws this.
#pragma once

#include <stdexcept>
#include <string>

namespace sprnn {

enum class ErrorCode : int {
  invalid_argument = 1,  // a value, shape, option or name that the caller passed
  format = 2,            // a file or a text that does not say what it should
  io = 3,                // the operating system refused: missing, unwritable, disk full
  unsupported = 4,       // a valid request that the chosen engine or strategy does not have
  device = 5,            // no device, or the device failed
  deadline = 6,          // a run was given up because it took too long
  out_of_memory = 7,
  interrupted = 8,  // the caller's progress callback asked to stop
  internal = 9,     // a fault of sprnn itself
};

// The message names the thing, what was found, what was expected and what to do.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}
  [[nodiscard]] ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace sprnn
