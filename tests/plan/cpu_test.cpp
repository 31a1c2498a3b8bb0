// The planner of the CPU engine: which layouts it takes, for how many threads, and what it says of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan/cpu_cost.hpp"
#include "plan/cpu_workspace.hpp"
#include "sprnn/plan.hpp"
#include "support/random_model.hpp"

namespace sprnn::test {
namespace {

Device processor(int threads) {
  return {"cpu", CpuDescription{threads, "avx512", 48 << 10, 2 << 20, 64 << 20}};
}

Problem lstm(std::int64_t hidden, double density, int batch = 1) {
  ModelSpec spec;
  spec.cell = lstm_cell();
  spec.hidden = hidden;
  spec.input = hidden;
  spec.density = density;
  return describe(random_model(spec), batch);
}

CpuPlan layouts(const Plan& plan) { return std::get<CpuPlan>(plan.directions.front().choice); }

TEST(CpuPlanner, LooksAtCallsWithOneTimestepWhereThatCostsLittle) {
  const Plan small = make_plan(lstm(128, 0.3), processor(2));
  EXPECT_NE(layouts(small).w_ih, CpuLayout::row);  // which gathers, for a single sample
  EXPECT_THAT(to_text(small), testing::HasSubstr("makes a call with one timestep"));
  // Beyond L2 a single step is bound by reading, and `row` is the smallest.
  const Plan large = make_plan(lstm(1024, 0.1), processor(2));
  EXPECT_EQ(layouts(large), (CpuPlan{CpuLayout::row, CpuLayout::tile, CpuLayout::none}));
  // The choice never costs more than a tenth of a step.
  for (const std::int64_t hidden : {64, 128, 256, 512}) {
    for (const double density : {0.05, 0.1, 0.3, 0.6, 1.0}) {
      const Problem problem = lstm(hidden, density);
      const Device device = processor(2);
      const double chosen = make_plan(problem, device).directions.front().microseconds();
      for (const CpuLayout layout : {CpuLayout::dense, CpuLayout::columns, CpuLayout::tile, CpuLayout::row}) {
        const Plan other = make_plan(problem, device, {.cpu = {layout, {}, {}}, .gpu = {}});
        EXPECT_LE(chosen, 1.1001 * other.directions.front().microseconds())
            << hidden << " at " << density << ", w_ih as " << to_string(layout);
      }
    }
  }
}

// As measured on Zen 3 (docs/cpu.md).
TEST(CpuPlanner, HasPricesOfItsOwnForAvx2) {
  const Device zen{"cpu", CpuDescription{2, "avx2", 32 << 10, 512 << 10, 32 << 20}};
  const auto w_hh = [&](const Problem& problem) { return layouts(make_plan(problem, zen)).w_hh; };
  EXPECT_EQ(w_hh(lstm(384, 0.3)), CpuLayout::dense);
  EXPECT_EQ(w_hh(lstm(1024, 0.1, 16)), CpuLayout::row);
  EXPECT_EQ(w_hh(lstm(256, 0.05)), CpuLayout::row);
}

TEST(CpuPlanner, PutsThoseThreadsToWorkThatGain) {
  const CpuDescription cpu = processor(64).cpu();
  const auto workers = [&](const Problem& problem) {
    return cpu::best_workers(problem.directions.front(), layouts(make_plan(problem, processor(64))),
                             problem.batch, cpu);
  };
  EXPECT_EQ(workers(lstm(16, 1.0)), 1);
  EXPECT_LT(workers(lstm(128, 0.1)), 8);
  EXPECT_GT(workers(lstm(512, 1.0)), workers(lstm(128, 0.1)));
  EXPECT_LE(workers(lstm(512, 1.0, 64)), 32);  // a group of 16 units each
  EXPECT_THAT(to_text(make_plan(lstm(16, 1.0), processor(2))), testing::HasSubstr("1 of 2 threads work"));
  EXPECT_THAT(to_text(make_plan(lstm(512, 1.0), processor(2))),
              testing::Not(testing::HasSubstr("threads work")));
}

TEST(CpuPlanner, CountsTheBuffersBetweenLayers) {
  ModelSpec spec;
  spec.hidden = 64;
  spec.input = 64;
  const auto bytes = [&](int layers) {
    spec.layers = layers;
    std::int64_t sum = 0;
    for (const DirectionPlan& d : make_plan(describe(random_model(spec), 2), processor(2)).directions) {
      sum += d.workspace_bytes;
    }
    return sum;
  };
  const std::int64_t biases = 64 * 4;
  const std::int64_t between = 128 * 2 * 64 * 4;  // timesteps, batch, units
  EXPECT_EQ(bytes(2) - bytes(1), between + biases);
  EXPECT_EQ(bytes(3) - bytes(2), between + biases);
  EXPECT_EQ(bytes(4) - bytes(3), biases);
}

}  // namespace
}  // namespace sprnn::test
