// Packed bytes in the GPU's order and precision against the float64 reference.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "engines/interpreter/engine.hpp"
#include "engines/interpreter/half.hpp"
#include "engines/reference/reference.hpp"
#include "interpreter/support.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"
#include "support/expect_error.hpp"
#include "support/sanitizers.hpp"

namespace sprnn::test {
namespace {

constexpr DType dtypes[] = {DType::fp32, DType::fp16, DType::bf16};

void expect_close(const ModelSpec& spec, const Device& device, const Inputs& inputs, const Model& model,
                  const GpuWishes& wishes = {}) {
  SCOPED_TRACE(
      fmt::format("{}; {} steps, batch {}, {}", to_string(spec), inputs.steps, inputs.batch, device.name));
  const auto packed = pack_for(model, device, static_cast<int>(inputs.batch), wishes);
  SCOPED_TRACE(choice_text(packed->plan.directions[0]));
  const Errors errors = compare(model, inputs, interpret(packed, inputs));
  EXPECT_LE(errors.error, errors.bound);
}

TEST(Oracle, EveryCellAndTypeOver256Steps) {
  for (const Cell& cell : standard_cells()) {
    for (const DType dtype : dtypes) {
      for (const std::int64_t projection : {0, 24}) {
        if (projection > 0 && cell.kind != CellKind::lstm) continue;
        const ModelSpec spec{.cell = cell,
                             .dtype = dtype,
                             .input = 12,
                             .hidden = 48,
                             .projection = projection,
                             .density = 0.3};
        const Model model = random_model(spec);
        expect_close(spec, find_device("h100"), random_inputs(model, scaled(256), 3, 7), model);
      }
    }
  }
}

TEST(Oracle, RandomShapesMasksAndDevices) {
  for (int seed = 1; seed <= scaled(100); ++seed) {
    Random random(seed);
    const GpuProblem drawn = draw_gpu_problem(random, 251);
    // About a million products a case.
    const double products =
        4.0 * static_cast<double>(drawn.spec.hidden * drawn.spec.hidden * drawn.batch * drawn.spec.layers) *
        drawn.spec.density;
    const std::int64_t steps =
        std::clamp<std::int64_t>(static_cast<std::int64_t>(1e6 / (products + 1.0)), 2, 12);
    const char* const gpus[] = {"h100", "h200", "a100"};
    const Device device = drawn.tiny ? tiny_gpu() : find_device(gpus[random.integer(0, 2)]);
    const Model model = random_model(drawn.spec);
    expect_close(drawn.spec, device, random_inputs(model, steps, drawn.batch, seed, drawn.lengths), model);
    if (HasFatalFailure()) return;
  }
}

TEST(Oracle, LargeAndUgly) {
  const struct {
    Cell cell;
    DType dtype;
    std::int64_t hidden, batch;
    double density;
    Mask mask;
  } cases[] = {
      {tanh_cell(), DType::fp16, 1024, 4, 0.1, Mask::uniform},
      {lstm_cell(), DType::fp16, 521, 2, 0.05, Mask::bands},
      {gru_cell(), DType::bf16, 769, 3, 0.02, Mask::skewed_rows},
      {relu_cell(), DType::fp32, 1009, 9, 0.02, Mask::one_full_row},
      {lstm_cell(), DType::fp32, 1024, 1, 0.03, Mask::uniform},
      {tanh_cell(), DType::bf16, 1024, 32, 0.02, Mask::empty_rows},
  };
  for (const auto& c : cases) {
    const ModelSpec spec{.cell = c.cell,
                         .dtype = c.dtype,
                         .input = 7,
                         .hidden = c.hidden,
                         .density = c.density,
                         .mask = c.mask};
    const Model model = random_model(spec);
    expect_close(spec, find_device("h100"), random_inputs(model, 3, c.batch, 5), model);
    expect_close(spec, tiny_gpu(), random_inputs(model, 2, c.batch, 5), model);
  }
}

TEST(Oracle, EveryWishGivesTheSameAnswer) {
  const ModelSpec spec{.cell = lstm_cell(), .dtype = DType::fp16, .input = 9, .hidden = 80, .density = 0.4};
  const Model model = random_model(spec);
  const Inputs inputs = random_inputs(model, 8, 8, 3);
  std::vector<GpuWishes> all;
  for (const int lanes : {1, 2, 4, 8, 16, 32}) all.push_back({.lanes = lanes});
  for (const int groups : {1, 2, 3, 8}) all.push_back({.groups = groups});
  for (const int ctas : {1, 2, 3, 16}) all.push_back({.ctas = ctas});
  for (const int group_batch : {1, 3, 5, 8}) all.push_back({.group_batch = group_batch});
  for (const int warps : {4, 12, 32}) all.push_back({.warps = warps});
  for (const bool on : {false, true}) {
    all.push_back({.stamps = on});
    all.push_back({.wide_loads = on});
    all.push_back({.bank_order = on});
    all.push_back({.opaque_pairs = on});
    all.push_back({.fence = on});
  }
  all.push_back({.w_ih = InputStorage::csr});
  all.push_back({.w_ih = InputStorage::dense});
  for (const GpuWishes& wishes : all) expect_close(spec, find_device("h100"), inputs, model, wishes);
}

TEST(Oracle, ABatchThatIsNotThePlans) {
  const ModelSpec spec{.cell = gru_cell(), .dtype = DType::fp16, .input = 6, .hidden = 40, .density = 0.5};
  const Model model = random_model(spec);
  const auto packed = pack_for(model, find_device("h100"), 4);
  const Inputs all = random_inputs(model, 6, 11, 1);
  const Output together = interpret(packed, all);
  EXPECT_LE(compare(model, all, together).error, 2e-3);
}

TEST(Oracle, ChunksAndRepeatsGiveTheSameBits) {
  const ModelSpec spec{.cell = lstm_cell(),
                       .dtype = DType::bf16,
                       .input = 6,
                       .hidden = 33,
                       .projection = 10,
                       .layers = 2,
                       .density = 0.5};
  const Model model = random_model(spec);
  const auto packed = pack_for(model, find_device("h100"), 2);
  const Inputs inputs = random_inputs(model, 40, 2, 1);
  const Output whole = interpret(packed, inputs);
  EXPECT_EQ(interpret(packed, inputs), whole);
  EXPECT_EQ(interpret(packed, inputs, 1), whole);
  EXPECT_EQ(interpret(packed, inputs, 7), whole);
}

// NaN and infinity go along stored non-zeros only: where the reference is finite, so are we.
TEST(Oracle, NonFiniteInputsStayOnStoredNonZeros) {
  for (const Cell& cell : standard_cells()) {
    const ModelSpec spec{
        .cell = cell, .dtype = DType::fp16, .input = 10, .hidden = 60, .density = 0.03, .input_density = 0.1};
    const Model model = random_model(spec);
    for (const float poison :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
      Inputs inputs = random_inputs(model, 4, 3, 2);
      inputs.x[10 * 3 * 1 + 10 + 4] = poison;  // step 1, entry 1
      const reference::Output expected = reference::run(model, 4, 3, to_double(inputs.x).data(), nullptr,
                                                        {to_double(inputs.h0), to_double(inputs.c0)});
      for (const Device& device : {find_device("h100"), tiny_gpu()}) {
        const Output output = interpret(pack_for(model, device, 3), inputs);
        int touched = 0;
        for (std::size_t i = 0; i < output.y.size(); ++i) {
          ASSERT_EQ(std::isnan(output.y[i]), std::isnan(expected.y[i]))
              << to_string(spec) << ", y[" << i << "]";
          touched += std::isnan(expected.y[i]) ? 1 : 0;
        }
        if (std::isnan(poison)) {
          EXPECT_GT(touched, 0);
        }
        EXPECT_LT(touched, static_cast<int>(output.y.size()) / 3);
      }
    }
  }
}

// Four products of such states are more than fp16 has: they must not be summed in half precision.
TEST(Oracle, InitialStatesAsLargeAsTheTypeHas) {
  for (const Cell& cell : {tanh_cell(), gru_cell(), lstm_cell()}) {
    for (const std::uint64_t seed : {2, 3}) {
      for (const double density : {0.06, 0.1}) {
        const ModelSpec spec{
            .cell = cell, .dtype = DType::fp16, .input = 5, .hidden = 60, .density = density, .seed = seed};
        const Model model = random_model(spec);
        Inputs inputs = random_inputs(model, 6, 5, 7);
        for (float& h : inputs.h0) h = std::copysign(65504.0F, h);
        expect_close(spec, find_device("h100"), inputs, model);
      }
    }
  }
}

// 32 units whose output is 1, and in every other row of W_hh, or of W_hr, 16 of their weights are `weight`
// and 16 -`weight`: all sums on the way are exact, in any order, where they do not overflow, and cancel.
Model cancelling_model(std::int64_t projection, float weight) {
  constexpr std::int64_t ones = 32;
  Model model = random_model({.cell = projection > 0 ? lstm_cell() : tanh_cell(),
                              .dtype = DType::fp16,
                              .input = 5,
                              .hidden = 48,
                              .projection = projection});
  Direction& direction = model.layers[0].directions[0];
  const auto clear = [](float* row, std::int64_t columns) { std::fill_n(row, columns, 0.0F); };
  for (std::int64_t row = 0; row < direction.w_hh.rows; ++row) {
    if (row % 48 >= ones) continue;
    clear(direction.w_ih.row(row), direction.w_ih.cols);
    clear(direction.w_hh.row(row), direction.w_hh.cols);
    direction.b_ih[static_cast<std::size_t>(row)] = 20.0F;
    direction.b_hh[static_cast<std::size_t>(row)] = 0.0F;
  }
  Matrix& matrix = projection > 0 ? direction.w_hr : direction.w_hh;
  for (std::int64_t row = projection > 0 ? 0 : ones; row < matrix.rows; ++row) {
    clear(matrix.row(row), matrix.cols);
    for (std::int64_t column = 0; column < ones; ++column)
      matrix.row(row)[column] = column < ones / 2 ? weight : -weight;
  }
  return model;
}

Inputs inputs_of_ones(const Model& model) {
  Inputs inputs = random_inputs(model, 5, 2, 3);
  for (std::int64_t i = 0; i < std::ssize(inputs.h0); ++i) {
    if (model.projection_size == 0 && i % 48 < 32) inputs.h0[static_cast<std::size_t>(i)] = 1.0F;
  }
  for (std::int64_t i = 0; i < std::ssize(inputs.c0); ++i) {
    if (i % 48 < 32) inputs.c0[static_cast<std::size_t>(i)] = 20.0F;
  }
  return inputs;
}

bool sums_halves(const Packed& packed) {
  const auto& plan = packed.plan.directions[0].choice;
  if (const auto* mma = std::get_if<MmaPlan>(&plan)) return mma->rest->half_sums;
  const auto& gather = std::get<GatherPlan>(plan);
  return gather.w_hr ? gather.w_hr->half_sums : gather.w_hh.half_sums;
}

TEST(Oracle, WeightsOfWhichHalvesCannotHoldTheSums) {
  for (const GpuStrategy strategy : {GpuStrategy::gather, GpuStrategy::sparse_mma}) {
    for (const std::int64_t projection : {0, 12}) {
      if (projection > 0 && strategy == GpuStrategy::sparse_mma) continue;
      for (const float weight : {20000.0F, 32768.0F, 60000.0F, 8200.0F, 8192.0F, 2000.0F}) {
        const Model model = cancelling_model(projection, weight);
        const Inputs inputs = inputs_of_ones(model);
        GpuWishes wishes{.strategy = strategy};
        if (strategy == GpuStrategy::gather) wishes.lanes = 1, wishes.bank_order = false;
        const auto packed = pack_for(model, find_device("h100"), 2, wishes);
        SCOPED_TRACE(fmt::format("{}; {}", weight, choice_text(packed->plan.directions[0])));
        EXPECT_EQ(sums_halves(*packed), weight <= most_half_weight);
        const Errors errors = compare(model, inputs, interpret(packed, inputs));
        EXPECT_LE(errors.error, errors.bound);
      }
    }
  }
}

// The bound is the last that holds: of states that a kernel with half-precision sums takes, and every order.
TEST(Oracle, HalvesHoldTheSumsOfWeightsUpToTheBound) {
  const float largest = 2.0F - std::ldexp(1.0F, -10);
  ASSERT_EQ(round_to(DType::fp16, largest), largest);
  const auto sum_of_four = [&](float weight) {
    float sum = 0.0F;
    for (int i = 0; i < 4; ++i) sum = interpreter::half_fma(weight, largest, sum);
    return sum;
  };
  EXPECT_EQ(sum_of_four(most_half_weight), 65504.0F);
  const float next = most_half_weight + 8.0F;
  ASSERT_EQ(round_to(DType::fp16, next), next);
  EXPECT_TRUE(std::isinf(sum_of_four(next)));
}

// Under a plan with half-precision sums; and the other way round.
TEST(Oracle, LargeWeightsUnderThePlanOfOthersAreRefused) {
  const Model small = cancelling_model(0, 2.0F), large = cancelling_model(0, 20000.0F);
  const auto plan_of = [](const Model& model) {
    return make_plan(describe(model, 2), find_device("h100"), {{}, {.strategy = GpuStrategy::gather}});
  };
  EXPECT_ERROR(pack(large, plan_of(small)), ErrorCode::format, "w_hh.half_sums is 1, expected 0");
  const auto packed = std::make_shared<const Packed>(pack(small, plan_of(large)));
  validate(*packed);
  const Inputs inputs = inputs_of_ones(small);
  const Errors errors = compare(small, inputs, interpret(packed, inputs));
  EXPECT_LE(errors.error, errors.bound);
}

TEST(Engine, RefusesByName) {
  for (const Cell& cell : variant_cells()) {
    const ModelSpec spec{.cell = cell, .hidden = 8};
    const Plan plan = make_plan(describe(random_model(spec), 1), find_device("h100"));
    EXPECT_NE(interpreter_engine().refusal(plan).find(to_string(cell)), std::string::npos) << to_string(cell);
  }
  const ModelSpec spec{.cell = lstm_cell(), .hidden = 8, .peephole = true};
  const Plan plan = make_plan(describe(random_model(spec), 1), find_device("h100"));
  EXPECT_NE(interpreter_engine().refusal(plan).find("peephole"), std::string::npos);
}

}  // namespace
}  // namespace sprnn::test
