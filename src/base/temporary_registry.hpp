// The temporary files being written at the moment, in a form that a signal handler may read.
#pragma once

namespace sprnn {

// Returns a slot, or -1 if the path is too long or too many files are being written at once: such a file
// is only not removed when the process is killed.
[[nodiscard]] int register_temporary(const char* path) noexcept;
void unregister_temporary(int slot) noexcept;

}  // namespace sprnn
