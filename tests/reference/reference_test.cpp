// What the goldens do not show: non-finite values, lengths against single sequences, threads.
#include "engines/reference/reference.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "support/random_model.hpp"

namespace sprnn::test {
namespace {

constexpr double inf = std::numeric_limits<double>::infinity();
const double nan = std::nan("");

// One layer, no biases, hidden size 2 and input size 2.
Model small_model(const Cell& cell, std::vector<float> w_ih, std::vector<float> w_hh) {
  Direction direction;
  direction.cell = cell;
  direction.w_ih = {2 * cell.gates(), 2, std::move(w_ih)};
  direction.w_hh = {2 * cell.gates(), 2, std::move(w_hh)};
  Model model;
  model.input_size = 2;
  model.hidden_size = 2;
  model.layers = {{{direction}}};
  return model;
}

TEST(ReferenceNonFinite, StaysAwayFromPrunedWeights) {
  const Model model = small_model(relu_cell(), {1, 0, 0, 1}, {0, 0.5F, 0, 0});
  const std::vector<double> x{nan, 1, 1, 2};
  const reference::Output out = reference::run(model, 2, 1, x.data(), nullptr, {});
  EXPECT_TRUE(std::isnan(out.y[0]));
  EXPECT_EQ(out.y[1], 1.0);
  EXPECT_EQ(out.y[2], 1.5);  // 1 + 0.5 * 1: no weight reads the NaN of unit 0
  EXPECT_EQ(out.y[3], 2.0);
}

TEST(ReferenceNonFinite, TravelsAlongStoredWeights) {
  const Model model = small_model(relu_cell(), {1, 0, 0, 1}, {0, 0.5F, 0, 0});
  const std::vector<double> x{1, inf, 1, 2};
  const reference::Output out = reference::run(model, 2, 1, x.data(), nullptr, {});
  EXPECT_EQ(out.y, (std::vector<double>{1, inf, inf, 2}));
}

TEST(ReferenceNonFinite, NegativeZeroIsAStoredWeight) {
  const Model model = small_model(tanh_cell(), {-0.0F, 1, 0.0F, 1}, {0, 0, 0, 0});
  const std::vector<double> x{inf, 0.5};
  const reference::Output out = reference::run(model, 1, 1, x.data(), nullptr, {});
  EXPECT_TRUE(std::isnan(out.y[0]));  // -0 * inf
  EXPECT_EQ(out.y[1], std::tanh(0.5));
}

TEST(ReferenceNonFinite, InfiniteCellStateSaturatesH) {
  // i = f = o = 1/2 and g = 0: c' = c / 2, h' = tanh(c') / 2.
  const Model model = small_model(lstm_cell(), std::vector<float>(16), std::vector<float>(16));
  const std::vector<double> x{nan, nan};
  const reference::Output out = reference::run(model, 1, 1, x.data(), nullptr, {{0, 0}, {inf, -1}});
  EXPECT_EQ(out.final.c, (std::vector<double>{inf, -0.5}));
  EXPECT_EQ(out.y, (std::vector<double>{0.5, 0.5 * std::tanh(-0.5)}));
}

TEST(ReferenceNonFinite, EveryActivationKeepsNan) {
  using enum ActivationKind;
  for (const ActivationKind kind : {sigmoid, tanh, relu, affine, leaky_relu, thresholded_relu, scaled_tanh,
                                    hard_sigmoid, elu, softsign, softplus}) {
    SCOPED_TRACE(to_string(kind));
    for (const bool clipped : {false, true}) {
      Cell cell = tanh_cell();
      cell.activations[0] = {kind, 0.5F, 0.5F};
      if (clipped) cell.clip = 1.0F;
      const Model model = small_model(cell, {1, 0, 0, 1}, {0, 0, 0, 0});
      const std::vector<double> x{nan, 0.75};
      const reference::Output out = reference::run(model, 1, 1, x.data(), nullptr, {});
      EXPECT_TRUE(std::isnan(out.y[0]));
      EXPECT_TRUE(std::isfinite(out.y[1]));
    }
  }
}

std::vector<ModelSpec> many_specs() {
  std::vector<ModelSpec> specs;
  std::vector<Cell> cells = standard_cells();
  for (const Cell& cell : variant_cells()) cells.push_back(cell);
  for (const Cell& cell : cells) {
    for (const Directions directions : {Directions::forward, Directions::reverse, Directions::both}) {
      ModelSpec spec{.cell = cell, .input = 5, .hidden = 7, .layers = 2, .directions = directions};
      spec.density = 0.6;
      spec.seed = specs.size();
      if (cell.kind == CellKind::lstm) {
        spec.projection = 3;
        spec.peephole = true;
      }
      specs.push_back(spec);
    }
  }
  return specs;
}

// Entry b of an array [n, B, width] as [n, 1, width].
std::vector<double> entry(const std::vector<double>& array, std::int64_t n, std::int64_t batch,
                          std::int64_t b) {
  const std::int64_t width = static_cast<std::int64_t>(array.size()) / (n * batch);
  std::vector<double> out;
  for (std::int64_t i = 0; i < n; ++i) {
    const auto from = array.begin() + (i * batch + b) * width;
    out.insert(out.end(), from, from + width);
  }
  return out;
}

TEST(ReferenceLengths, GiveWhatEachSequenceGivesAlone) {
  constexpr std::int64_t steps = 6, batch = 5;
  for (const ModelSpec& spec : many_specs()) {
    SCOPED_TRACE(to_string(spec));
    const Model model = random_model(spec);
    const Inputs inputs = random_inputs(model, steps, batch, spec.seed, Lengths::mixed);
    const std::int64_t states = model.num_layers() * model.num_directions();
    std::vector<double> x = to_double(inputs.x);
    for (std::int64_t b = 0; b < batch; ++b) {  // what lies after the end of a sequence must not matter
      for (std::int64_t t = inputs.lengths[b]; t < steps; ++t) {
        std::fill_n(x.begin() + (t * batch + b) * model.input_size, model.input_size, nan);
      }
    }
    const reference::State initial{to_double(inputs.h0), to_double(inputs.c0)};
    const reference::Output all =
        reference::run(model, steps, batch, x.data(), inputs.lengths.data(), initial);
    for (std::int64_t b = 0; b < batch; ++b) {
      const std::int64_t length = inputs.lengths[b];
      const std::vector<double> own_x = entry(x, steps, batch, b);
      reference::Output own =
          reference::run(model, length, 1, own_x.data(), nullptr,
                         {entry(initial.h, states, batch, b),
                          initial.c.empty() ? std::vector<double>{} : entry(initial.c, states, batch, b)});
      own.y.resize(static_cast<std::size_t>(steps * model.output_size()), 0.0);
      EXPECT_EQ(entry(all.y, steps, batch, b), own.y) << "entry " << b << " of length " << length;
      EXPECT_EQ(entry(all.final.h, states, batch, b), own.final.h);
      if (!own.final.c.empty()) {
        EXPECT_EQ(entry(all.final.c, states, batch, b), own.final.c);
      }
    }
  }
}

TEST(ReferenceState, EmptyMeansZeros) {
  const Model model = random_model({.cell = lstm_cell(), .projection = 3, .layers = 2});
  const Inputs inputs = random_inputs(model, 3, 2, 1);
  const std::vector<double> x = to_double(inputs.x);
  const reference::State zeros{std::vector<double>(2 * 2 * 3), std::vector<double>(2 * 2 * 16)};
  const reference::Output a = reference::run(model, 3, 2, x.data(), nullptr, {});
  const reference::Output b = reference::run(model, 3, 2, x.data(), nullptr, zeros);
  EXPECT_EQ(a.y, b.y);
  EXPECT_EQ(a.final.h, b.final.h);
  EXPECT_EQ(a.final.c, b.final.c);
}

TEST(ReferenceThreads, AnyNumberGivesTheSameBits) {
  Cell reset_gru = gru_cell();
  reset_gru.reset_before_product = true;
  for (const Cell& cell : {lstm_cell(), reset_gru}) {
    ModelSpec spec{.cell = cell, .input = 700, .hidden = 701};  // large enough to be split
    if (cell.kind == CellKind::lstm) spec.projection = 503;
    SCOPED_TRACE(to_string(spec));
    const Model model = random_model(spec);
    const Inputs inputs = random_inputs(model, 2, 3, 1);
    const std::vector<double> x = to_double(inputs.x);
    const reference::Output one = reference::run(model, 2, 3, x.data(), nullptr, {}, 1);
    for (const int threads : {2, 3, 7}) {
      const reference::Output many = reference::run(model, 2, 3, x.data(), nullptr, {}, threads);
      EXPECT_EQ(one.y, many.y) << threads << " threads";
      EXPECT_EQ(one.final.c, many.final.c) << threads << " threads";
    }
  }
}

}  // namespace
}  // namespace sprnn::test
