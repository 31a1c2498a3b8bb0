// Files are written to a temporary name and renamed; this is for programs that are killed in between.
#pragma once

namespace sprnn {

// Removes the temporary files that this process is writing at the moment. Async-signal-safe: meant for a
// handler of SIGINT or SIGTERM that ends the process. (When a write fails by itself, or an exception passes
// through, the temporary is removed without this.)
void remove_temporary_files() noexcept;

}  // namespace sprnn
