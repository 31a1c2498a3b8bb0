// Which two of four neighbouring columns a row has weights of, in strategy sparse-mma.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

#include "sprnn/model.hpp"

namespace sprnn::mma {

using Pair = std::array<int, 2>;  // ascending, as mma.sp wants them

// `used`: bit i is set where column i has a weight, at most two are. A weight to spare is the last column's
// that has none, so that the same weights always give the same bytes.
[[nodiscard]] constexpr Pair pair_of(unsigned used) noexcept {
  for (int i = 3; std::popcount(used) < 2; --i) used |= 1U << i;
  return {std::countr_zero(used), static_cast<int>(std::bit_width(used)) - 1};
}

// Whether a non-zero of a row follows two others in columns 4 k to 4 k + 3: those two are multiplied by
// tensor cores, this one is of the rest.
[[nodiscard]] inline bool is_rest(const float* row, std::int64_t column) {
  if (!is_nonzero(row[column])) return false;
  return std::count_if(row + column / 4 * 4, row + column, is_nonzero) >= 2;
}

}  // namespace sprnn::mma
