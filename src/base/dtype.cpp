#include "sprnn/dtype.hpp"

#include <fmt/format.h>

#include <bit>
#include <string>

#include "sprnn/error.hpp"

namespace sprnn {

namespace {

// IEEE binary32 -> binary16, round to nearest even. NaN keeps the top ten bits of its payload; one whose
// payload would vanish gets the quiet bit, so that a NaN never becomes an infinity.
std::uint32_t half_bits(float value) noexcept {
  const std::uint32_t f = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = (f >> 16) & 0x8000U;
  const std::uint32_t magnitude = f & 0x7FFFFFFFU;
  if (magnitude > 0x7F800000U) {
    const std::uint32_t payload = (magnitude >> 13) & 0x3FFU;
    return sign | 0x7C00U | (payload != 0 ? payload : 0x200U);
  }
  if (magnitude >= 0x477FF000U) return sign | 0x7C00U;  // rounds to 2^16 or more
  if (magnitude < 0x38800000U) {                        // below 2^-14: a subnormal half
    // Adding 0.5 aligns the value's last half-precision bit with the last bit of the float, so the
    // float addition does the rounding (the default rounding mode is nearest even).
    const float aligned = std::bit_cast<float>(magnitude) + 0.5F;
    return sign | (std::bit_cast<std::uint32_t>(aligned) - 0x3F000000U);
  }
  const std::uint32_t odd = (magnitude >> 13) & 1U;
  return sign | ((magnitude - 0x38000000U + 0xFFFU + odd) >> 13);
}

float half_value(std::uint32_t bits) noexcept {
  const std::uint32_t sign = (bits & 0x8000U) << 16;
  const std::uint32_t exponent = (bits >> 10) & 0x1FU;
  const std::uint32_t mantissa = bits & 0x3FFU;
  if (exponent == 0x1FU) return std::bit_cast<float>(sign | 0x7F800000U | (mantissa << 13));
  if (exponent == 0) {
    const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
    return std::bit_cast<float>(sign | std::bit_cast<std::uint32_t>(magnitude));
  }
  return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
}

std::uint32_t brain_bits(float value) noexcept {
  const std::uint32_t f = std::bit_cast<std::uint32_t>(value);
  if ((f & 0x7FFFFFFFU) > 0x7F800000U) {
    const std::uint32_t high = f >> 16;
    return (high & 0x7FU) != 0 ? high : high | 0x40U;
  }
  return (f + 0x7FFFU + ((f >> 16) & 1U)) >> 16;
}

}  // namespace

std::string_view to_string(DType dtype) noexcept {
  switch (dtype) {
    case DType::fp32:
      return "fp32";
    case DType::fp16:
      return "fp16";
    case DType::bf16:
      return "bf16";
  }
  return "?";
}

DType parse_dtype(std::string_view text) {
  for (const DType dtype : {DType::fp32, DType::fp16, DType::bf16}) {
    if (text == to_string(dtype)) return dtype;
  }
  throw Error(ErrorCode::invalid_argument, fmt::format("dtype '{}': expected fp32, fp16 or bf16", text));
}

std::size_t size_of(DType dtype) noexcept { return dtype == DType::fp32 ? 4 : 2; }

std::uint32_t to_bits(DType dtype, float value) noexcept {
  switch (dtype) {
    case DType::fp16:
      return half_bits(value);
    case DType::bf16:
      return brain_bits(value);
    case DType::fp32:
      break;
  }
  return std::bit_cast<std::uint32_t>(value);
}

float from_bits(DType dtype, std::uint32_t bits) noexcept {
  switch (dtype) {
    case DType::fp16:
      return half_value(bits);
    case DType::bf16:
      return std::bit_cast<float>(bits << 16);
    case DType::fp32:
      break;
  }
  return std::bit_cast<float>(bits);
}

float round_to(DType dtype, float value) noexcept {
  return dtype == DType::fp32 ? value : from_bits(dtype, to_bits(dtype, value));
}

void round_to(DType dtype, std::span<float> values) noexcept {
  if (dtype == DType::fp32) return;
  for (float& value : values) value = round_to(dtype, value);
}

bool is_nonzero(float value) noexcept { return std::bit_cast<std::uint32_t>(value) != 0; }

}  // namespace sprnn
