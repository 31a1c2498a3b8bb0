// Arrays in and out: NumPy's, and those of any library that speaks DLPack.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>

#include <cstdint>
#include <string>
#include <vector>

namespace sprnn::python {

using Array = nanobind::ndarray<nanobind::ro>;
using Shape = std::vector<std::int64_t>;

// Imports an array in the CPU's memory, to read. Throws ArgumentTypeError naming `name` and what was found.
[[nodiscard]] Array import_array(nanobind::handle object, const char* name);
[[nodiscard]] Shape shape_of(const Array& array);
[[nodiscard]] std::string to_text(const Shape& shape);  // "[5, 1, 8]"

// A floating-point array read as float32: its own memory where that is float32 in C order, else a copy.
class FloatInput {
 public:
  FloatInput(nanobind::handle object, const char* name);
  [[nodiscard]] const float* data() const noexcept { return data_; }
  [[nodiscard]] const Array& array() const noexcept { return array_; }
  [[nodiscard]] std::size_t size() const noexcept { return array_.size(); }

 private:
  Array array_;
  std::vector<float> converted_;
  const float* data_ = nullptr;
};

// "float32", "bfloat16", "int64": of the array's elements.
[[nodiscard]] std::string dtype_name(const Array& array);

// The values of a float32, float64, float16 or bfloat16 array in C order. Throws ArgumentTypeError for
// another dtype, Error(invalid_argument) for a finite float64 that float32 cannot hold.
[[nodiscard]] std::vector<float> read_floats(const Array& array, const char* name);

// A list or array of integers.
[[nodiscard]] std::vector<std::int64_t> read_integers(nanobind::handle object, const char* name);

// The memory of an array to write into: float32, C order, writable, of `shape`. Throws with what was found.
[[nodiscard]] float* writable_floats(nanobind::handle object, const char* name, const Shape& shape);

// A new NumPy array, not initialised, and its memory.
struct NewArray {
  nanobind::object object;
  float* data;
};
[[nodiscard]] NewArray new_array(const Shape& shape);

}  // namespace sprnn::python
