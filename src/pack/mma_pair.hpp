// Which two of four neighbouring columns a row has weights of, in strategy sparse-mma.
#pragma once

#include <array>
#include <bit>

namespace sprnn::mma {

using Pair = std::array<int, 2>;  // ascending, as mma.sp wants them

// `used`: bit i is set where column i has a weight, at most two are. A weight to spare is the last column's
// that has none, so that the same weights always give the same bytes.
[[nodiscard]] constexpr Pair pair_of(unsigned used) noexcept {
  for (int i = 3; std::popcount(used) < 2; --i) used |= 1U << i;
  return {std::countr_zero(used), static_cast<int>(std::bit_width(used)) - 1};
}

}  // namespace sprnn::mma
