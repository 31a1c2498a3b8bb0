// Row groups that are swapped between phases: none is lost, and the phases have fewer pairs of one bank
// class.
#include "pack/gather_spread.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace sprnn::gather {
namespace {

constexpr int groups = 48, lanes = 4, slots = 9;

// 8-byte words, so that 16 lanes are a phase and 16 classes there are.
Image image() {
  Image of;
  of.entries = 4;
  of.word_bytes = 8;
  return of;
}

std::vector<RowGroup> random_groups(unsigned seed, int classes) {
  std::mt19937 random(seed);
  std::vector<RowGroup> all(groups);
  for (int g = 0; g < groups; ++g) {
    all[static_cast<std::size_t>(g)].row = g;
    for (int i = 0; i < lanes * slots; ++i) {
      const std::int64_t word = static_cast<std::int64_t>(random() % 100) * image().bank_classes() +
                                static_cast<std::int64_t>(random()) % classes;
      all[static_cast<std::size_t>(g)].pairs.push_back({8 * word, 1 + static_cast<std::uint32_t>(i)});
    }
  }
  return all;
}

// The least that the loads of all warps can take: in each phase the slots, or the pairs of its fullest class.
std::int64_t least_wavefronts(const std::vector<RowGroup>& all) {
  const auto groups_a_phase = static_cast<std::size_t>(image().phase_lanes() / lanes);
  std::int64_t sum = 0;
  for (std::size_t first = 0; first < all.size(); first += groups_a_phase) {
    std::vector<std::int64_t> count(static_cast<std::size_t>(image().bank_classes()));
    for (std::size_t g = first; g < first + groups_a_phase; ++g) {
      for (const Entry& pair : all[g].pairs)
        ++count[static_cast<std::size_t>(image().bank_class(pair.address))];
    }
    sum += std::max<std::int64_t>(slots, *std::max_element(count.begin(), count.end()));
  }
  return sum;
}

TEST(SpreadBanks, TakesWavefrontsAwayAndKeepsEveryRowGroup) {
  for (unsigned seed = 1; seed <= 5; ++seed) {
    SCOPED_TRACE(seed);
    const std::vector<RowGroup> before = random_groups(seed, image().bank_classes());
    std::vector<RowGroup> after = before;
    spread_banks(after, lanes, slots, image());
    EXPECT_LT(least_wavefronts(after), 0.95 * static_cast<double>(least_wavefronts(before)));
    std::sort(after.begin(), after.end(), [](const RowGroup& a, const RowGroup& b) { return a.row < b.row; });
    for (std::size_t g = 0; g < before.size(); ++g) {
      EXPECT_EQ(after[g].row, before[g].row);
      EXPECT_TRUE(std::equal(
          after[g].pairs.begin(), after[g].pairs.end(), before[g].pairs.begin(), before[g].pairs.end(),
          [](const Entry& a, const Entry& b) { return a.address == b.address && a.value == b.value; }));
    }
  }
}

TEST(SpreadBanks, GivesTheSameForTheSameWeights) {
  std::vector<RowGroup> one = random_groups(7, 3), other = one;
  spread_banks(one, lanes, slots, image());
  spread_banks(other, lanes, slots, image());
  for (std::size_t g = 0; g < one.size(); ++g) EXPECT_EQ(one[g].row, other[g].row);
}

TEST(SpreadBanks, LeavesAPhaseOfOneRowGroupAlone) {
  std::vector<RowGroup> all = random_groups(7, 3);
  spread_banks(all, image().phase_lanes(), slots, image());
  for (int g = 0; g < groups; ++g) EXPECT_EQ(all[static_cast<std::size_t>(g)].row, g);
}

}  // namespace
}  // namespace sprnn::gather
