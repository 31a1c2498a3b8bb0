// Code that was compiled elsewhere, in a directory with a manifest (docs/format.md): written by compile_code.
#pragma once

#include <filesystem>

#include "engines/cuda/kernel_code.hpp"

namespace sprnn::cuda {

// Reads the manifest. Throws Error(io) or Error(format) that names the file. What it gives throws
// Error(unsupported) for a kernel that the manifest lacks, Error(format) for a file whose hash is not the
// manifest's.
[[nodiscard]] CodeSource code_directory(const std::filesystem::path& directory);

}  // namespace sprnn::cuda
