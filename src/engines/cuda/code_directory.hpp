// Code that was compiled elsewhere, in a directory with a manifest (docs/compiled_code.md): written by
// compile_code.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "engines/cuda/kernel_code.hpp"

namespace sprnn::cuda {

struct CodeFile {
  std::string name, hash;  // the name of a file in the directory itself
};

struct CodeEntry {
  std::string kernel, source;
  int capability = 0;
  CodeFile cubin, ptx;
};

// What the text of a manifest lists. Throws Error(format).
[[nodiscard]] std::vector<CodeEntry> read_manifest(std::string_view text);

// Reads the manifest. Throws Error(io) or Error(format) that names the file. What it gives throws
// Error(unsupported) for a kernel that the manifest lacks, Error(format) for a file whose hash is not the
// manifest's.
[[nodiscard]] CodeSource code_directory(const std::filesystem::path& directory);

}  // namespace sprnn::cuda
