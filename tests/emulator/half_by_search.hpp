// What the tests hold float16.hpp against: 16-bit floats found by search rather than by arithmetic.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace sprnn::emulator {

// Of a finite one.
inline double half_value(std::uint32_t bits, bool bf16) {
  const int mantissa_bits = bf16 ? 7 : 10, bias = bf16 ? 127 : 15;
  const int exponent = static_cast<int>(bits & 0x7FFF) >> mantissa_bits;
  const int mantissa = static_cast<int>(bits) & ((1 << mantissa_bits) - 1);
  const double whole = exponent == 0 ? mantissa : mantissa + (1 << mantissa_bits);
  return (bits >> 15 != 0 ? -1 : 1) * std::ldexp(whole, std::max(exponent, 1) - bias - mantissa_bits);
}
inline std::uint16_t nearest_half(long double value, bool bf16) {
  if (std::isnan(value)) return 0x7FFF;
  const std::uint32_t infinity = bf16 ? 0x7F80 : 0x7C00;
  std::uint32_t low = 0, high = infinity;  // as if the exponents went on, infinity is the next number
  while (high - low > 1) {
    const std::uint32_t middle = (low + high) / 2;
    (half_value(middle, bf16) <= std::fabs(value) ? low : high) = middle;
  }
  const long double below = std::fabs(value) - static_cast<long double>(half_value(low, bf16)),
                    above = static_cast<long double>(half_value(high, bf16)) - std::fabs(value);
  const bool up = above < below || (above == below && low % 2 == 1);
  return static_cast<std::uint16_t>((up ? high : low) | (std::signbit(value) ? 0x8000 : 0));
}
// The value of an fp16.
inline long double finite_or_not(std::uint32_t bits) {
  if ((bits & 0x7C00) != 0x7C00) return half_value(bits, false);
  const auto infinity = std::numeric_limits<long double>::infinity();
  return (bits & 0x3FF) != 0 ? std::numeric_limits<long double>::quiet_NaN()
         : bits >> 15 != 0   ? -infinity
                             : infinity;
}

}  // namespace sprnn::emulator
