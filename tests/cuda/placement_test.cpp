#include "engines/cuda/placement.hpp"

#include <gtest/gtest.h>

#include <random>

namespace sprnn::cuda {
namespace {

constexpr std::size_t lines = 64;

// What time_lines gives: lines of two sides, 300 cycles near and 490 far, and 50 of noise.
std::vector<std::uint32_t> cycles_for(const std::vector<std::uint8_t>& sides, std::uint32_t near,
                                      std::uint32_t far) {
  std::mt19937 random(7);
  std::vector<std::uint32_t> cycles;
  for (const std::uint8_t side : sides) {
    for (std::size_t line = 0; line < lines; ++line) {
      const bool is_near = (line / 3 % 2 == 1) == (side == 1);
      cycles.push_back((is_near ? near : far) + static_cast<std::uint32_t>(random() % 50));
    }
  }
  return cycles;
}

TEST(L2Sides, ToldApartByTheLinesThatAreNear) {
  const std::vector<std::uint8_t> sides = {0, 1, 1, 0, 1, 0, 0};
  EXPECT_EQ(sides_of(cycles_for(sides, 270, 465), lines), sides);
  // The first SM's side is side 0, whichever it is.
  EXPECT_EQ(sides_of(cycles_for({1, 0}, 270, 465), lines), (std::vector<std::uint8_t>{0, 1}));
}

TEST(L2Sides, NoneWhereLinesAreAllAlike) {
  EXPECT_TRUE(sides_of(cycles_for({0, 0, 0, 0}, 270, 270), lines).empty());
  EXPECT_TRUE(sides_of(cycles_for({0, 1, 0, 1}, 270, 300), lines).empty());
}

TEST(L2Sides, NoneWhereAnSmSeesNoDifference) {
  std::vector<std::uint32_t> cycles = cycles_for({0, 1, 0}, 270, 465);
  for (std::size_t line = 0; line < lines; ++line) cycles[lines + line] = 400;
  EXPECT_TRUE(sides_of(cycles, lines).empty());
}

TEST(Placement, WholeGroupsToSides) {
  const Placement two = place({66, 66}, 2, 64);
  EXPECT_EQ(two.blocks, 132);
  EXPECT_EQ(two.roles, 128);
  EXPECT_EQ(two.near_roles, 64);
  EXPECT_TRUE(two.placed);
  EXPECT_EQ(place({60, 72}, 4, 30).near_roles % 30, 0);
  EXPECT_TRUE(place({66, 66}, 2, 66).placed);
  const Placement one = place({60, 72}, 1, 70);
  EXPECT_TRUE(one.placed);
  EXPECT_EQ(one.near_roles, 0);
}

TEST(Placement, AnywhereWhereGroupsDoNotFit) {
  for (const Placement placement :
       {place({66, 66}, 1, 128), place({66, 66}, 3, 44), place({64, 68}, 2, 66)}) {
    EXPECT_FALSE(placement.placed);
    EXPECT_EQ(placement.blocks, placement.roles);
    EXPECT_EQ(placement.near_roles, placement.roles);
  }
}

TEST(Placement, LeavesHalfOfTheSmsToOthers) {
  EXPECT_EQ(place({66, 66}, 2, 33).blocks, 66);
  EXPECT_EQ(place({66, 66}, 1, 4).blocks, 4);
  EXPECT_EQ(place({132, 0}, 2, 64).blocks, 128);
}

}  // namespace
}  // namespace sprnn::cuda
