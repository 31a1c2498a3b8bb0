#include "plan/gather_balance.hpp"

#include <algorithm>
#include <functional>
#include <numeric>
#include <queue>
#include <utility>

namespace sprnn::gather {

std::vector<std::int32_t> assign_units(std::span<const std::int32_t> row_nonzeros, int gates, int ctas,
                                       int units_a_cta) {
  const std::size_t units = row_nonzeros.size() / static_cast<std::size_t>(gates);
  std::vector<std::int64_t> work(units, 0);
  for (std::size_t row = 0; row < row_nonzeros.size(); ++row) work[row % units] += row_nonzeros[row];
  std::vector<std::int32_t> order(units);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
    return work[static_cast<std::size_t>(a)] > work[static_cast<std::size_t>(b)];
  });

  using Load = std::pair<std::int64_t, int>;  // work, CTA
  std::priority_queue<Load, std::vector<Load>, std::greater<>> lightest;
  for (int cta = 0; cta < ctas; ++cta) lightest.emplace(0, cta);
  std::vector<int> used(static_cast<std::size_t>(ctas), 0);
  std::vector<std::int32_t> map(static_cast<std::size_t>(ctas) * static_cast<std::size_t>(units_a_cta), -1);
  for (const std::int32_t unit : order) {
    const auto [load, cta] = lightest.top();
    lightest.pop();
    int& count = used[static_cast<std::size_t>(cta)];
    map[static_cast<std::size_t>(cta) * static_cast<std::size_t>(units_a_cta) +
        static_cast<std::size_t>(count)] = unit;
    if (++count < units_a_cta) lightest.emplace(load + work[static_cast<std::size_t>(unit)], cta);
  }
  return map;
}

std::vector<std::int32_t> rows_by_length(std::span<const std::int32_t> units,
                                         std::span<const std::int32_t> row_nonzeros, int gates,
                                         std::int64_t total_units) {
  const auto length = [&](std::int32_t local) {
    return row_nonzeros[static_cast<std::size_t>(local % gates * total_units +
                                                 units[static_cast<std::size_t>(local / gates)])];
  };
  std::vector<std::int32_t> rows;
  rows.reserve(units.size() * static_cast<std::size_t>(gates));
  for (std::size_t unit = 0; unit < units.size(); ++unit) {
    if (units[unit] < 0) continue;
    for (int gate = 0; gate < gates; ++gate) rows.push_back(static_cast<std::int32_t>(unit) * gates + gate);
  }
  std::stable_sort(rows.begin(), rows.end(),
                   [&](std::int32_t a, std::int32_t b) { return length(a) > length(b); });
  return rows;
}

std::vector<std::int32_t> assign_rows(std::span<const std::int32_t> units,
                                      std::span<const std::int32_t> row_nonzeros,
                                      const MatrixLayout& layout) {
  const std::size_t all = layout.passes.size() * static_cast<std::size_t>(layout.row_groups());
  std::vector<std::int32_t> rows;
  if (layout.passes.size() > 1) {
    rows = rows_by_length(units, row_nonzeros, layout.gates, layout.units);
  } else {
    for (std::size_t unit = 0; unit < units.size(); ++unit) {
      for (int gate = 0; units[unit] >= 0 && gate < layout.gates; ++gate) {
        const std::int32_t nonzeros =
            row_nonzeros[static_cast<std::size_t>(gate * layout.units + units[unit])];
        const int parts = parts_of(nonzeros, layout.passes.front().slots(), layout.lanes);
        if (parts > layout.parts) return {};
        rows.insert(rows.end(), static_cast<std::size_t>(parts),
                    static_cast<std::int32_t>(unit) * layout.gates + gate);
      }
    }
  }
  if (rows.size() > all) return {};
  rows.resize(all, -1);
  return rows;
}

int parts_of(std::int32_t nonzeros, int slots, int lanes) noexcept {
  return slots == 0 ? 1 : std::max(1, (nonzeros + slots * lanes - 1) / (slots * lanes));
}

int fewest_slots(std::span<const std::int32_t> longest, int row_groups, int lanes) {
  const auto enough = [&](int slots) {
    int groups = 0;
    for (const std::int32_t nonzeros : longest) groups += parts_of(nonzeros, slots, lanes);
    return groups <= row_groups;
  };
  if (longest.empty()) return 0;
  int high = (longest.front() + lanes - 1) / lanes;  // a row group each
  int low = (high + max_parts - 1) / max_parts;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (enough(middle)) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return high;
}

std::vector<std::int32_t> longest_rows(std::span<const std::int32_t> unit_map,
                                       std::span<const std::int32_t> row_nonzeros, int gates,
                                       int units_a_cta) {
  const std::int64_t total = static_cast<std::int64_t>(row_nonzeros.size()) / gates;
  const std::size_t width = static_cast<std::size_t>(units_a_cta);
  std::vector<std::int32_t> longest(width * static_cast<std::size_t>(gates), 0);
  std::vector<std::int32_t> lengths;
  for (std::size_t first = 0; first < unit_map.size(); first += width) {
    lengths.clear();
    for (std::size_t u = first; u < first + width; ++u) {
      for (int gate = 0; unit_map[u] >= 0 && gate < gates; ++gate) {
        lengths.push_back(row_nonzeros[static_cast<std::size_t>(gate * total + unit_map[u])]);
      }
    }
    std::sort(lengths.begin(), lengths.end(), std::greater<>());
    for (std::size_t rank = 0; rank < lengths.size(); ++rank)
      longest[rank] = std::max(longest[rank], lengths[rank]);
  }
  return longest;
}

void share_rows(GatherMatrix& matrix, std::span<const std::int32_t> longest, int threads) {
  const auto row_groups = static_cast<std::size_t>(threads / matrix.lanes);
  matrix.passes.clear();
  matrix.parts = 1;
  if (longest.size() <= row_groups) {
    const int slots = fewest_slots(longest, static_cast<int>(row_groups), matrix.lanes);
    matrix.parts = parts_of(longest.front(), slots, matrix.lanes);
    matrix.passes.push_back({slots, 0, 0});
    return;
  }
  for (std::size_t first = 0; first < longest.size(); first += row_groups)
    matrix.passes.push_back({(longest[first] + matrix.lanes - 1) / matrix.lanes, 0, 0});
}

}  // namespace sprnn::gather
