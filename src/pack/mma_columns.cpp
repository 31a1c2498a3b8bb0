#include "pack/mma_columns.hpp"

#include <algorithm>
#include <array>

namespace sprnn::mma {

using std::size_t;

std::vector<std::int64_t> arrange_columns(std::span<const std::int64_t> columns, std::int64_t room,
                                          const MatrixLayout& layout) {
  constexpr std::int64_t empty = -1;
  std::vector<std::int64_t> arranged(static_cast<size_t>(room), empty);
  std::array<std::int64_t, column_phases> next{0, 1, 2, 3, 4, 5, 6, 7};  // place of each class
  std::vector<std::int64_t> surplus;
  for (const std::int64_t column : columns) {
    std::int64_t& place = next[static_cast<size_t>(column % column_phases)];
    if (place < room) {
      arranged[static_cast<size_t>(place)] = column;
      place += column_phases;
    } else {
      surplus.push_back(column);
    }
  }
  size_t place = 0;
  for (const std::int64_t column : surplus) {
    while (arranged[place] != empty) ++place;
    arranged[place] = column;
  }
  for (std::int64_t i = 0; i < room; ++i) {
    std::int64_t& column = arranged[static_cast<size_t>(i)];
    if (column == empty) column = layout.zero_position(static_cast<int>(i % operand_columns));
  }
  return arranged;
}

std::int64_t wavefronts(std::span<const std::int64_t> columns) {
  std::int64_t total = 0;
  for (size_t begin = 0; begin < columns.size(); begin += column_phases) {
    std::array<std::vector<std::int64_t>, column_phases> classes;
    for (const std::int64_t column : columns.subspan(begin, column_phases)) {
      std::vector<std::int64_t>& same = classes[static_cast<size_t>(column % column_phases)];
      if (std::find(same.begin(), same.end(), column) == same.end()) same.push_back(column);
    }
    size_t most = 0;
    for (const auto& same : classes) most = std::max(most, same.size());
    total += static_cast<std::int64_t>(most);
  }
  return total;
}

}  // namespace sprnn::mma
