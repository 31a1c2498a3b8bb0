// The engine against the float64 reference, and against itself: every cell, layout and instruction set,
// batch sizes round the widths of the kernels, odd shapes. Same bits from any number of threads, chunking
// and instruction set.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <ostream>

#include "cpu/support.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

// The tests' names, in place of a cell's bytes.
void PrintTo(const Cell& cell, std::ostream* out) { *out << to_string(cell); }

namespace test {
namespace {

double bound(DType dtype) { return dtype == DType::fp32 ? 1e-5 : dtype == DType::fp16 ? 2e-3 : 1.5e-2; }

// Runs the spec in every layout, instruction set and with 1 and 3 threads.
void check(const ModelSpec& spec, std::int64_t steps, int batch, Lengths lengths = Lengths::all_steps) {
  SCOPED_TRACE(fmt::format("{}, {} steps, batch {}", to_string(spec), steps, batch));
  const Model model = random_model(spec);
  const Inputs in = random_inputs(model, steps, batch, spec.seed + 1, lengths);
  const reference::Output expected = run_reference(model, in);
  for (const CpuLayout layout : all_layouts) {
    SCOPED_TRACE(fmt::format("layout {}", to_string(layout)));
    const auto packed = pack_as(model, batch, layout);
    ASSERT_NO_THROW(validate(*packed));
    const EngineOutput first = run_engine(packed, model, in, "scalar", 1);
    EXPECT_LE(rel_error(first.y, expected.y), bound(spec.dtype));
    EXPECT_LE(rel_error(first.h, expected.final.h), bound(spec.dtype));
    EXPECT_LE(rel_error(first.c, expected.final.c), bound(spec.dtype));
    for (const std::string& isa : cpu_isas()) {
      for (const int threads : {1, 3}) {
        EXPECT_TRUE(run_engine(packed, model, in, isa, threads) == first)
            << isa << " with " << threads << " threads gives other bits than scalar with one";
      }
    }
    if (spec.directions != Directions::forward || lengths != Lengths::all_steps) continue;
    for (const std::int64_t chunk : {std::int64_t{1}, std::int64_t{5}}) {
      EXPECT_TRUE(run_engine(packed, model, in, "", 2, chunk) == first) << "chunks of " << chunk;
    }
  }
}

std::vector<Cell> all_cells() {
  std::vector<Cell> cells = standard_cells();
  for (const Cell& cell : variant_cells()) cells.push_back(cell);
  return cells;
}

class Cells : public testing::TestWithParam<Cell> {};

TEST_P(Cells, AgreeWithTheReference) {
  ModelSpec spec;
  spec.cell = GetParam();
  spec.seed = 11;
  for (const std::int64_t hidden : {1, 3, 17, 50}) {
    for (const double density : {0.0, 0.1, 0.6, 1.0}) {
      spec.hidden = hidden;
      spec.input = hidden == 50 ? 33 : hidden + 2;
      spec.density = density;
      ++spec.seed;
      check(spec, 12, static_cast<int>(hidden % 4) + 1);
    }
  }
}

TEST_P(Cells, AgreeWithLengthsDirectionsAndLayers) {
  ModelSpec spec;
  spec.cell = GetParam();
  spec.hidden = 19;
  spec.input = 70;  // wider than the second layer's: what is left of it must not be read
  spec.layers = 2;
  spec.directions = Directions::both;
  spec.density = 0.4;
  spec.seed = 23;
  check(spec, 9, 5, Lengths::mixed);
  spec.layers = 1;
  spec.directions = Directions::reverse;
  check(spec, 40, 2, Lengths::mixed);
}

TEST_P(Cells, AgreeWithProjectionAndPeephole) {
  if (GetParam().kind != CellKind::lstm) return;  // only an lstm has them
  ModelSpec spec;
  spec.cell = GetParam();
  spec.hidden = 40;
  spec.input = 12;
  spec.density = 0.3;
  spec.seed = 31;
  spec.peephole = true;
  check(spec, 10, 3);
  spec.projection = 7;  // fewer groups than workers
  check(spec, 10, 2, Lengths::mixed);
  spec.peephole = false;
  spec.projection = 37;
  check(spec, 10, 17);
}

INSTANTIATE_TEST_SUITE_P(Cpu, Cells, testing::ValuesIn(all_cells()));

// A stream, a timestep a call: many calls more than the input projection's tiles and the parts of a layer
// have steps.
TEST(Oracle, AThousandCallsGiveTheBitsOfOne) {
  for (const ModelSpec& spec :
       {ModelSpec{.cell = lstm_cell(), .input = 9, .hidden = 20, .layers = 2, .density = 0.4, .seed = 41},
        ModelSpec{.cell = gru_cell(), .input = 33, .hidden = 21, .density = 0.2, .seed = 42}}) {
    SCOPED_TRACE(to_string(spec));
    const Model model = random_model(spec);
    const Inputs in = random_inputs(model, 1000, 2, spec.seed + 1);
    const auto packed = pack_as(model, 2, CpuLayout::tile);
    const EngineOutput whole = run_engine(packed, model, in, "", 2);
    EXPECT_LE(rel_error(whole.y, run_reference(model, in).y), bound(spec.dtype));
    EXPECT_TRUE(run_engine(packed, model, in, "", 2, 1) == whole);
  }
}

TEST(Oracle, BatchesRoundTheKernelsWidths) {
  ModelSpec spec;
  spec.cell = lstm_cell();
  spec.hidden = 37;
  spec.input = 21;
  spec.density = 0.2;
  for (const int batch : {2, 4, 7, 8, 9, 15, 16, 18, 31, 33, 64, 100}) {
    spec.seed = static_cast<std::uint64_t>(batch);
    check(spec, 3, batch);
  }
}

TEST(Oracle, RoundsToTheDType) {
  for (const DType dtype : {DType::fp16, DType::bf16}) {
    for (const Cell& cell : standard_cells()) {
      ModelSpec spec;
      spec.cell = cell;
      spec.dtype = dtype;
      spec.hidden = 45;
      spec.input = 30;
      spec.density = 0.5;
      spec.seed = 3;
      check(spec, 20, 3);
    }
  }
}

TEST(Oracle, EveryMask) {
  for (const Mask mask :
       {Mask::skewed_rows, Mask::empty_rows, Mask::one_full_row, Mask::bands, Mask::blocks}) {
    ModelSpec spec;
    spec.cell = gru_cell();
    spec.hidden = 97;
    spec.input = 101;
    spec.density = 0.1;
    spec.mask = mask;
    spec.block_rows = 8;
    spec.block_cols = 4;
    spec.seed = 5;
    check(spec, 35, 1);
    check(spec, 5, 6);
  }
}

TEST(Oracle, LongAndLarge) {
  ModelSpec spec;
  spec.cell = lstm_cell();
  spec.hidden = 1024;
  spec.input = 64;
  spec.density = 0.05;
  const Model model = random_model(spec);
  const Inputs in = random_inputs(model, 6, 1, 9);
  const reference::Output expected = run_reference(model, in);
  for (const CpuLayout layout : all_layouts) {
    EXPECT_LE(rel_error(run_engine(pack_as(model, 1, layout), model, in, "", 0).y, expected.y), 1e-5);
  }
}

// Infinities and NaNs go along stored non-zeros only, and no further than the reference says.
TEST(Oracle, NonFiniteInputPropagatesAlongNonzeros) {
  for (const Cell& cell : standard_cells()) {
    ModelSpec spec;
    spec.cell = cell;
    spec.hidden = 40;
    spec.input = 40;
    spec.density = 0.04;
    spec.seed = 8;
    const Model model = random_model(spec);
    for (const float value :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      for (const bool in_state : {false, true}) {
        Inputs in = random_inputs(model, 7, 3, 2);
        (in_state ? in.h0[45] : in.x[3 * 40 + 17]) = value;
        const reference::Output expected = run_reference(model, in);
        for (const CpuLayout layout : all_layouts) {
          const auto packed = pack_as(model, 3, layout);
          for (const int threads : {1, 2}) {
            const EngineOutput out = run_engine(packed, model, in, "", threads);
            std::size_t wrong = 0, nans = 0;
            for (std::size_t i = 0; i < out.y.size(); ++i) {
              const bool nan = std::isnan(expected.y[i]);
              nans += nan ? 1 : 0;
              const bool close = std::isinf(expected.y[i]) ? out.y[i] == expected.y[i]
                                                           : std::abs(out.y[i] - expected.y[i]) <=
                                                                 1e-5 * (1 + std::abs(expected.y[i]));
              wrong += nan != std::isnan(out.y[i]) || (!nan && !close) ? 1 : 0;
            }
            EXPECT_EQ(wrong, 0U) << to_string(spec) << ", " << value << (in_state ? " in h0" : " in x")
                                 << ", " << to_string(layout) << ", " << threads << " threads";
            EXPECT_LT(nans, out.y.size());
          }
        }
      }
    }
  }
}

// r is 0 exactly where its argument is -inf, and 0 x inf is NaN.
TEST(Oracle, ShutGatesDoNotLetInfinitiesThrough) {
  ModelSpec spec;
  spec.cell = gru_cell();
  spec.hidden = 1;
  Model model = random_model(spec);
  model.layers[0].directions[0].w_hh.values = {-1.0F, 1.0F, 1.0F};
  Inputs in = random_inputs(model, 1, 1, 5);
  in.h0[0] = std::numeric_limits<float>::infinity();
  ASSERT_TRUE(std::isnan(run_reference(model, in).y[0]));
  for (const std::string& isa : cpu_isas()) {
    const auto packed = pack_as(model, 1, CpuLayout::row);
    const auto session = cpu_engine().session(packed, {1, 1, isa});
    session->set_state(in.h0, in.c0);
    float y = 0.0F;
    session->run({1, in.x.data(), &y});
    EXPECT_TRUE(std::isnan(y)) << isa << ": " << y;
  }
}

// A NaN anywhere in the batch sends everything through the strict path: the other entries keep their bits.
TEST(Oracle, StrictPathGivesTheSameBits) {
  ModelSpec spec;
  spec.cell = gru_cell();
  spec.hidden = 50;
  spec.input = 31;
  spec.density = 0.3;
  const Model model = random_model(spec);
  const Inputs clean = random_inputs(model, 20, 4, 6);
  Inputs dirty = clean;
  for (std::int64_t t = 0; t < clean.steps; ++t) {
    dirty.x[static_cast<std::size_t>((t * 4 + 3) * 31)] = std::numeric_limits<float>::quiet_NaN();
  }
  for (const CpuLayout layout : all_layouts) {
    const auto packed = pack_as(model, 4, layout);
    const EngineOutput a = run_engine(packed, model, clean, "", 2);
    const EngineOutput b = run_engine(packed, model, dirty, "", 2);
    for (std::size_t i = 0; i < a.y.size(); ++i) {
      if (i / 50 % 4 == 3) continue;
      ASSERT_EQ(to_bits(DType::fp32, a.y[i]), to_bits(DType::fp32, b.y[i]))
          << to_string(layout) << ", y[" << i << "]";
    }
  }
}

TEST(Engine, TheForcedInstructionSetRuns) {
  const Model model = random_model({});
  const auto packed = pack_as(model, 1, CpuLayout::dense);
  EXPECT_EQ(cpu_isas().back(), "scalar");
  for (const std::string& isa : cpu_isas()) {
    SessionOptions options;
    options.isa = isa;
    EXPECT_EQ(cpu_engine().session(packed, options)->isa(), isa);
  }
  EXPECT_EQ(cpu_engine().session(packed, {})->isa(), cpu_isas().front());
  SessionOptions options;
  options.isa = "mmx";
  EXPECT_THROW((void)cpu_engine().session(packed, options), Error);
}

TEST(Engine, WeightsAreReplacedUnderTheSamePlan) {
  ModelSpec spec;
  spec.cell = lstm_cell();
  spec.density = 0.5;
  const Model one = random_model(spec);
  spec.seed = 77;
  const Model two = random_model(spec);
  const Inputs in = random_inputs(one, 5, 1, 1);
  const auto session = cpu_engine().session(pack_as(one, 1, CpuLayout::tile), {});
  (void)run_engine(*session, one, in);
  session->set_weights(pack_as(two, 1, CpuLayout::tile));
  EXPECT_LE(rel_error(run_engine(*session, two, in).y, run_reference(two, in).y), 1e-5);
  EXPECT_THROW(session->set_weights(pack_as(two, 1, CpuLayout::row)), Error);
}

}  // namespace
}  // namespace test
}  // namespace sprnn
