// One matrix and a pattern -> which entries are kept.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <functional>
#include <span>

#include "sprnn/error.hpp"
#include "sprnn/prune.hpp"

namespace sprnn {

namespace {

// Magnitudes are compared as bit patterns: the same order as of |value|, but total (a NaN is the largest)
// and unaffected by a processor mode that flushes subnormals.
std::uint32_t magnitude(float value) noexcept { return std::bit_cast<std::uint32_t>(value) & 0x7fffffffU; }

std::int64_t rounded_count(double density, std::int64_t entries) {
  return std::llround(density * static_cast<double>(entries));
}

// Sets kept[i] = 1 for the `count` largest magnitudes, ties to the lower index; kept comes in as zeros.
// `scratch` only saves an allocation a row.
void keep_largest(std::span<const float> values, std::int64_t count, std::uint8_t* kept,
                  std::vector<std::uint32_t>& scratch) {
  if (count <= 0) return;
  if (count >= std::ssize(values)) {
    std::fill_n(kept, values.size(), std::uint8_t{1});
    return;
  }
  scratch.resize(values.size());
  std::transform(values.begin(), values.end(), scratch.begin(), magnitude);
  const auto last = scratch.begin() + (count - 1);
  std::nth_element(scratch.begin(), last, scratch.end(), std::greater<>());
  const std::uint32_t cut = *last;
  std::int64_t ties = count - std::count_if(scratch.begin(), last, [cut](auto m) { return m > cut; });
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint32_t m = magnitude(values[i]);
    kept[i] = m > cut || (m == cut && ties-- > 0);
  }
}

// Tiles of a matrix that are kept or pruned as a whole: `row_group[r]` names the group of a row, a tile is
// a group's rows by a run of `run` columns. Tile index = group * runs + number of the run.
struct Tiling {
  std::vector<std::int64_t> row_group;
  std::vector<std::int64_t> group_rows;  // rows of each group
  std::int64_t cols = 0;
  std::int64_t run = 1;

  [[nodiscard]] std::int64_t runs() const noexcept { return (cols + run - 1) / run; }
  [[nodiscard]] std::int64_t count() const noexcept { return std::ssize(group_rows) * runs(); }
  [[nodiscard]] std::int64_t entries(std::int64_t tile) const noexcept {
    const std::int64_t first = tile % runs() * run;
    return group_rows[tile / runs()] * std::min(run, cols - first);
  }
};

Tiling make_tiling(const Matrix& matrix, int gates, const Pattern& pattern) {
  const std::int64_t units = matrix.rows / gates;
  const std::int64_t groups_a_gate = (units + pattern.a - 1) / pattern.a;
  const bool by_gate = pattern.kind == Pattern::Kind::block;  // a unit's tiles run through all gates
  Tiling tiling;
  tiling.cols = matrix.cols;
  tiling.run = pattern.b;
  tiling.group_rows.resize(by_gate ? gates * groups_a_gate : groups_a_gate);
  tiling.row_group.resize(matrix.rows);
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    const std::int64_t gate = r / units, unit = r % units;
    tiling.row_group[r] = (by_gate ? gate * groups_a_gate : 0) + unit / pattern.a;
    ++tiling.group_rows[tiling.row_group[r]];
  }
  return tiling;
}

// Calls f(tile, first, n) for each stretch of a tile within a row, in the matrix's order.
template <class F>
void for_each_run(const Matrix& matrix, const Tiling& tiling, F f) {
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    std::int64_t tile = tiling.row_group[r] * tiling.runs();
    for (std::int64_t c = 0; c < matrix.cols; c += tiling.run, ++tile) {
      f(tile, r * matrix.cols + c, std::min(tiling.run, matrix.cols - c));
    }
  }
}

// The kept tiles: the best ones, as many as bring the kept entries nearest to density * entries; of two
// equally near numbers the larger, as counts are rounded half away from zero.
std::vector<std::uint8_t> choose_tiles(const Tiling& tiling, const std::vector<double>& scores,
                                       double wanted) {
  // A selection by weight: tiles [0, begin) are kept, [end, n) are not, and the halves between are ordered
  // one around the other, so the time is linear although tiles at the edges are smaller.
  std::vector<std::int64_t> order(scores.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = static_cast<std::int64_t>(i);
  const auto better = [&](std::int64_t a, std::int64_t b) {  // by bits, as magnitudes are
    const auto x = std::bit_cast<std::uint64_t>(scores[a]), y = std::bit_cast<std::uint64_t>(scores[b]);
    return x > y || (x == y && a < b);
  };
  std::int64_t begin = 0, end = std::ssize(order), kept_entries = 0;
  while (begin < end) {
    const std::int64_t middle = begin + (end - begin) / 2;
    std::nth_element(order.begin() + begin, order.begin() + middle, order.begin() + end, better);
    std::int64_t before = kept_entries;
    for (std::int64_t i = begin; i < middle; ++i) before += tiling.entries(order[i]);
    // Worth keeping the tile in the middle, and with it all before it?
    const std::int64_t after = before + tiling.entries(order[middle]);
    if (static_cast<double>(after) - wanted <= wanted - static_cast<double>(before)) {
      begin = middle + 1;
      kept_entries = after;
    } else {
      end = middle;
    }
  }
  std::vector<std::uint8_t> kept(scores.size());
  for (std::int64_t i = 0; i < begin; ++i) kept[order[i]] = 1;
  return kept;
}

void keep_tiles(const Matrix& matrix, const Tiling& tiling, double density, std::vector<std::uint8_t>& mask) {
  std::vector<double> scores(tiling.count());
  for_each_run(matrix, tiling, [&](std::int64_t tile, std::int64_t first, std::int64_t n) {
    for (std::int64_t i = first; i < first + n; ++i) scores[tile] += std::abs(double{matrix.values[i]});
  });
  for (std::int64_t tile = 0; tile < tiling.count(); ++tile) {
    scores[tile] /= static_cast<double>(tiling.entries(tile));
  }
  const auto kept = choose_tiles(tiling, scores, density * static_cast<double>(matrix.values.size()));
  for_each_run(matrix, tiling, [&](std::int64_t tile, std::int64_t first, std::int64_t n) {
    std::fill_n(mask.begin() + first, n, kept[tile]);
  });
}

void check(const Matrix& matrix, int gates, const Pattern& pattern, double density) {
  const auto refuse = [](const std::string& message) { throw Error(ErrorCode::invalid_argument, message); };
  if (matrix.rows < 0 || matrix.cols < 0 || matrix.rows * matrix.cols != std::ssize(matrix.values)) {
    refuse(fmt::format("a matrix to be pruned says {} x {} and holds {} values", matrix.rows, matrix.cols,
                       matrix.values.size()));
  }
  if (gates < 1 || matrix.rows % gates != 0) {
    refuse(fmt::format("a matrix of {} rows cannot have {} gates: expected a divisor of the rows",
                       matrix.rows, gates));
  }
  if (!(density >= 0.0 && density <= 1.0)) refuse(fmt::format("density {} is not in [0, 1]", density));
  (void)parse_pattern(to_string(pattern));  // refuses sizes below 1
  if (pattern.kind == Pattern::Kind::n_of_m && density != 1.0 &&
      !(std::abs(density - static_cast<double>(pattern.a) / pattern.b) <= 1e-6)) {
    refuse(fmt::format("density {} contradicts pattern {}, whose density is {}: leave it out", density,
                       to_string(pattern), static_cast<double>(pattern.a) / pattern.b));
  }
}

}  // namespace

std::vector<std::uint8_t> prune_mask(const Matrix& matrix, int gates, const Pattern& pattern,
                                     double density) {
  check(matrix, gates, pattern, density);
  std::vector<std::uint8_t> mask(matrix.values.size());
  if (matrix.empty()) return mask;
  std::vector<std::uint32_t> scratch;
  // Each row on its own, `group` entries at a time, `count` of each.
  const auto keep_of_each = [&](std::int64_t group, std::int64_t count) {
    for (std::int64_t r = 0; r < matrix.rows; ++r) {
      for (std::int64_t c = 0; c < matrix.cols; c += group) {
        const std::span<const float> values(matrix.row(r) + c, std::min(group, matrix.cols - c));
        keep_largest(values, count, mask.data() + r * matrix.cols + c, scratch);
      }
    }
  };
  switch (pattern.kind) {
    case Pattern::Kind::unstructured:
    case Pattern::Kind::global:
      keep_largest(matrix.values, rounded_count(density, std::ssize(matrix.values)), mask.data(), scratch);
      break;
    case Pattern::Kind::row:
      keep_of_each(matrix.cols, rounded_count(density, matrix.cols));
      break;
    case Pattern::Kind::n_of_m:
      keep_of_each(pattern.b, pattern.a);
      break;
    case Pattern::Kind::block:
    case Pattern::Kind::unit:
      keep_tiles(matrix, make_tiling(matrix, gates, pattern), density, mask);
      break;
  }
  return mask;
}

}  // namespace sprnn
