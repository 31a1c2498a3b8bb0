// The cores that this process's control groups leave it.
#pragma once

#include <filesystem>

namespace sprnn {

// As many of the threads as the tightest quota of the process's control group and of all above it allows, of
// version 1 or 2; at least one. Looks for /proc and /sys in `root`.
[[nodiscard]] int threads_within_quota(int threads, const std::filesystem::path& root = "/");

}  // namespace sprnn
