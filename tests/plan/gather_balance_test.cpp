// Rows to row groups: how many slots a lane they need, and who sums what.
#include "plan/gather_balance.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <numeric>

#include "support/random_model.hpp"

namespace sprnn::gather {
namespace {

using test::Random;

TEST(PartsOf, IsWhatTheNonzerosNeed) {
  EXPECT_EQ(parts_of(0, 3, 4), 1) << "an empty row has a sum, too";
  EXPECT_EQ(parts_of(1, 3, 4), 1);
  EXPECT_EQ(parts_of(12, 3, 4), 1);
  EXPECT_EQ(parts_of(13, 3, 4), 2);
  EXPECT_EQ(parts_of(25, 3, 4), 3);
  EXPECT_EQ(parts_of(0, 0, 4), 1) << "no row has a non-zero";
}

int groups_needed(std::span<const std::int32_t> longest, int slots, int lanes) {
  int groups = 0;
  for (const std::int32_t nonzeros : longest) groups += parts_of(nonzeros, slots, lanes);
  return groups;
}

TEST(FewestSlots, NoFewerWouldDo) {
  for (std::uint64_t seed = 1; seed <= 300; ++seed) {
    Random random(seed);
    const int lanes = 1 << random.integer(0, 5);
    std::vector<std::int32_t> longest(static_cast<std::size_t>(random.integer(1, 60)));
    const std::int64_t most = random.chance(0.2) ? 3 : 2000;
    for (std::int32_t& nonzeros : longest) nonzeros = static_cast<std::int32_t>(random.integer(0, most));
    if (random.chance(0.3)) longest.front() = 50000;
    std::sort(longest.begin(), longest.end(), std::greater<>());
    const int row_groups = static_cast<int>(longest.size()) + static_cast<int>(random.integer(0, 200));
    SCOPED_TRACE(
        fmt::format("seed {}: {} rows, {} row groups of {} lanes", seed, longest.size(), row_groups, lanes));
    const int slots = fewest_slots(longest, row_groups, lanes);
    EXPECT_LE(groups_needed(longest, slots, lanes), row_groups);
    EXPECT_LE(parts_of(longest.front(), slots, lanes), max_parts);
    if (slots <= 1) continue;
    EXPECT_TRUE(groups_needed(longest, slots - 1, lanes) > row_groups ||
                parts_of(longest.front(), slots - 1, lanes) >= max_parts)
        << slots << " slots";
  }
}

TEST(FewestSlots, AtTheEnds) {
  EXPECT_EQ(fewest_slots({}, 4, 8), 0);
  const std::vector<std::int32_t> empty(3, 0), rows = {100, 1};
  EXPECT_EQ(fewest_slots(empty, 4, 8), 0);
  EXPECT_EQ(fewest_slots(rows, 2, 8), 13) << "a row group each";
  EXPECT_EQ(fewest_slots(rows, 1000, 1), 7) << "in 16 parts, not in 100";
}

// A CTA of `units` in one pass.
MatrixLayout one_pass(int units, int gates, int row_groups, int slots, int parts) {
  MatrixLayout layout;
  layout.gates = gates;
  layout.units = units;
  layout.units_a_cta = units;
  layout.lanes = 4;
  layout.threads = row_groups * layout.lanes;
  layout.parts = parts;
  layout.passes = {{slots, 0, 0}};
  return layout;
}

TEST(AssignRows, RowAfterRowWithItsParts) {
  // Two gates of units 0 and 1; the third place of the CTA has no unit. 8 non-zeros a row group.
  const MatrixLayout layout = one_pass(3, 2, 8, 2, 3);
  const std::vector<std::int32_t> nonzeros = {/* gate 0 */ 5, 20, 99, /* gate 1 */ 0, 9, 99};
  const std::vector<std::int32_t> units = {1, 0, -1};
  const std::vector<std::int32_t> expected = {0, 0, 0, 1, 1, 2, 3, -1};
  EXPECT_EQ(assign_rows(units, nonzeros, layout), expected);
}

TEST(AssignRows, NoneWhereTheLayoutHasNoRoom) {
  const std::vector<std::int32_t> nonzeros = {20, 8}, units = {0, 1};
  EXPECT_FALSE(assign_rows(units, nonzeros, one_pass(2, 1, 4, 2, 3)).empty());
  EXPECT_TRUE(assign_rows(units, nonzeros, one_pass(2, 1, 4, 2, 2)).empty()) << "a row of 3 parts";
  EXPECT_TRUE(assign_rows(units, nonzeros, one_pass(2, 1, 3, 2, 3)).empty()) << "4 row groups needed";
}

TEST(AssignRows, InSeveralPassesTheLongestFirst) {
  MatrixLayout layout = one_pass(3, 1, 2, 9, 1);
  layout.passes.push_back({2, 0, 0});
  const std::vector<std::int32_t> nonzeros = {3, 30, 7}, units = {0, 1, 2};
  EXPECT_EQ(assign_rows(units, nonzeros, layout), (std::vector<std::int32_t>{1, 2, 0, -1}));
}

// What the plan reserves by ranks over all CTAs is enough for each of them.
TEST(AssignRows, AlwaysFitWhatThePlanReserved) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    Random random(seed);
    const int gates = static_cast<int>(random.integer(1, 4)), ctas = static_cast<int>(random.integer(1, 9));
    const int units = static_cast<int>(random.integer(1, 60));
    const int units_a_cta = (units + ctas - 1) / ctas, rows = units_a_cta * gates;
    std::vector<std::int32_t> nonzeros(static_cast<std::size_t>(units * gates));
    for (std::int32_t& n : nonzeros)
      n = static_cast<std::int32_t>(random.integer(0, random.chance(0.1) ? 900 : 60));
    const int row_groups = rows + static_cast<int>(random.integer(0, 40));
    const std::vector<std::int32_t> map = assign_units(nonzeros, gates, ctas, units_a_cta);
    const std::vector<std::int32_t> longest = longest_rows(map, nonzeros, gates, units_a_cta);
    const int slots = fewest_slots(longest, row_groups, 4);
    MatrixLayout layout =
        one_pass(units_a_cta, gates, row_groups, slots, parts_of(longest.front(), slots, 4));
    layout.units = units;
    for (int cta = 0; cta < ctas; ++cta) {
      const auto own = std::span(map).subspan(static_cast<std::size_t>(cta * units_a_cta),
                                              static_cast<std::size_t>(units_a_cta));
      const std::vector<std::int32_t> assigned = assign_rows(own, nonzeros, layout);
      EXPECT_EQ(assigned.size(), static_cast<std::size_t>(row_groups)) << "seed " << seed << ", CTA " << cta;
      EXPECT_TRUE(std::is_sorted(assigned.begin(), std::find(assigned.begin(), assigned.end(), -1)));
    }
  }
}

}  // namespace
}  // namespace sprnn::gather
