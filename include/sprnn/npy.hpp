// NumPy .npy arrays: version 1 to 3, C order, little-endian. What is none of these, of another type or cut
// short is an Error(format); `name` is what it calls the bytes. Files that cannot be read or written are an
// Error(io).
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace sprnn {

struct FloatArray {
  std::vector<std::int64_t> shape;
  std::vector<float> values;
};

struct IntArray {
  std::vector<std::int64_t> shape;
  std::vector<std::int64_t> values;
};

// float16, float32 or float64 (rounded to float; a finite value beyond float's range is an error).
[[nodiscard]] FloatArray load_npy_floats(const std::filesystem::path& path);
[[nodiscard]] FloatArray parse_npy_floats(const std::vector<std::byte>& bytes, const std::string& name);
// int32 or int64.
[[nodiscard]] IntArray load_npy_ints(const std::filesystem::path& path);
[[nodiscard]] IntArray parse_npy_ints(const std::vector<std::byte>& bytes, const std::string& name);
// float32, version 1.0; written to a temporary name and renamed. Error(invalid_argument) if shape and values
// do not agree.
void save_npy(const FloatArray& array, const std::filesystem::path& path);

struct FloatArrayFile {
  const FloatArray* array = nullptr;  // the caller's, not null
  std::filesystem::path path;
};
// Several: if one cannot be written (the disk is full, say), none is replaced.
void save_npy(std::span<const FloatArrayFile> files);

}  // namespace sprnn
