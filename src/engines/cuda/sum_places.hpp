// Where a CTA's row groups leave their sums in shared memory, and where the cell update finds those of a row.
#pragma once

#include <cstdint>
#include <vector>

#include "pack/gather_view.hpp"

namespace sprnn::cuda {

struct SumPlaces {
  std::vector<std::int32_t> of_group;  // [CTA][pass][row group], -1 for none
  std::vector<std::uint32_t> of_row;   // [CTA][row]: the first place << 8 | places
};

// With M::parts places from the first of any row on below MatrixLayout::sum_slots. The sums of a unit take an
// odd number of places, so that threads that update neighbouring units read different banks.
[[nodiscard]] SumPlaces sum_places(const gather::MatrixView& matrix);

}  // namespace sprnn::cuda
