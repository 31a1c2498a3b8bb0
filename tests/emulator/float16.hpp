// 16-bit floating-point numbers, rounded to nearest, ties to even.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <vector>

namespace sprnn::emulator {

// Of a double, so that a product and a sum of halves are rounded once. A NaN becomes the one that conversions
// make.
inline std::uint16_t to_fp16(double value) {
  if (std::isnan(value)) return 0x7FFF;
  const std::uint32_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(value);
  if (magnitude >= 65520.0) return static_cast<std::uint16_t>(sign | 0x7C00);
  if (magnitude < 0x1p-14)
    return static_cast<std::uint16_t>(sign | static_cast<std::uint32_t>(std::nearbyint(magnitude * 0x1p24)));
  const int exponent = std::ilogb(magnitude);
  const auto mantissa = static_cast<std::uint32_t>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  return static_cast<std::uint16_t>(sign | ((static_cast<std::uint32_t>(exponent + 14) << 10) + mantissa));
}

inline const std::vector<float> fp16_values = [] {
  std::vector<float> all(1 << 16);
  for (std::uint32_t b = 0; b < all.size(); ++b) {
    const std::uint32_t exponent = b >> 10 & 31, mantissa = b & 1023, sign = b >> 15;
    if (exponent == 31) {
      all[b] = std::bit_cast<float>(sign << 31 | 0x7F800000U | mantissa << 13);
    } else {
      const float magnitude =
          exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -24)
                        : std::ldexp(static_cast<float>(mantissa + 1024), static_cast<int>(exponent) - 25);
      all[b] = sign != 0 ? -magnitude : magnitude;
    }
  }
  return all;
}();
inline float from_fp16(std::uint16_t bits) { return fp16_values[bits]; }

inline std::uint16_t to_bf16(float value) {
  if (std::isnan(value)) return 0x7FFF;
  const auto bits = std::bit_cast<std::uint32_t>(value);
  return static_cast<std::uint16_t>((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}
inline float from_bf16(std::uint16_t bits) {
  return std::bit_cast<float>(static_cast<std::uint32_t>(bits) << 16);
}

}  // namespace sprnn::emulator
