// How the `tile` layout deals the non-zeros of 16 rows into slots. A slot has a window of 32 columns that
// starts at a multiple of 16; each lane takes the next non-zero of its row if the window reaches it. The
// window of a slot starts at the first column still waiting in any lane, so rows that have got ahead wait
// for the others: at 10 % density two slots in three are filled, against one in two when every window must
// be finished before the next one starts. The planner counts these slots, pack fills them.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "sprnn/model.hpp"
#include "sprnn/plan_cpu.hpp"

namespace sprnn::cpu {

inline constexpr int window_step = 16;

struct TileSlot {
  std::int64_t window = 0;                          // first column
  std::array<std::int64_t, cpu_group_rows> column;  // -1: nothing in this lane
};

class TileWalk {
 public:
  // Rows [first, last) of the matrix, at most 16.
  TileWalk(const Matrix& matrix, std::int64_t first, std::int64_t last) : matrix_(matrix), first_(first) {
    next_.fill(matrix.cols);
    for (std::int64_t row = first; row < last; ++row) next_[lane(row)] = find(row, 0);
  }

  // False when all rows are done.
  bool step(TileSlot& slot) {
    const std::int64_t earliest = *std::min_element(next_.begin(), next_.end());
    if (earliest == matrix_.cols) return false;
    slot.window = earliest / window_step * window_step;
    for (std::size_t l = 0; l < next_.size(); ++l) {
      const bool reached = next_[l] < std::min<std::int64_t>(slot.window + cpu_tile_cols, matrix_.cols);
      slot.column[l] = reached ? next_[l] : -1;
      if (reached) next_[l] = find(first_ + static_cast<std::int64_t>(l), next_[l] + 1);
    }
    return true;
  }

 private:
  [[nodiscard]] std::size_t lane(std::int64_t row) const { return static_cast<std::size_t>(row - first_); }
  [[nodiscard]] std::int64_t find(std::int64_t row, std::int64_t column) const {
    while (column < matrix_.cols && !is_nonzero(matrix_.row(row)[column])) ++column;
    return column;
  }

  const Matrix& matrix_;
  std::int64_t first_;
  std::array<std::int64_t, cpu_group_rows> next_{};  // the column that waits in each lane
};

}  // namespace sprnn::cpu
