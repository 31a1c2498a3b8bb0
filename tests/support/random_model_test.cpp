#include "support/random_model.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <set>

#include "sprnn/plan.hpp"

namespace sprnn::test {
namespace {

std::vector<ModelSpec> all_specs() {
  std::vector<ModelSpec> specs;
  std::vector<Cell> cells = standard_cells();
  for (const Cell& cell : variant_cells()) cells.push_back(cell);
  for (const Cell& cell : cells) {
    for (DType dtype : {DType::fp32, DType::fp16, DType::bf16}) {
      ModelSpec spec{.cell = cell, .dtype = dtype, .hidden = 37, .layers = 2, .directions = Directions::both};
      spec.mask = static_cast<Mask>(specs.size() % 7);
      spec.density = 0.3;
      if (cell.kind == CellKind::lstm) {
        spec.projection = 11;
        spec.peephole = true;
      }
      specs.push_back(spec);
    }
  }
  return specs;
}

TEST(RandomModel, IsValidAndDependsOnTheSeedAlone) {
  for (ModelSpec spec : all_specs()) {
    SCOPED_TRACE(to_string(spec));
    const Model model = random_model(spec);
    EXPECT_NO_THROW(validate(model));
    EXPECT_EQ(model, random_model(spec));
    ++spec.seed;
    EXPECT_NE(model, random_model(spec));
  }
}

TEST(RandomModel, IsTheSameOnEveryMachine) {
  EXPECT_EQ(Random(1).bits(), 0x910A2DEC89025CC1U);  // splitmix64's published first value for seed 1
}

TEST(RandomModel, MasksHaveTheDensityAndTheShape) {
  for (Mask mask : {Mask::uniform, Mask::skewed_rows, Mask::empty_rows, Mask::one_full_row, Mask::bands,
                    Mask::blocks, Mask::two_of_four}) {
    const ModelSpec spec{
        .cell = gru_cell(), .input = 90, .hidden = 100, .density = 0.2, .mask = mask, .block_rows = 16};
    SCOPED_TRACE(to_string(spec));
    const Matrix w = random_model(spec).layers[0].directions[0].w_hh;
    std::multiset<std::int64_t> rows;
    for (std::int64_t r = 0; r < w.rows; ++r)
      rows.insert(Matrix{1, w.cols, {w.row(r), w.row(r) + w.cols}}.nonzeros());
    const double density = static_cast<double>(w.nonzeros()) / static_cast<double>(w.rows * w.cols);
    const double expected = mask == Mask::empty_rows ? 0.2 * 2 / 3 : 0.2;
    EXPECT_NEAR(density, expected, 0.04);
    if (mask == Mask::empty_rows) {
      EXPECT_NEAR(static_cast<double>(rows.count(0)), 100.0, 40.0);
    }
    if (mask == Mask::one_full_row) {
      EXPECT_EQ(rows.count(100), 1U);
    }
    if (mask == Mask::bands) {
      EXPECT_EQ(rows.count(20), 300U);
    }
    if (mask == Mask::skewed_rows) {
      EXPECT_GT(*rows.rbegin(), 60);
    }
    if (mask == Mask::two_of_four) {
      EXPECT_EQ(describe(random_model(spec), 1).directions[0].w_hh.most_of_four, 2);
    }
  }
}

TEST(RandomModel, DensityZeroAndOne) {
  for (const double density : {0.0, 1.0}) {
    for (Mask mask : {Mask::uniform, Mask::empty_rows, Mask::bands, Mask::blocks}) {
      if (density == 1.0 && mask == Mask::empty_rows) continue;
      const ModelSpec spec{.cell = lstm_cell(), .hidden = 1, .density = density, .mask = mask};
      SCOPED_TRACE(to_string(spec));
      const Matrix w = random_model(spec).layers[0].directions[0].w_ih;
      EXPECT_EQ(w.nonzeros(), density == 0.0 ? 0 : w.rows * w.cols);
    }
  }
}

TEST(RandomInputs, HaveTheShapesAndTheGrid) {
  const Model model = random_model({.cell = lstm_cell(),
                                    .dtype = DType::bf16,
                                    .projection = 5,
                                    .layers = 3,
                                    .directions = Directions::both});
  const Inputs inputs = random_inputs(model, 7, 20, 1, Lengths::mixed);
  EXPECT_EQ(inputs.x.size(), 7U * 20 * 8);
  EXPECT_EQ(inputs.h0.size(), 6U * 20 * 5);
  EXPECT_EQ(inputs.c0.size(), 6U * 20 * 16);
  for (float x : inputs.x) EXPECT_EQ(x, round_to(DType::bf16, x));
  const std::set<std::int64_t> lengths(inputs.lengths.begin(), inputs.lengths.end());
  EXPECT_GE(*lengths.begin(), 1);
  EXPECT_LE(*lengths.rbegin(), 7);
  EXPECT_GT(lengths.size(), 2U);
  EXPECT_TRUE(random_inputs(model, 7, 20, 1).lengths.empty());
}

TEST(RelError, IsTheNormOfTheDifferenceOverTheNorm) {
  const std::vector<double> ref{3.0, 4.0};
  EXPECT_DOUBLE_EQ(rel_error(std::vector<double>{3.0, 5.0}, ref), 0.2);
  EXPECT_EQ(rel_error(std::vector<float>{0.0F}, std::vector<double>{0.0}), 0.0);
  EXPECT_EQ(rel_error(std::vector<float>{1.0F}, std::vector<double>{0.0}),
            std::numeric_limits<double>::infinity());
  EXPECT_EQ(rel_error(std::vector<float>{3.0F}, ref), std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(rel_error(std::vector<double>{3.0, std::nan("")}, ref)));
}

TEST(GuardedOutput, NamesWhatIsWrong) {
  GuardedOutput output(3);
  EXPECT_EQ(output.problem(), "element 0 of 3 was not written");
  output.values()[0] = std::nanf("");
  output.values()[1] = 0.0F;
  EXPECT_EQ(output.problem(), "element 2 of 3 was not written");
  output.values()[2] = 1.0F;
  EXPECT_EQ(output.problem(), "");
  output.data()[3] = 1.0F;
  EXPECT_EQ(output.problem(), "element 3, outside of the 3, was written: 1");
  output.data()[-1] = 0.0F;
  EXPECT_EQ(output.problem(), "element -1, outside of the 3, was written: 0");
}

}  // namespace
}  // namespace sprnn::test
