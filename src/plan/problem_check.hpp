// Problems come from models, which are valid, but also from files, which may lie.
#pragma once

#include "sprnn/error.hpp"
#include "sprnn/plan.hpp"

namespace sprnn {

// The largest sizes that sprnn takes: far above any real layer, and small enough that no product of
// them, and of max_batch, overflows 64 bits.
inline constexpr std::int64_t max_size = std::int64_t{1} << 20;     // H, I, P
inline constexpr std::int64_t max_entries = std::int64_t{1} << 32;  // of one matrix
inline constexpr std::size_t max_directions = 2048;

// Throws Error(code) naming the first thing that is out of range or inconsistent: afterwards every shape
// follows from the sizes, and layers and directions are complete and in order.
void check(const Problem& problem, ErrorCode code);
// Of a problem that has been checked and that describe() has made, or so it says: throws Error(format) naming
// the first count of its matrices that the non-zeros of their rows leave no room for.
void check_counts(const Problem& problem);

}  // namespace sprnn
