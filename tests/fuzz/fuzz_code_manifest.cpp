// Manifests of directories of compiled code: any text is refused with a format error, or names only files of
// the directory itself.
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "engines/cuda/code_directory.hpp"
#include "sprnn/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace sprnn;
  try {
    for (const cuda::CodeEntry& entry : cuda::read_manifest({reinterpret_cast<const char*>(data), size})) {
      for (const cuda::CodeFile& file : {entry.cubin, entry.ptx}) {
        const std::filesystem::path path(file.name);
        if (!path.has_filename() || path.filename() != path || path == "." || path == "..") std::abort();
      }
    }
  } catch (const Error& error) {
    if (error.code() != ErrorCode::format) std::abort();
  }
  return 0;
}
