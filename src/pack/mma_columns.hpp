// The order of a tile's columns in vector-mma: it is free, since a row is a sum.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/mma_layout.hpp"

namespace sprnn::mma {

// Puts `columns` (positions, ascending) into `room` places, and positions of zeros into those that are left.
// A phase of ldmatrix reads 8 neighbouring places, each 16 bytes wide, and serves them at once if they differ
// in position % 8: so a place takes a column of its own class, unless a class has more columns than there are
// phases.
[[nodiscard]] std::vector<std::int64_t> arrange_columns(std::span<const std::int64_t> columns,
                                                        std::int64_t room, const MatrixLayout& layout);

// Wavefronts that the phases of such a list take.
[[nodiscard]] std::int64_t wavefronts(std::span<const std::int64_t> columns);

}  // namespace sprnn::mma
