#include "verify/naive.hpp"

#include <gtest/gtest.h>

#include "engines/reference/reference.hpp"
#include "support/random_model.hpp"

namespace sprnn {
namespace {

// The naive loop and the oracle were written apart: in fp32, over a few steps, they agree to rounding.
TEST(Naive, AgreesWithTheReferenceForEveryCell) {
  std::uint64_t seed = 40;
  std::vector<Cell> cells = test::standard_cells();
  for (const Cell& cell : test::variant_cells()) cells.push_back(cell);
  for (const Cell& cell : cells) {
    const bool lstm = cell.kind == CellKind::lstm;
    test::ModelSpec spec{.cell = cell, .input = 5, .hidden = 11, .projection = lstm ? 4 : 0, .layers = 2};
    spec.directions = test::Directions::both;
    spec.peephole = lstm;
    spec.density = 0.6;
    spec.seed = ++seed;
    SCOPED_TRACE(test::to_string(spec));
    const Model model = test::random_model(spec);
    const test::Inputs in = test::random_inputs(model, 7, 3, seed, test::Lengths::mixed);
    const NaiveOutput naive =
        run_naively(model, in.steps, in.batch, in.x.data(), in.lengths.data(), in.h0, in.c0);
    const std::vector<double> x(in.x.begin(), in.x.end());
    const reference::Output ref =
        reference::run(model, in.steps, in.batch, x.data(), in.lengths.data(),
                       {{in.h0.begin(), in.h0.end()}, {in.c0.begin(), in.c0.end()}});
    EXPECT_LT(test::rel_error(naive.y, ref.y), 1e-5);
    EXPECT_LT(test::rel_error(naive.h, ref.final.h), 1e-5);
    EXPECT_LT(test::rel_error(naive.c, ref.final.c), 1e-5);
  }
}

// Rounding h at each step is what the bounds of fp16 and bf16 are made of.
TEST(Naive, RoundsTheStateToTheDtype) {
  for (const DType dtype : {DType::fp16, DType::bf16}) {
    const Model model = test::random_model({.cell = gru_cell(), .dtype = dtype, .seed = 3});
    const test::Inputs in = test::random_inputs(model, 9, 2, 4);
    const NaiveOutput naive = run_naively(model, in.steps, in.batch, in.x.data(), nullptr, in.h0, in.c0);
    for (const float value : naive.y) ASSERT_EQ(round_to(dtype, value), value);
  }
}

}  // namespace
}  // namespace sprnn
