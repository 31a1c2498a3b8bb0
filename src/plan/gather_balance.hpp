// Which CTA owns which unit, and in which order a CTA takes its rows: known from the non-zeros a row alone,
// so that the plan reserves exactly what the pack will need.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "plan/gather_layout.hpp"

namespace sprnn::gather {

// The unit at each position [ctas * units_a_cta], -1 for none. Longest processing time first: units from
// the one with the most non-zeros to the one with the fewest, each to the CTA with the least work that has
// room; ties to the lower index. Row g * units + u of `row_nonzeros` belongs to unit u.
[[nodiscard]] std::vector<std::int32_t> assign_units(std::span<const std::int32_t> row_nonzeros, int gates,
                                                     int ctas, int units_a_cta);

// The rows of one CTA (local unit * gates + gate), the longest first, ties to the lower index. `units` is
// the CTA's part of the unit map; `total_units` the number of units of the matrix.
[[nodiscard]] std::vector<std::int32_t> rows_by_length(std::span<const std::int32_t> units,
                                                       std::span<const std::int32_t> row_nonzeros, int gates,
                                                       std::int64_t total_units);

// The row of each row group of a CTA, pass after pass, -1 for none: [passes * row_groups]. In one pass row
// after row, each with its parts; in several the longest rows first. Pack may swap those of a pass. Empty if
// the rows need more than the layout has.
[[nodiscard]] std::vector<std::int32_t> assign_rows(std::span<const std::int32_t> units,
                                                    std::span<const std::int32_t> row_nonzeros,
                                                    const MatrixLayout& layout);

// Non-zeros of the longest row over all CTAs at each rank of rows_by_length, [units_a_cta * gates].
// `unit_map`: the unit at each position.
[[nodiscard]] std::vector<std::int32_t> longest_rows(std::span<const std::int32_t> unit_map,
                                                     std::span<const std::int32_t> row_nonzeros, int gates,
                                                     int units_a_cta);

// A row of more than `slots` * `lanes` non-zeros is summed in parts by several row groups.
[[nodiscard]] int parts_of(std::int32_t nonzeros, int slots, int lanes) noexcept;
inline constexpr int max_parts = 16;

// The fewest slots a lane with which rows of these lengths, as longest_rows gives them, share `row_groups`
// row groups in one pass.
[[nodiscard]] int fewest_slots(std::span<const std::int32_t> longest, int row_groups, int lanes);

// Sets the passes over such rows, all slots in registers, and the parts. `matrix` has its lanes.
void share_rows(GatherMatrix& matrix, std::span<const std::int32_t> longest, int threads);

}  // namespace sprnn::gather
