// The safetensors container: 8 bytes of header length (little-endian), a JSON object that names each
// tensor's dtype, shape and place, then the tensors' bytes without gaps.
// https://huggingface.co/docs/safetensors
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "sprnn/checkpoint.hpp"

namespace sprnn::safetensors {

inline constexpr std::size_t length_bytes = 8;
inline constexpr std::uint64_t max_header_bytes = 100'000'000;  // the safetensors library's own limit
inline constexpr const char* metadata_key = "__metadata__";

// One tensor of the header. The bytes are [begin, end) of what follows the header.
struct Entry {
  std::string name;
  std::string dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct Header {
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;
};

// Parses the JSON text; `file` is for the messages. Throws Error(format).
[[nodiscard]] Header parse_header(std::string_view json, const std::string& file);

// Throws Error(format) unless dtype and shape take exactly `bytes` bytes.
void check_size(const std::string& name, const std::string& dtype, const std::vector<std::int64_t>& shape,
                std::uint64_t bytes);

// What a file with these tensors in this order begins with: the length and the JSON text, with the
// safetensors library's order of keys and its padding to 8 bytes. Throws Error(invalid_argument) for what
// such a file cannot hold: equal names, names that are not UTF-8, data that does not fit dtype and shape.
[[nodiscard]] std::string format_header(const Checkpoint& checkpoint);

}  // namespace sprnn::safetensors
