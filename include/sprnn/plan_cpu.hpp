// The CPU engine's part of a plan: which layout each matrix is stored in.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace sprnn {

// Rows are always handled in groups of 16 consecutive rows of one gate (one AVX-512 vector, two of AVX2).
inline constexpr int cpu_group_rows = 16;
// The columns that one slot of the `tile` layout reaches: two AVX-512 registers hold their part of h.
inline constexpr int cpu_tile_cols = 32;

enum class CpuLayout : std::uint8_t {
  none,     // the matrix is absent
  dense,    // every entry, group by group, column by column
  columns,  // a group keeps the columns that hold any non-zero, 16 values each: blocks, units
  tile,  // a group keeps slots: a window of columns, and in each lane a value of its row: unstructured, small
         // batch
  row,   // compressed rows: unstructured, when a vector runs along the batch or along time
};

[[nodiscard]] std::string_view to_string(CpuLayout layout) noexcept;
// "none", "dense", "columns", "tile", "row"; throws Error(invalid_argument) that lists them.
[[nodiscard]] CpuLayout parse_cpu_layout(std::string_view name);

struct CpuPlan {
  CpuLayout w_ih = CpuLayout::none;
  CpuLayout w_hh = CpuLayout::none;
  CpuLayout w_hr = CpuLayout::none;
  bool operator==(const CpuPlan&) const = default;
};

struct CpuWishes {
  std::optional<CpuLayout> w_ih, w_hh, w_hr;
};

}  // namespace sprnn
