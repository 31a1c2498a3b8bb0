// The header of a .npy file, a Python dictionary literal such as
// {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }
// https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace sprnn::npy {

struct Header {
  std::string descr;  // "<f4": byte order, kind, bytes an element
  bool fortran_order = false;
  std::vector<std::int64_t> shape;
};

// Throws Error(format); `file` is for the messages.
[[nodiscard]] Header parse_header(std::string_view text, const std::string& file);

}  // namespace sprnn::npy
