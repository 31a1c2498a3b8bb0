// a * b + c, rounded once, without an FMA instruction: so that the scalar code gives the same bits as AVX2
// and AVX-512. (std::fma would do, but calls a library function that is slow where there is no instruction.)
#pragma once

#include <bit>
#include <cstdint>

namespace sprnn::cpu {

inline float exact_fma(float a, float b, float c) noexcept {
  const double product = static_cast<double>(a) * static_cast<double>(b);  // exact: 24 + 24 bits
  const double addend = c;
  const double sum = product + addend;
  // Knuth's TwoSum: sum + error == product + addend, exactly.
  const double part = sum - product;
  const double error = (product - (sum - part)) + (addend - part);
  // Rounding the sum to odd keeps what the second rounding, to float, must know of the error.
  auto bits = std::bit_cast<std::uint64_t>(sum);
  if ((error > 0.0 || error < 0.0) && (bits & 1U) == 0) bits += (error > 0.0) == (sum > 0.0) ? 1U : ~0ULL;
  return static_cast<float>(std::bit_cast<double>(bits));
}

}  // namespace sprnn::cpu
