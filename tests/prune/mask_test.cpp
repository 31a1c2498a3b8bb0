// prune_mask against a slow, literal reading of the patterns' definitions.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "sprnn/error.hpp"
#include "sprnn/prune.hpp"

namespace sprnn {
namespace {

using Tile = std::vector<std::size_t>;  // indices of entries, ascending

// Whole tiles by mean magnitude, ties to the lower first index; every possible count is tried.
std::vector<std::uint8_t> keep_best(const Matrix& matrix, std::vector<Tile> tiles, double wanted_entries) {
  const auto mean = [&](const Tile& tile) {
    double sum = 0.0;
    for (const std::size_t i : tile) sum += std::fabs(double{matrix.values[i]});
    return sum / static_cast<double>(tile.size());
  };
  std::stable_sort(tiles.begin(), tiles.end(),
                   [&](const Tile& a, const Tile& b) { return mean(a) > mean(b); });
  std::size_t best = 0;
  double entries = 0.0, distance = wanted_entries;
  for (std::size_t count = 1; count <= tiles.size(); ++count) {
    entries += static_cast<double>(tiles[count - 1].size());
    if (std::fabs(entries - wanted_entries) <= distance) {
      best = count;
      distance = std::fabs(entries - wanted_entries);
    }
  }
  std::vector<std::uint8_t> mask(matrix.values.size());
  for (std::size_t t = 0; t < best; ++t) {
    for (const std::size_t i : tiles[t]) mask[i] = 1;
  }
  return mask;
}

// Single entries of a stretch [first, first + length): the `count` largest.
void keep_largest(const Matrix& matrix, std::size_t first, std::size_t length, std::size_t count,
                  std::vector<std::uint8_t>& mask) {
  std::vector<std::size_t> order(length);
  std::iota(order.begin(), order.end(), first);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return std::fabs(matrix.values[a]) > std::fabs(matrix.values[b]);
  });
  for (std::size_t i = 0; i < std::min(count, length); ++i) mask[order[i]] = 1;
}

std::vector<std::uint8_t> expected_mask(const Matrix& matrix, int gates, const Pattern& pattern,
                                        double density) {
  const auto rows = static_cast<std::size_t>(matrix.rows), cols = static_cast<std::size_t>(matrix.cols);
  const auto units = rows / static_cast<std::size_t>(gates);
  const auto a = static_cast<std::size_t>(pattern.a), b = static_cast<std::size_t>(pattern.b);
  std::vector<std::uint8_t> mask(rows * cols);
  const auto round = [&](std::size_t entries) {
    return static_cast<std::size_t>(std::llround(density * static_cast<double>(entries)));
  };
  std::vector<Tile> tiles;
  switch (pattern.kind) {
    case Pattern::Kind::unstructured:
    case Pattern::Kind::global:
      keep_largest(matrix, 0, rows * cols, round(rows * cols), mask);
      return mask;
    case Pattern::Kind::row:
      for (std::size_t r = 0; r < rows; ++r) keep_largest(matrix, r * cols, cols, round(cols), mask);
      return mask;
    case Pattern::Kind::n_of_m:
      for (std::size_t r = 0; r < rows; ++r) {
        for (std::size_t c = 0; c < cols; c += b) {
          keep_largest(matrix, r * cols + c, std::min(b, cols - c), a, mask);
        }
      }
      return mask;
    case Pattern::Kind::block:
      for (std::size_t gate = 0; gate < rows; gate += units) {
        for (std::size_t r = gate; r < gate + units; r += a) {
          for (std::size_t c = 0; c < cols; c += b) {
            Tile tile;
            for (std::size_t i = r; i < std::min(r + a, gate + units); ++i) {
              for (std::size_t j = c; j < std::min(c + b, cols); ++j) tile.push_back(i * cols + j);
            }
            tiles.push_back(tile);
          }
        }
      }
      break;
    case Pattern::Kind::unit:
      for (std::size_t u = 0; u < units; u += a) {
        for (std::size_t c = 0; c < cols; c += b) {
          Tile tile;
          for (std::size_t gate = 0; gate < rows; gate += units) {
            for (std::size_t i = u; i < std::min(u + a, units); ++i) {
              for (std::size_t j = c; j < std::min(c + b, cols); ++j) tile.push_back((gate + i) * cols + j);
            }
          }
          tiles.push_back(tile);
        }
      }
      break;
  }
  return keep_best(matrix, tiles, density * static_cast<double>(rows * cols));
}

// Few distinct values, multiples of 1/8: many ties, and sums that are exact in any order.
Matrix random_matrix(std::int64_t rows, std::int64_t cols, std::mt19937_64& random) {
  Matrix matrix{rows, cols, std::vector<float>(static_cast<std::size_t>(rows * cols))};
  std::uniform_int_distribution<int> value(-20, 20);
  for (float& v : matrix.values) v = static_cast<float>(value(random)) / 8.0F;
  return matrix;
}

const char* const all_patterns[] = {"unstructured", "row",       "global",   "block:1x1", "block:16x1",
                                    "block:3x2",    "block:4x8", "unit:1x1", "unit:4x1",  "unit:3x5",
                                    "unit:64x64",   "2:4",       "1:3",      "7:7",       "1:100"};

TEST(PruneMask, equals_the_literal_definition) {
  constexpr std::uint64_t seed = 20180430;
  std::mt19937_64 random(seed);
  const std::int64_t sizes[][2] = {{1, 1}, {1, 7}, {2, 1}, {5, 5}, {13, 11}, {16, 16}, {17, 31}, {24, 64}};
  for (const auto& [units, cols] : sizes) {
    for (const int gates : {1, 3, 4}) {
      const Matrix matrix = random_matrix(gates * units, cols, random);
      for (const char* name : all_patterns) {
        const Pattern pattern = parse_pattern(name);
        for (const double density : {0.0, 0.01, 0.1, 0.3, 0.5, 0.77, 0.99, 1.0}) {
          if (pattern.kind == Pattern::Kind::n_of_m && density != 1.0)
            continue;  // a contradiction, see below
          ASSERT_EQ(prune_mask(matrix, gates, pattern, density),
                    expected_mask(matrix, gates, pattern, density))
              << name << ", density " << density << ", " << gates << " gates of " << units << " x " << cols
              << ", seed " << seed;
        }
      }
    }
  }
}

std::int64_t count(const std::vector<std::uint8_t>& mask) {
  return std::accumulate(mask.begin(), mask.end(), 0);
}

TEST(PruneMask, rounds_counts_half_away_from_zero) {
  const Matrix row{1, 5, {1, 2, 3, 4, 5}};
  EXPECT_EQ(count(prune_mask(row, 1, parse_pattern("unstructured"), 0.5)), 3);
  EXPECT_EQ(count(prune_mask(row, 1, parse_pattern("row"), 0.1)), 1);
  EXPECT_EQ(count(prune_mask(row, 1, parse_pattern("row"), 0.09)), 0);
  EXPECT_EQ(count(prune_mask(row, 1, parse_pattern("block:1x1"), 0.5)), 3);
}

TEST(PruneMask, gives_ties_to_the_lower_index) {
  const Matrix matrix{2, 4, {1, -1, 1, 1, -1, 1, 1, 1}};
  EXPECT_EQ(prune_mask(matrix, 1, parse_pattern("unstructured"), 0.375),
            (std::vector<std::uint8_t>{1, 1, 1, 0, 0, 0, 0, 0}));
  EXPECT_EQ(prune_mask(matrix, 1, parse_pattern("2:4"), 0.5),
            (std::vector<std::uint8_t>{1, 1, 0, 0, 1, 1, 0, 0}));
  EXPECT_EQ(prune_mask(matrix, 1, parse_pattern("block:2x1"), 0.5),
            (std::vector<std::uint8_t>{1, 1, 0, 0, 1, 1, 0, 0}));
}

TEST(PruneMask, ranks_signed_zeros_and_subnormals_by_magnitude) {
  const float tiny = std::numeric_limits<float>::denorm_min();
  const Matrix matrix{1, 6, {0.0F, -0.0F, tiny, -2 * tiny, 0.0F, 3 * tiny}};
  EXPECT_EQ(prune_mask(matrix, 1, parse_pattern("unstructured"), 2.0 / 6),
            (std::vector<std::uint8_t>{0, 0, 0, 1, 0, 1}));
  // All zeros have one magnitude: the lower index wins, whatever its sign.
  EXPECT_EQ(prune_mask(matrix, 1, parse_pattern("unstructured"), 5.0 / 6),
            (std::vector<std::uint8_t>{1, 1, 1, 1, 0, 1}));
  EXPECT_EQ(prune_mask(matrix, 1, parse_pattern("block:1x2"), 4.0 / 6),
            (std::vector<std::uint8_t>{0, 0, 1, 1, 1, 1}));
}

TEST(PruneMask, short_blocks_compete_by_their_mean) {
  // The last column's block of one entry has the largest mean although not the largest sum.
  const Matrix matrix{1, 5, {2, 2, 1, 1, 3}};
  EXPECT_EQ(prune_mask(matrix, 1, parse_pattern("block:1x2"), 0.2),
            (std::vector<std::uint8_t>{0, 0, 0, 0, 1}));
  EXPECT_EQ(prune_mask(matrix, 1, parse_pattern("block:1x2"), 0.6),
            (std::vector<std::uint8_t>{1, 1, 0, 0, 1}));
}

TEST(PruneMask, block_stops_at_a_gate_and_unit_spans_them) {
  // Two gates of three units: blocks of two rows are rows {0,1} {2} {3,4} {5}.
  const Matrix matrix{6, 1, {1, 1, 9, 1, 1, 1}};
  EXPECT_EQ(prune_mask(matrix, 2, parse_pattern("block:2x1"), 1.0 / 6),
            (std::vector<std::uint8_t>{0, 0, 1, 0, 0, 0}));
  EXPECT_EQ(prune_mask(matrix, 2, parse_pattern("unit:2x1"), 2.0 / 6),
            (std::vector<std::uint8_t>{0, 0, 1, 0, 0, 1}));
}

TEST(PruneMask, a_short_last_group_keeps_up_to_n) {
  const Matrix matrix{1, 6, {4, 3, 2, 1, 5, 6}};
  EXPECT_EQ(prune_mask(matrix, 1, parse_pattern("3:4"), 1.0), (std::vector<std::uint8_t>{1, 1, 1, 0, 1, 1}));
  EXPECT_EQ(prune_mask(matrix, 1, parse_pattern("1:4"), 1.0), (std::vector<std::uint8_t>{1, 0, 0, 0, 0, 1}));
}

TEST(PruneMask, orders_even_nans) {
  const float nan = std::numeric_limits<float>::quiet_NaN(),
              infinity = std::numeric_limits<float>::infinity();
  const Matrix matrix{1, 6, {1, nan, 2, infinity, -nan, 3}};
  EXPECT_EQ(prune_mask(matrix, 1, parse_pattern("unstructured"), 0.5),
            (std::vector<std::uint8_t>{0, 1, 0, 1, 1, 0}));
  EXPECT_EQ(count(prune_mask(matrix, 1, parse_pattern("block:1x2"), 0.67)), 4);
}

TEST(PruneMask, takes_an_empty_matrix) {
  EXPECT_TRUE(prune_mask({}, 4, parse_pattern("block:4x4"), 0.5).empty());
}

TEST(PruneMask, refuses_bad_arguments_by_name) {
  const Matrix matrix{3, 2, {1, 2, 3, 4, 5, 6}};
  const auto message = [](auto call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return error.what();
    }
    return "accepted";
  };
  const Pattern unstructured;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const double density : {-0.1, 1.1, nan, std::numeric_limits<double>::infinity()}) {
    EXPECT_NE(message([&] { (void)prune_mask(matrix, 1, unstructured, density); }).find("density"),
              std::string::npos);
  }
  EXPECT_NE(message([&] { (void)prune_mask(matrix, 2, unstructured, 0.5); }).find("2 gates"),
            std::string::npos);
  EXPECT_NE(message([&] { (void)prune_mask(matrix, 0, unstructured, 0.5); }).find("0 gates"),
            std::string::npos);
  EXPECT_NE(message([&] {
              (void)prune_mask({2, 2, {1, 2}}, 1, unstructured, 0.5);
            }).find("2 x 2"),
            std::string::npos);
  EXPECT_NE(message([&] {
              (void)prune_mask(matrix, 1, {Pattern::Kind::block, 0, 1}, 0.5);
            }).find("block:0x1"),
            std::string::npos);
  EXPECT_NE(message([&] { (void)prune_mask(matrix, 1, parse_pattern("2:4"), 0.3); }).find("0.3"),
            std::string::npos);
}

TEST(PruneMask, keeps_the_density_of_a_large_matrix) {
  std::mt19937 random(7);
  Matrix matrix{4 * 1024, 1024, std::vector<float>(std::size_t{4} << 20)};
  for (float& v : matrix.values) v = static_cast<float>(random()) - 2147483648.0F;
  for (const char* name : {"unstructured", "row", "block:16x1", "block:1x1", "unit:4x1"}) {
    EXPECT_NEAR(static_cast<double>(count(prune_mask(matrix, 4, parse_pattern(name), 0.1))) / (4 << 20), 0.1,
                5e-4)
        << name;
  }
  EXPECT_EQ(count(prune_mask(matrix, 4, parse_pattern("2:4"), 1.0)), 2 << 20);
}

}  // namespace
}  // namespace sprnn
