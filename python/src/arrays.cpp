#include "arrays.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "errors.hpp"
#include "sprnn/dtype.hpp"

namespace nb = nanobind;

namespace sprnn::python {

namespace {

using nb::dlpack::dtype_code;

// What there is to say of an object that cannot be imported: "a list", "a ndarray of dtype >f4".
std::string describe(nb::handle object) {
  std::string text = fmt::format("a {}", nb::type_name(object.type()).c_str());
  if (nb::hasattr(object, "dtype")) {
    const nb::object dtype = object.attr("dtype");
    text += fmt::format(" of dtype {}", nb::str(dtype).c_str());
  }
  return text;
}

std::string device_name(const Array& array) {
  switch (array.device_type()) {
    case nb::device::cuda::value:
      return fmt::format("cuda:{}", array.device_id());
    case nb::device::rocm::value:
      return fmt::format("rocm:{}", array.device_id());
    default:
      return fmt::format("the device of DLPack type {}", array.device_type());
  }
}

bool is(const nb::dlpack::dtype& dtype, dtype_code code, int bits) {
  return dtype.code == static_cast<std::uint8_t>(code) && dtype.bits == bits && dtype.lanes == 1;
}

bool is_c_contiguous(const Array& array) {
  std::int64_t stride = 1;
  for (std::size_t i = array.ndim(); i-- > 0;) {
    if (array.shape(i) != 1 && array.stride(i) != stride) return false;
    stride *= static_cast<std::int64_t>(array.shape(i));
  }
  return true;
}

// Calls f(element) for every element in C order.
template <class T, class F>
void for_each(const Array& array, F f) {
  const T* const first = static_cast<const T*>(array.data());
  const std::size_t rank = array.ndim();
  if (array.size() == 0) return;
  if (rank == 0) {
    f(*first);
    return;
  }
  const std::size_t inner = rank - 1;
  std::vector<std::size_t> index(rank, 0);
  for (;;) {
    std::int64_t offset = 0;
    for (std::size_t i = 0; i < inner; ++i) offset += static_cast<std::int64_t>(index[i]) * array.stride(i);
    for (std::size_t i = 0; i < array.shape(inner); ++i)
      f(first[offset + static_cast<std::int64_t>(i) * array.stride(inner)]);
    std::size_t axis = inner;
    while (axis > 0 && ++index[axis - 1] == array.shape(axis - 1)) index[--axis] = 0;
    if (axis == 0) return;
  }
}

float narrowed(double value, const char* name, std::size_t index) {
  const auto narrow = static_cast<float>(value);
  if (std::isinf(narrow) && std::isfinite(value)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{}: element {} is {}, which float32 cannot hold", name, index, value));
  }
  return narrow;
}

// A view of PyTorch's whose memory holds the negated values, which DLPack does not tell.
bool is_negated(nb::handle object) {
  if (PyObject_CheckBuffer(object.ptr()) != 0) return false;  // NumPy's, without looking for more
  return nb::hasattr(object, "is_neg") && object.attr("is_neg")().is(nb::handle(Py_True));
}

// NumPy has bfloat16 from ml_dtypes, and gives such an array to nobody.
bool is_bfloat16(nb::handle object) {
  if (!nb::hasattr(object, "astype") || !nb::hasattr(object, "dtype")) return false;
  const nb::object dtype = object.attr("dtype");
  return std::string_view(nb::str(dtype).c_str()) == "bfloat16";
}

[[noreturn]] void refuse(nb::handle object, const char* name) {
  throw ArgumentTypeError(fmt::format(
      "{} is {}: expected an array of NumPy or of another library that speaks DLPack, in the CPU's memory",
      name, describe(object)));
}

void check_device(const Array& array, const char* name) {
  const int device = array.device_type();
  if (device != nb::device::cpu::value && device != nb::device::cuda_host::value) {
    throw ArgumentTypeError(fmt::format(
        "{} is on {}: expected an array in the CPU's memory; move it there first", name, device_name(array)));
  }
}

}  // namespace

Array import_array(nb::handle object, const char* name) {
  if (is_negated(object)) return import_array(object.attr("resolve_neg")(), name);
  Array array;
  if (!nb::try_cast<Array>(object, array)) {
    if (is_bfloat16(object)) return import_array(object.attr("astype")("float32"), name);
    refuse(object, name);
  }
  check_device(array, name);
  return array;
}

Shape shape_of(const Array& array) { return {array.shape_ptr(), array.shape_ptr() + array.ndim()}; }

std::string to_text(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

std::string dtype_name(const Array& array) {
  const nb::dlpack::dtype dtype = array.dtype();
  const char* kind = "dtype";
  switch (static_cast<dtype_code>(dtype.code)) {
    case dtype_code::Int:
      kind = "int";
      break;
    case dtype_code::UInt:
      kind = "uint";
      break;
    case dtype_code::Float:
      kind = "float";
      break;
    case dtype_code::Bfloat:
      kind = "bfloat";
      break;
    case dtype_code::Complex:
      kind = "complex";
      break;
    case dtype_code::Bool:
      return "bool";
    default:
      break;
  }
  return fmt::format("{}{}", kind, dtype.bits);
}

FloatInput::FloatInput(nb::handle object, const char* name) : array_(import_array(object, name)) {
  if (is(array_.dtype(), dtype_code::Float, 32) && is_c_contiguous(array_)) {
    data_ = static_cast<const float*>(array_.data());
  } else {
    converted_ = read_floats(array_, name);
    data_ = converted_.data();
  }
}

std::vector<float> read_floats(const Array& array, const char* name) {
  std::vector<float> values;
  values.reserve(array.size());
  const nb::dlpack::dtype dtype = array.dtype();
  if (is(dtype, dtype_code::Float, 32)) {
    if (is_c_contiguous(array)) {
      const auto* first = static_cast<const float*>(array.data());
      values.assign(first, first + array.size());
    } else {
      for_each<float>(array, [&](float value) { values.push_back(value); });
    }
  } else if (is(dtype, dtype_code::Float, 64)) {
    for_each<double>(array, [&](double value) { values.push_back(narrowed(value, name, values.size())); });
  } else if (is(dtype, dtype_code::Float, 16)) {
    for_each<std::uint16_t>(array,
                            [&](std::uint16_t bits) { values.push_back(from_bits(DType::fp16, bits)); });
  } else if (is(dtype, dtype_code::Bfloat, 16)) {
    for_each<std::uint16_t>(array,
                            [&](std::uint16_t bits) { values.push_back(from_bits(DType::bf16, bits)); });
  } else {
    throw ArgumentTypeError(
        fmt::format("{} has dtype {}: expected float32, or float64, float16 or bfloat16, which are converted",
                    name, dtype_name(array)));
  }
  return values;
}

std::vector<std::int64_t> read_integers(nb::handle object, const char* name) {
  std::vector<std::int64_t> values;
  if (nb::isinstance<nb::list>(object) || nb::isinstance<nb::tuple>(object)) {
    for (const nb::handle item : nb::borrow<nb::sequence>(object)) {
      std::int64_t value = 0;
      if (!nb::try_cast<std::int64_t>(item, value))
        throw ArgumentTypeError(
            fmt::format("{}[{}] is {}: expected an integer", name, values.size(), describe(item)));
      values.push_back(value);
    }
    return values;
  }
  const Array array = import_array(object, name);
  if (array.ndim() != 1) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} has shape {}: expected one axis", name, to_text(shape_of(array))));
  }
  const auto push = [&](auto value) { values.push_back(static_cast<std::int64_t>(value)); };
  if (is(array.dtype(), dtype_code::Int, 64)) {
    for_each<std::int64_t>(array, push);
  } else if (is(array.dtype(), dtype_code::Int, 32)) {
    for_each<std::int32_t>(array, push);
  } else {
    throw ArgumentTypeError(fmt::format("{} has dtype {}: expected int64 or int32", name, dtype_name(array)));
  }
  return values;
}

float* writable_floats(nb::handle object, const char* name, const Shape& shape) {
  if (is_negated(object)) {
    throw ArgumentTypeError(fmt::format(
        "{} is a view of negated values: expected plain memory, since it is written in place", name));
  }
  Array found;
  if (!nb::try_cast<Array>(object, found)) refuse(object, name);
  check_device(found, name);
  if (!is(found.dtype(), dtype_code::Float, 32)) {
    throw ArgumentTypeError(fmt::format("{} has dtype {}: expected float32, since it is written in place",
                                        name, dtype_name(found)));
  }
  if (shape_of(found) != shape) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} has shape {}: expected {}", name, to_text(shape_of(found)), to_text(shape)));
  }
  nb::ndarray<> array;
  if (!nb::try_cast<nb::ndarray<>>(object, array)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} is read-only: expected an array to write into", name));
  }
  if (!is_c_contiguous(found)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} is not contiguous: expected C order, since it is written in place", name));
  }
  return static_cast<float*>(array.data());
}

NewArray new_array(const Shape& shape) {
  std::size_t size = 1;
  std::vector<std::size_t> extents;
  for (const std::int64_t extent : shape) {
    extents.push_back(static_cast<std::size_t>(extent));
    size *= extents.back();
  }
  auto* data = new float[size];
  const nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<float*>(p); });
  const nb::ndarray<nb::numpy, float> array(data, extents.size(), extents.data(), owner);
  return {nb::cast(array), data};
}

}  // namespace sprnn::python
