// Which row groups of a pass share a phase of a warp's loads.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pack/gather_order.hpp"

namespace sprnn::gather {

// A row group of a pass: its row, -1 for none, and its pairs in the order of their columns.
struct RowGroup {
  std::int32_t row = -1;
  std::vector<Entry> pairs;
};

// Swaps row groups between the phases of a pass, so that fewer phases have more pairs of one bank class than
// slots: however they are ordered, each that the fullest class has beyond the slots costs a wavefront. Where
// a row group fills its phases there is nothing to swap.
void spread_banks(std::span<RowGroup> groups, int lanes, int slots, const Image& image);

}  // namespace sprnn::gather
