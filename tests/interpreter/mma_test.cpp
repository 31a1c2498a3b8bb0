// Strategies dense-mma, sparse-mma and vector-mma in the interpreter: packed fragments against the float64
// reference.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "engines/reference/reference.hpp"
#include "interpreter/support.hpp"
#include "plan/mma_layout.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"
#include "sprnn/prune.hpp"
#include "support/sanitizers.hpp"

namespace sprnn::test {
namespace {

constexpr GpuStrategy all_mma[] = {GpuStrategy::dense_mma, GpuStrategy::sparse_mma, GpuStrategy::vector_mma};

// A strategy, and whether it gathers non-zeros beyond two of four.
struct Kind {
  GpuStrategy strategy;
  bool rests = false;
  [[nodiscard]] ModelSpec masked(const ModelSpec& spec) const {
    return rests ? spec : masked_for(strategy, spec);
  }
  // Warps may share out rows too.
  [[nodiscard]] bool parts() const { return strategy != GpuStrategy::vector_mma && !rests; }
};
constexpr Kind all_kinds[] = {{GpuStrategy::dense_mma},
                              {GpuStrategy::sparse_mma},
                              {GpuStrategy::vector_mma},
                              {GpuStrategy::sparse_mma, true}};

void expect_close(const Model& model, const Inputs& inputs, const Device& device, const GpuWishes& wishes) {
  const auto packed = pack_for(model, device, static_cast<int>(inputs.batch), wishes);
  SCOPED_TRACE(choice_text(packed->plan.directions[0]));
  const Errors errors = compare(model, inputs, interpret(packed, inputs));
  EXPECT_LE(errors.error, errors.bound);
}

TEST(MmaOracle, EveryCellAndTypeOver256Steps) {
  for (const Cell& cell : standard_cells()) {
    for (const DType dtype : {DType::fp16, DType::bf16}) {
      for (const Kind& kind : all_kinds) {
        const ModelSpec spec =
            kind.masked({.cell = cell, .dtype = dtype, .input = 12, .hidden = 48, .density = 0.3});
        SCOPED_TRACE(to_string(spec));
        const Model model = random_model(spec);
        expect_close(model, random_inputs(model, scaled(256), 3, 7), find_device("h100"),
                     {.strategy = kind.strategy});
      }
    }
  }
}

// What does not fit on a GPU of 4 SMs with little room goes to shared memory and L2, or is refused with the
// reason.
TEST(MmaOracle, RandomShapesMasksAndDevices) {
  int ran = 0, refused = 0;
  for (int seed = 1; seed <= scaled(160); ++seed) {
    Random random(seed);
    GpuProblem drawn = draw_gpu_problem(random, 251);
    if (drawn.spec.dtype == DType::fp32) drawn.spec.dtype = DType::fp16;
    drawn.spec.projection = 0;
    const Kind& kind = all_kinds[seed % 4];
    drawn.spec = kind.masked(drawn.spec);
    SCOPED_TRACE(fmt::format("seed {}: {}, batch {}", seed, to_string(drawn.spec), drawn.batch));
    const Model model = random_model(drawn.spec);
    const double products =
        4.0 * static_cast<double>(drawn.spec.hidden * drawn.spec.hidden * drawn.batch * drawn.spec.layers);
    const std::int64_t steps = std::clamp<std::int64_t>(static_cast<std::int64_t>(1e6 / products), 2, 12);
    const Inputs inputs = random_inputs(model, steps, drawn.batch, seed, drawn.lengths);
    const Device device = drawn.tiny ? tiny_gpu() : find_device("h100");
    try {
      expect_close(model, inputs, device, {.strategy = kind.strategy});
      ++ran;
    } catch (const Error& error) {
      ASSERT_EQ(error.code(), ErrorCode::unsupported) << error.what();
      EXPECT_TRUE(drawn.tiny) << error.what();
      ++refused;
    }
  }
  EXPECT_GT(ran, scaled(110));
  EXPECT_GT(refused, 0) << "no case is too large";
}

TEST(MmaOracle, EveryWishGivesTheSameAnswer) {
  for (const Kind& kind : all_kinds) {
    const Model model = random_model(
        kind.masked({.cell = gru_cell(), .dtype = DType::fp16, .input = 9, .hidden = 90, .density = 0.4}));
    const Inputs inputs = random_inputs(model, 6, 9, 3);
    std::vector<GpuWishes> all;
    for (const int groups : {1, 2, 3, 9}) all.push_back({.groups = groups});
    for (const int ctas : {2, 3, 16}) all.push_back({.ctas = ctas});
    for (const int group_batch : {1, 3, 8}) all.push_back({.group_batch = group_batch});
    if (!kind.rests) all.push_back({.group_batch = 9});
    for (const int warps : {4, 8, 12, 16}) all.push_back({.warps = warps});
    all.push_back({.stamps = false});
    all.push_back({.w_ih = InputStorage::csr});
    if (kind.parts()) {
      for (const int warps : {4, 12}) {
        all.push_back({.warps = warps, .row_parts = 2});
        all.push_back({.groups = 1, .warps = warps, .row_parts = 2, .asks_late = true});
        all.push_back({.groups = 1, .warps = warps, .asks_late = true});
        for (const bool in_cluster : {false, true})
          all.push_back({.group_batch = 3, .warps = warps, .row_parts = warps, .in_cluster = in_cluster});
      }
    }
    for (GpuWishes& wishes : all) {
      wishes.strategy = kind.strategy;
      expect_close(model, inputs, find_device("h100"), wishes);
    }
  }
}

TEST(MmaOracle, UnitPatternsStoreOnlyTheirColumns) {
  const ModelSpec spec{.cell = lstm_cell(), .dtype = DType::fp16, .input = 5, .hidden = 512};
  Model model = random_model(spec);
  prune(model, {.pattern = parse_pattern("unit:4x1"), .density = 0.1});
  const auto dense = pack_for(model, find_device("h100"), 4, {.strategy = GpuStrategy::dense_mma});
  const auto shared = pack_for(model, find_device("h100"), 4, {.strategy = GpuStrategy::vector_mma});
  EXPECT_LT(shared->bytes() * 3, dense->bytes()) << choice_text(shared->plan.directions[0]);
  expect_close(model, random_inputs(model, 3, 4, 1), find_device("h100"),
               {.strategy = GpuStrategy::vector_mma});
  for (const auto& packed : {dense, shared}) {
    for (const PackFigure& figure : pack_report(*packed, 0)) {
      const bool packed_wavefronts = figure.name.find("as packed") != std::string::npos;
      EXPECT_TRUE(!packed_wavefronts || figure.value < 2.3) << figure.name << " " << figure.value;
    }
  }
}

TEST(MmaOracle, ChunksAndRepeatsGiveTheSameBits) {
  for (const Kind& kind : all_kinds) {
    const Model model = random_model(kind.masked(
        {.cell = lstm_cell(), .dtype = DType::bf16, .input = 6, .hidden = 33, .layers = 2, .density = 0.5}));
    const Inputs inputs = random_inputs(model, 40, 2, 1);
    const auto packed = pack_for(model, find_device("h100"), 2, {.strategy = kind.strategy});
    const Output whole = interpret(packed, inputs);
    EXPECT_EQ(interpret(packed, inputs), whole);
    EXPECT_EQ(interpret(packed, inputs, 1), whole);
    EXPECT_EQ(interpret(packed, inputs, 7), whole);
  }
}

// A tensor core would multiply a NaN by the zeros of pruned weights: it goes along stored weights only.
TEST(MmaOracle, NonFiniteStatesStayOnStoredNonZeros) {
  for (const Cell& cell : standard_cells()) {
    const ModelSpec spec{.cell = cell,
                         .dtype = DType::fp16,
                         .input = 10,
                         .hidden = 60,
                         .density = 0.03,
                         .input_density = 0.1,
                         .mask = Mask::two_of_four};
    Model model = random_model(spec);
    // Sparse tensor cores leave one of these out.
    for (const int column : {4, 5, 7})
      model.layers[0].directions[0].w_hh.values[static_cast<std::size_t>(column)] = 0.25F;
    for (const float poison :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      Inputs inputs = random_inputs(model, 4, 3, 2);
      inputs.x[10 * 3 * 1 + 10 + 4] = poison;  // step 1, entry 1
      const reference::Output expected = reference::run(model, 4, 3, to_double(inputs.x).data(), nullptr,
                                                        {to_double(inputs.h0), to_double(inputs.c0)});
      for (const GpuStrategy strategy : all_mma) {
        const Output found =
            interpret(pack_for(model, find_device("h100"), 3, {.strategy = strategy}), inputs);
        int touched = 0;
        for (std::size_t i = 0; i < found.y.size(); ++i) {
          ASSERT_EQ(std::isnan(found.y[i]), std::isnan(expected.y[i])) << i << ", " << to_string(cell);
          touched += std::isnan(expected.y[i]) ? 1 : 0;
        }
        EXPECT_TRUE(touched > 0 || !std::isnan(poison));
      }
    }
  }
}

TEST(MmaPack, UnpackGivesTheWeightsBackBitForBit) {
  for (const std::int64_t hidden : {1, 2, 17, 100, 301}) {
    for (const Cell& cell : standard_cells()) {
      for (const Kind& kind : all_kinds) {
        const GpuStrategy strategy = kind.strategy;
        Model model = random_model(
            kind.masked({.cell = cell, .dtype = DType::bf16, .input = 3, .hidden = hidden, .density = 0.2}));
        float* const first = model.layers[0].directions[0].w_hh.values.data();
        std::fill_n(first, std::min<std::int64_t>(hidden, 4), 0.0F);
        first[0] = -0.0F;
        std::vector<GpuWishes> wishes{{.strategy = strategy, .warps = 4}, {.strategy = strategy, .warps = 8}};
        if (kind.parts()) {
          wishes.push_back({.strategy = strategy, .warps = 4, .row_parts = 2});
          wishes.push_back({.strategy = strategy, .warps = 4, .row_parts = 4});
          wishes.push_back({.strategy = strategy, .groups = 1, .row_parts = 2, .asks_late = true});
        }
        for (const GpuWishes& wish : wishes) {
          const auto packed = pack_for(model, find_device("h100"), wish.asks_late ? 9 : 2, wish);
          const Matrix& before = model.layers[0].directions[0].w_hh;
          const Model unpacked = unpack(*packed);
          const Matrix& after = unpacked.layers[0].directions[0].w_hh;
          ASSERT_EQ(before.values.size(), after.values.size());
          for (std::size_t i = 0; i < before.values.size(); ++i)
            ASSERT_EQ(to_bits(DType::fp32, before.values[i]), to_bits(DType::fp32, after.values[i])) << i;
        }
      }
    }
  }
}

// Weights are replaced under the same plan where they fit it.
TEST(MmaPack, OtherWeightsThatNeedMoreColumnsAreRefused) {
  ModelSpec spec{.cell = lstm_cell(), .dtype = DType::fp16, .input = 3, .hidden = 128, .density = 0.02};
  const Model sparse = random_model(spec);
  const Plan plan = make_plan(describe(sparse, 1), find_device("h100"),
                              {{}, {.strategy = GpuStrategy::vector_mma, .warps = 4}});
  spec.density = 1.0;
  try {
    (void)pack(random_model(spec), plan);
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("make a plan for these weights"), std::string::npos)
        << error.what();
  }
}

TEST(MmaPack, OtherWeightsThatHaveMoreOfFourNeighboursAreRefused) {
  ModelSpec spec{
      .cell = gru_cell(), .dtype = DType::fp16, .input = 3, .hidden = 30, .mask = Mask::two_of_four};
  const Plan plan = make_plan(describe(random_model(spec), 1), find_device("h100"),
                              {{}, {.strategy = GpuStrategy::sparse_mma}});
  spec.mask = Mask::uniform;
  try {
    (void)pack(random_model(spec), plan);
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_NE(
        std::string(error.what())
            .find("w_hh: row 0 has 4 non-zeros in columns 0 to 3, the plan takes 2; make a plan for these"),
        std::string::npos)
        << error.what();
  }
}

// Half of the weights and where they belong: 9 words instead of 16.
TEST(MmaPack, TwoOfFourTakeNineSixteenths) {
  const Model model = random_model(
      {.cell = lstm_cell(), .dtype = DType::fp16, .input = 1, .hidden = 512, .mask = Mask::two_of_four});
  const auto bytes = [&](GpuStrategy strategy) {
    const auto packed = pack_for(model, find_device("h100"), 2,
                                 {.strategy = strategy, .groups = 1, .ctas = 64, .warps = 4, .row_parts = 1});
    double sum = 0.0;
    for (const Section& section : packed->directions[0].sections) {
      if (section.name().starts_with("w_hh.")) sum += static_cast<double>(section.size());
    }
    return sum;
  };
  EXPECT_EQ(bytes(GpuStrategy::sparse_mma), bytes(GpuStrategy::dense_mma) * 9 / 16);
}

TEST(MmaPlan, WhatItLacksIsRefusedByName) {
  const auto refused = [](const ModelSpec& spec, const GpuWishes& wishes, std::string_view reason) {
    try {
      (void)make_plan(describe(random_model(spec), 2), find_device("h100"), {{}, wishes});
      ADD_FAILURE() << "not refused: " << reason;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::unsupported);
      EXPECT_NE(std::string(error.what()).find(reason), std::string::npos) << error.what();
    }
  };
  const ModelSpec half{.cell = lstm_cell(), .dtype = DType::fp16};
  for (const GpuStrategy strategy : all_mma) {
    const ModelSpec taken = masked_for(strategy, half);
    ModelSpec projected = taken;
    projected.projection = 4;
    refused({.dtype = DType::fp32}, {.strategy = strategy}, "fp32");
    refused(projected, {.strategy = strategy}, "projection");
    refused(taken, {.strategy = strategy, .lanes = 4}, "lanes");
    refused(taken, {.strategy = strategy, .bank_order = false}, "bank_order");
  }
  refused(
      half, {.strategy = GpuStrategy::sparse_mma, .groups = 1, .warps = 4, .row_parts = 2},
      "non-zeros beyond two of four are gathered for at most 8 batch entries a group, and not for row parts");
  refused(half, {.strategy = GpuStrategy::dense_mma, .row_parts = 3},
          "row_parts 3 was asked for, possible is 1 to 2, or as many as the warps that are asked for");
  refused(half, {.strategy = GpuStrategy::dense_mma, .ctas = 16, .warps = 8, .row_parts = 8},
          "leave a warp without rows");
  refused(half, {.strategy = GpuStrategy::dense_mma, .asks_late = true},
          "only for more than 8 batch entries");
  for (const GpuStrategy other : {GpuStrategy::gather, GpuStrategy::vector_mma}) {
    refused(half, {.strategy = other, .row_parts = 2},
            "row_parts is a choice of strategy dense-mma or sparse-mma");
    refused(half, {.strategy = other, .asks_late = false},
            "asks_late is a choice of strategy dense-mma or sparse-mma");
  }
}

TEST(MmaPlan, JsonRoundTrip) {
  const Model model = random_model(
      {.cell = gru_cell(), .dtype = DType::bf16, .hidden = 50, .density = 0.3, .mask = Mask::two_of_four});
  for (const GpuStrategy strategy : all_mma) {
    const Plan plan = make_plan(describe(model, 3), find_device("a100"), {{}, {.strategy = strategy}});
    EXPECT_EQ(plan_from_json(to_json(plan)), plan);
    EXPECT_NE(to_text(plan).find(to_string(strategy)), std::string::npos);
  }
  const Plan rest = make_plan(describe(random_model({.cell = gru_cell(), .dtype = DType::fp16}), 3),
                              find_device("h100"), {{}, {.strategy = GpuStrategy::sparse_mma}});
  EXPECT_EQ(plan_from_json(to_json(rest)), rest);
  EXPECT_NE(to_text(rest).find("the rest as pairs"), std::string::npos) << to_text(rest);
  const Plan late =
      make_plan(describe(model, 20), find_device("h100"),
                {{}, {.strategy = GpuStrategy::dense_mma, .groups = 1, .row_parts = 2, .asks_late = true}});
  EXPECT_EQ(plan_from_json(to_json(late)), late);
  EXPECT_NE(to_text(late).find("in 2 parts of the warps"), std::string::npos) << to_text(late);
  EXPECT_NE(to_text(late).find("asked for step by step"), std::string::npos) << to_text(late);
}

TEST(MmaPlan, WhatDoesNotFitTheL2IsKeptThereInPart) {
  Problem problem{DType::fp16, 4, 1, 4096, 0, {}};
  DirectionProblem direction;
  direction.cell = lstm_cell();
  const std::int64_t rows = 4 * problem.hidden_size;
  const std::vector<std::int32_t> nonzeros(static_cast<std::size_t>(rows), 1);
  direction.w_ih = {rows, 1, nonzeros, 0, 0, {}};
  direction.w_hh = {rows, problem.hidden_size, nonzeros, 0, 0, {}};
  problem.directions.push_back(direction);
  Device device = find_device("h100");
  const auto kept = [&] {
    const Plan plan = make_plan(problem, device, {{}, {.strategy = GpuStrategy::dense_mma}});
    return std::get<MmaPlan>(plan.directions[0].choice).kept_steps;
  };
  const int some = kept();
  EXPECT_GT(some, 0);
  std::get<GpuDescription>(device.description).l2_bytes /= 2;
  EXPECT_NEAR(kept(), some / 2, 1);
  std::get<GpuDescription>(device.description).l2_bytes *= 100;
  EXPECT_EQ(kept(), 0) << "all fit";
}

// Also where fragments fit into the L2 and the pairs beside them do not.
TEST(MmaPlan, EveryPlanOfARestIsOneThatIsTaken) {
  for (const char* device : {"h100", "a100"}) {
    for (const auto& [cell, hidden] :
         {std::pair{tanh_cell(), 5120}, {gru_cell(), 3072}, {lstm_cell(), 3000}}) {
      for (const double density : {0.1, 0.6, 1.0}) {
        DirectionProblem direction;
        direction.cell = cell;
        const std::int64_t rows = cell.gates() * hidden;
        const auto all_rows = static_cast<std::size_t>(rows);
        direction.w_ih = {rows, 1, std::vector<std::int32_t>(all_rows, 1), 0, 0};
        direction.w_hh = {rows, hidden,
                          std::vector<std::int32_t>(all_rows, static_cast<std::int32_t>(density * hidden)), 0,
                          0};
        direction.w_hh.most_of_four = 4;
        direction.w_hh.row_rests.assign(all_rows, static_cast<std::int32_t>(density * density * hidden / 2));
        const Problem problem{DType::fp16, 4, 1, hidden, 0, {direction}};
        const Plan plan =
            make_plan(problem, find_device(device), {{}, {.strategy = GpuStrategy::sparse_mma}});
        SCOPED_TRACE(choice_text(plan.directions[0]));
        EXPECT_NO_THROW(mma::check(std::get<MmaPlan>(plan.directions[0].choice), plan.problem, direction));
      }
    }
  }
}

// The recurrent part on an H100, 2026-11-28, of sparse-mma on an H200 the day after, and of odd sizes on an
// H200, 2026-11-30. A guard against drift, not a proof: these rows gave the prices.
TEST(MmaPlan, StaysNearWhatWasMeasured) {
  struct Row {
    Cell cell;
    std::int64_t hidden;
    int batch;
    double shared_columns;  // of vector-mma; 0: not that
    double measured_us;
    bool sparse = false;
    double density = 0.0;  // of a random mask; 0: pattern 2:4
  };
  const Row rows[] = {{lstm_cell(), 2304, 4, 0.0, 2.28},
                      {lstm_cell(), 2304, 1, 0.0, 2.08},
                      {lstm_cell(), 2304, 8, 0.0, 3.59},
                      {lstm_cell(), 1024, 4, 0.0, 1.28},
                      {lstm_cell(), 512, 4, 0.0, 1.03},
                      {tanh_cell(), 2304, 4, 0.0, 1.34},
                      {gru_cell(), 2560, 4, 0.0, 2.07},
                      {lstm_cell(), 2304, 4, 0.3, 1.97},
                      {lstm_cell(), 2304, 8, 0.1, 2.01},
                      {lstm_cell(), 2304, 32, 0.0, 6.86},
                      {lstm_cell(), 2304, 16, 0.0, 4.75},
                      {gru_cell(), 2560, 32, 0.0, 6.65},
                      {tanh_cell(), 3520, 32, 0.0, 6.30},
                      {lstm_cell(), 4096, 32, 0.0, 44.1},
                      {lstm_cell(), 1227, 4, 0.0, 1.33},
                      {lstm_cell(), 1024, 16, 0.0, 1.24},
                      {lstm_cell(), 2304, 12, 0.0, 4.70},
                      {lstm_cell(), 1900, 20, 0.0, 4.22},
                      {tanh_cell(), 3500, 8, 0.0, 2.52},
                      {lstm_cell(), 4096, 4, 0.0, 28.5},
                      {gru_cell(), 4096, 4, 0.0, 15.7},
                      {gru_cell(), 4096, 32, 0.0, 35.0},
                      {lstm_cell(), 512, 1, 0.0, 0.78, true},
                      {lstm_cell(), 804, 16, 0.0, 1.25, true},
                      {lstm_cell(), 928, 3, 0.0, 1.15, true},
                      {lstm_cell(), 1024, 4, 0.0, 1.11, true},
                      {lstm_cell(), 1024, 32, 0.0, 1.69, true},
                      {lstm_cell(), 2304, 4, 0.0, 1.80, true},
                      {lstm_cell(), 2304, 32, 0.0, 8.11, true},
                      {lstm_cell(), 3072, 4, 0.0, 2.38, true},
                      {lstm_cell(), 4096, 4, 0.0, 7.42, true},
                      {tanh_cell(), 5632, 4, 0.0, 2.91, true},
                      {lstm_cell(), 2304, 4, 0.0, 2.54, true, 0.3},
                      {lstm_cell(), 3072, 4, 0.0, 4.21, true, 0.3},
                      {lstm_cell(), 3072, 8, 0.0, 6.22, true, 0.3},
                      {lstm_cell(), 4096, 4, 0.0, 11.0, true, 0.3},
                      {gru_cell(), 4096, 4, 0.0, 6.32, true, 0.3},
                      {gru_cell(), 4096, 4, 0.0, 10.1, true, 0.5},
                      {tanh_cell(), 5632, 4, 0.0, 3.88, true, 0.3},
                      {tanh_cell(), 8192, 4, 0.0, 12.85, true, 0.3}};
  for (const Row& row : rows) {
    Problem problem{DType::fp16, row.batch, row.hidden, row.hidden, 0, {}};
    DirectionProblem direction;
    direction.cell = row.cell;
    const std::int64_t matrix_rows = row.cell.gates() * row.hidden;
    const auto columns = static_cast<std::int32_t>(row.shared_columns * static_cast<double>(row.hidden));
    const int sharing = mma_sharing_units(row.cell.gates());
    const auto lists = static_cast<std::size_t>((row.hidden + sharing - 1) / sharing);
    direction.w_ih = {
        matrix_rows, row.hidden, std::vector<std::int32_t>(static_cast<std::size_t>(matrix_rows), 1),
        0,           0,          {}};
    direction.w_hh = direction.w_ih;
    direction.w_hh.shared_columns.assign(lists, columns);
    if (row.sparse) direction.w_hh.most_of_four = row.density > 0.0 ? 4 : 2;
    if (row.density > 0.0) {
      const double d = row.density, most = static_cast<double>(row.hidden);
      const auto all_rows = static_cast<std::size_t>(matrix_rows);
      direction.w_hh.row_nonzeros.assign(all_rows, static_cast<std::int32_t>(d * most));
      // Of four columns three have a weight, or all.
      const double rest = (4 * d * d * d * (1 - d) + 2 * d * d * d * d) / 4 * most;
      direction.w_hh.row_rests.assign(all_rows, static_cast<std::int32_t>(rest + std::sqrt(rest)));
    }
    problem.directions = {direction};
    const GpuStrategy strategy = row.sparse    ? GpuStrategy::sparse_mma
                                 : columns > 0 ? GpuStrategy::vector_mma
                                               : GpuStrategy::dense_mma;
    const DirectionPlan plan =
        make_plan(problem, find_device(row.sparse ? "h200" : "h100"), {{}, {.strategy = strategy}})
            .directions[0];
    const double recurrent = plan.microseconds() - plan.cost.back().microseconds;
    EXPECT_NEAR(recurrent, row.measured_us, 0.15 * row.measured_us) << choice_text(plan);
  }
}

}  // namespace
}  // namespace sprnn::test
