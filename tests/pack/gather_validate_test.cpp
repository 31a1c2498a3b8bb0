// What validate refuses of rows that are summed in parts.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "pack/gather_view.hpp"
#include "sprnn/error.hpp"
#include "support/random_model.hpp"

namespace sprnn::test {
namespace {

// One CTA's rows in one pass, a long one of several parts among them, and the bytes to tell lies with.
class Parts : public testing::Test {
 protected:
  Parts() {
    const Model model = random_model(
        {.dtype = DType::fp16, .input = 3, .hidden = 100, .density = 0.1, .mask = Mask::one_full_row});
    // In the order of the columns a row's parts are neighbours.
    packed_ =
        pack(model, make_plan(describe(model, 1), find_device("h100"),
                              {{}, GpuWishes{.ctas = 10, .warps = 4, .lanes = 4, .bank_order = false}}));
    validate(packed_);
    const DirectionPlan& plan = packed_.plan.directions[0];
    matrix_ = gather::make_view(packed_.directions[0].sections, std::get<GatherPlan>(plan.choice),
                                packed_.plan.problem, packed_.plan.problem.directions[0])
                  .w_hh;
    row_map_ = const_cast<std::int32_t*>(matrix_.row_map);
    for (int cta = 0; cta < matrix_.layout.ctas; ++cta) {
      for (int group = 1; group < matrix_.layout.row_groups(); ++group) {
        const std::int32_t row = matrix_.local_row(cta, 0, group);
        if (row < 0 || row != matrix_.local_row(cta, 0, group - 1)) continue;
        if (parts_ > 1 && (cta != cta_ || row != row_)) continue;
        if (parts_ == 1) first_ = group - 1;
        cta_ = cta, row_ = row, ++parts_;
      }
    }
  }

  [[nodiscard]] std::int32_t& row_of(int group) {
    return row_map_[matrix_.layout.row_map_index(cta_, 0, group)];
  }
  [[nodiscard]] int idle_group() {
    int group = matrix_.layout.row_groups() - 1;
    EXPECT_EQ(row_of(group), -1) << "the case has no idle row group";
    while (row_of(group - 1) == -1) --group;
    return group;
  }
  void expect_refused(std::string_view reason) const {
    try {
      validate(packed_);
      ADD_FAILURE() << "not refused: " << reason;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::format);
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  }
  Packed packed_;
  gather::MatrixView matrix_;
  std::int32_t* row_map_ = nullptr;
  int cta_ = 0, first_ = 0, parts_ = 1;  // of the row with parts
  std::int32_t row_ = -1;
};

TEST_F(Parts, TheCaseHasThem) {
  EXPECT_GT(parts_, 2);
  EXPECT_EQ(parts_, matrix_.layout.parts);
  EXPECT_EQ(matrix_.layout.passes.size(), 1U);
}

TEST_F(Parts, APartWhereItsPairsAreNot) {
  std::swap(row_of(first_ + parts_ - 1), row_of(idle_group()));
  expect_refused("a non-zero where the CTA has no row");
}

TEST_F(Parts, MoreThanThePlanSays) {
  // All rows behind make room for one more part.
  const int idle = idle_group();
  for (int group = idle; group > first_; --group) row_of(group) = row_of(group - 1);
  expect_refused(fmt::format("in more than {} parts", parts_));
}

TEST_F(Parts, ARowThatAnothersPartsReplace) {
  const int other = first_ > 0 ? first_ - 1 : first_ + parts_;
  const std::int32_t lost = row_of(other);
  ASSERT_GE(lost, 0);
  // One part fewer of the long row keeps the number of its parts within the plan's.
  row_of(first_ > 0 ? first_ + parts_ - 1 : first_) = -1;
  row_of(other) = row_;
  expect_refused("rows, expected");
}

TEST_F(Parts, NonzerosWhereNoRowIs) {
  row_of(first_ + parts_ - 1) = -1;
  expect_refused("a non-zero where the CTA has no row");
}

TEST_F(Parts, AColumnInTwoParts) {
  const gather::MatrixLayout& layout = matrix_.layout;
  const gather::Slot slot = layout.slot(0, 0);
  auto* const block = const_cast<std::uint32_t*>(matrix_.pairs[static_cast<std::size_t>(slot.place)]) +
                      cta_ * layout.block_words(slot.place);
  const gather::Pair pair = layout.load(block, slot, first_ * layout.lanes);
  ASSERT_NE(pair.value, 0U);
  ASSERT_NE(layout.load(block, slot, (first_ + 1) * layout.lanes).value, 0U);
  layout.store(block, slot, (first_ + 1) * layout.lanes, pair);
  expect_refused("the row has this column twice");
}

}  // namespace
}  // namespace sprnn::test
