#include "engines/cuda/sum_places.hpp"

namespace sprnn::cuda {

SumPlaces sum_places(const gather::MatrixView& matrix) {
  const gather::MatrixLayout& layout = matrix.layout;
  const auto rows = static_cast<std::size_t>(layout.rows_a_cta());
  const auto gates = static_cast<std::size_t>(layout.gates);
  const int groups = static_cast<int>(layout.passes.size()) * layout.row_groups();
  SumPlaces places;
  for (int cta = 0; cta < layout.ctas; ++cta) {
    std::vector<std::uint32_t> count(rows, 0);
    for (int group = 0; group < groups; ++group) {
      const std::int32_t row = matrix.local_row(cta, 0, group);
      if (row >= 0) ++count[static_cast<std::size_t>(row)];
    }
    std::vector<std::int32_t> next(rows);  // place of the row's next row group
    std::uint32_t place = 0;
    for (std::size_t unit = 0; unit < rows; unit += gates) {
      const std::uint32_t begin = place;
      for (std::size_t row = unit; row < unit + gates; ++row) {
        places.of_row.push_back(place << 8 | count[row]);
        next[row] = static_cast<std::int32_t>(place);
        place += count[row];
      }
      if ((place - begin) % 2 == 0) ++place;
    }
    for (int group = 0; group < groups; ++group) {
      const std::int32_t row = matrix.local_row(cta, 0, group);
      places.of_group.push_back(row < 0 ? -1 : next[static_cast<std::size_t>(row)]++);
    }
  }
  return places;
}

}  // namespace sprnn::cuda
