#include "sprnn/dtype.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "sprnn/error.hpp"

namespace sprnn {
namespace {

class SixteenBits : public testing::TestWithParam<DType> {};
INSTANTIATE_TEST_SUITE_P(Types, SixteenBits, testing::Values(DType::fp16, DType::bf16),
                         [](const auto& each) { return std::string(to_string(each.param)); });

TEST_P(SixteenBits, EveryBitPatternSurvivesARoundTrip) {
  for (std::uint32_t bits = 0; bits < 0x10000U; ++bits) {
    ASSERT_EQ(to_bits(GetParam(), from_bits(GetParam(), bits)), bits);
  }
}

TEST_P(SixteenBits, RoundsToNearestTiesToEven) {
  // Between every two neighbours of the positive grid: the midpoint goes to the even one, a hair beside
  // it to the nearer one.
  const DType dtype = GetParam();
  const std::uint32_t infinity = to_bits(dtype, std::numeric_limits<float>::infinity());
  for (std::uint32_t low = 0; low + 1 < infinity; ++low) {
    const float a = from_bits(dtype, low);
    const float b = from_bits(dtype, low + 1);
    const float middle = a + (b - a) / 2;
    const std::uint32_t even = (low & 1U) == 0 ? low : low + 1;
    ASSERT_EQ(to_bits(dtype, middle), even) << middle;
    ASSERT_EQ(to_bits(dtype, std::nextafter(middle, a)), low) << middle;
    ASSERT_EQ(to_bits(dtype, std::nextafter(middle, b)), low + 1) << middle;
  }
}

TEST_P(SixteenBits, NegativesMirrorPositives) {
  for (const float value : {0.0F, 1e-40F, 3e-6F, 0.1F, 1.0F, 70000.0F, 1e30F}) {
    EXPECT_EQ(to_bits(GetParam(), -value), to_bits(GetParam(), value) | 0x8000U);
  }
}

TEST_P(SixteenBits, EveryNanStaysANan) {
  for (const std::uint32_t bits : {0x7F800001U, 0x7FC00000U, 0xFF800001U, 0x7F801000U, 0xFFFFFFFFU}) {
    EXPECT_TRUE(std::isnan(round_to(GetParam(), std::bit_cast<float>(bits)))) << std::hex << bits;
  }
}

TEST(DType, Fp16OverflowsToInfinityAtTheHalfwayPoint) {
  EXPECT_EQ(round_to(DType::fp16, 65519.99F), 65504.0F);
  EXPECT_TRUE(std::isinf(round_to(DType::fp16, 65520.0F)));
}

TEST(DType, Fp32IsLeftAlone) {
  for (const std::uint32_t bits : {0x00000001U, 0x80000000U, 0x7F800001U, 0x3F800001U}) {
    EXPECT_EQ(to_bits(DType::fp32, round_to(DType::fp32, std::bit_cast<float>(bits))), bits);
  }
}

TEST(DType, OnlyPlusZeroIsPruned) {
  EXPECT_FALSE(is_nonzero(0.0F));
  EXPECT_TRUE(is_nonzero(-0.0F));
  EXPECT_TRUE(is_nonzero(std::numeric_limits<float>::denorm_min()));
}

TEST(DType, NamesGoBothWays) {
  for (const DType dtype : {DType::fp32, DType::fp16, DType::bf16})
    EXPECT_EQ(parse_dtype(to_string(dtype)), dtype);
  EXPECT_THROW((void)parse_dtype("float8"), Error);
}

}  // namespace
}  // namespace sprnn
