#include "model/tensor_values.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <utility>

#include "base/quote.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

std::uint64_t read_little_endian(const std::byte* bytes, std::size_t size) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < size; ++i) value |= std::to_integer<std::uint64_t>(bytes[i]) << (8 * i);
  return value;
}

// "weight_hh_l0[12, 3]" for the flat index of an entry.
std::string entry_name(const StoredTensor& tensor, std::size_t index) {
  std::string indices;
  for (std::size_t d = tensor.shape.size(); d-- > 0;) {
    const auto dimension = static_cast<std::size_t>(tensor.shape[d]);
    indices = fmt::format("{}{}{}", index % dimension, indices.empty() ? "" : ", ", indices);
    index /= dimension;
  }
  return fmt::format("{}[{}]", quote(tensor.name), indices);
}

struct One {
  std::string_view dtype;
  std::size_t size;
  std::uint64_t bits;
};

constexpr std::array<One, 10> ones{{{"BOOL", 1, 1},
                                    {"U8", 1, 1},
                                    {"I8", 1, 1},
                                    {"I16", 2, 1},
                                    {"I32", 4, 1},
                                    {"I64", 8, 1},
                                    {"F16", 2, 0x3C00},
                                    {"BF16", 2, 0x3F80},
                                    {"F32", 4, 0x3F800000},
                                    {"F64", 8, 0x3FF0000000000000}}};

const One* find_one(std::string_view dtype) {
  for (const One& one : ones) {
    if (one.dtype == dtype) return &one;
  }
  return nullptr;
}

}  // namespace

std::optional<DType> weight_dtype(std::string_view stored) noexcept {
  if (stored == "F32") return DType::fp32;
  if (stored == "F16") return DType::fp16;
  if (stored == "BF16") return DType::bf16;
  return std::nullopt;
}

std::vector<float> decode(const StoredTensor& tensor, const std::vector<bool>* kept) {
  const DType dtype = weight_dtype(tensor.dtype).value();
  const std::size_t size = size_of(dtype);
  std::vector<float> values(tensor.data.size() / size);
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (kept != nullptr && !(*kept)[i]) continue;
    const auto bits = static_cast<std::uint32_t>(read_little_endian(tensor.data.data() + i * size, size));
    values[i] = from_bits(dtype, bits);
    if (!std::isfinite(values[i])) {
      throw Error(ErrorCode::format,
                  fmt::format("{} is {}: weights must be finite", entry_name(tensor, i), values[i]));
    }
  }
  return values;
}

void encode(std::span<const float> values, StoredTensor& tensor) {
  const DType dtype = weight_dtype(tensor.dtype).value();
  const std::size_t size = size_of(dtype);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint32_t bits = to_bits(dtype, values[i]);
    if (to_bits(DType::fp32, from_bits(dtype, bits)) != to_bits(DType::fp32, values[i])) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format(
              "{} is {}, which the file's {} cannot hold; read the model in the file's dtype, or round "
              "it to {} first",
              entry_name(tensor, i), values[i], tensor.dtype, to_string(dtype)));
    }
    for (std::size_t b = 0; b < size; ++b)
      tensor.data[i * size + b] = static_cast<std::byte>(bits >> (8 * b));
  }
}

bool is_mask_dtype(std::string_view stored) noexcept { return find_one(stored) != nullptr; }

std::vector<bool> decode_mask(const StoredTensor& tensor) {
  const One& one = *find_one(tensor.dtype);
  std::vector<bool> kept(tensor.data.size() / one.size);
  for (std::size_t i = 0; i < kept.size(); ++i) {
    const std::uint64_t bits = read_little_endian(tensor.data.data() + i * one.size, one.size);
    if (bits != 0 && bits != one.bits) {
      throw Error(ErrorCode::format,
                  fmt::format("{} (bits 0x{:x} of {}) is neither 0 nor 1, as a mask's entries must "
                              "be; apply the mask with torch.nn.utils.prune.remove and save again",
                              entry_name(tensor, i), bits, tensor.dtype));
    }
    kept[i] = bits != 0;
  }
  return kept;
}

}  // namespace sprnn
