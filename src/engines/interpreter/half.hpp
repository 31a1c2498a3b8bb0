// One lane of the GPU's half2 fused multiply-add.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "sprnn/dtype.hpp"

namespace sprnn::interpreter {

// a * b + c of three halves, rounded once. The product is exact in double; the sum is brought to float by
// rounding to odd, after which rounding to half gives what rounding the sum itself would.
[[nodiscard]] inline float half_fma(float a, float b, float c) noexcept {
  const double sum = static_cast<double>(a) * static_cast<double>(b) + static_cast<double>(c);
  float narrow = static_cast<float>(sum);
  const auto back = static_cast<double>(narrow);
  if (back != sum && std::isfinite(sum)) {
    std::uint32_t bits = std::bit_cast<std::uint32_t>(narrow);
    if (std::abs(back) > std::abs(sum)) --bits;
    narrow = std::bit_cast<float>(bits | 1U);
  }
  return round_to(DType::fp16, narrow);
}

}  // namespace sprnn::interpreter
