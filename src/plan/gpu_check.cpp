#include "plan/gpu_check.hpp"

#include <fmt/format.h>

#include "plan/gpu_layout.hpp"
#include "sprnn/error.hpp"

namespace sprnn::gpu {

void expect(bool good, std::string_view field, std::int64_t found, std::string_view expected) {
  if (good) return;
  throw Error(ErrorCode::format,
              fmt::format("GPU plan: {} is {}, expected {}; make the plan again", field, found, expected));
}

void expect_in(std::string_view field, std::int64_t found, std::int64_t low, std::int64_t high) {
  expect(found >= low && found <= high, field, found, fmt::format("{} to {}", low, high));
}

void check_common(const GpuPlan& plan, const Problem& problem, const DirectionProblem& direction) {
  expect_in("groups", plan.groups, 1, max_ctas);
  expect_in("group_batch", plan.group_batch, 1, max_ctas);
  expect_in("passes", plan.passes, 1, max_ctas);
  expect_in("ctas", plan.ctas, 1, max_ctas);
  expect_in("warps", plan.warps, 1, 32);
  expect(plan.warps % 4 == 0, "warps", plan.warps, "a multiple of 4");
  expect_in("tile_steps", plan.tile_steps, 1, max_slots);
  expect_in("poll_wait_cycles", plan.poll_wait_cycles, tuned_poll_wait, max_slots);
  if (has_free_bit(problem, direction)) {
    expect(plan.exchange_word == ExchangeWord::stamp, "exchange_word", 1,
           "0, a stamp: the state leaves a bit for it");
  } else {
    expect(plan.exchange_word == ExchangeWord::tag, "exchange_word", 0,
           "1, a tag: the state leaves no bit for a stamp");
  }
  if (plan.in_cluster) {
    expect(plan.stamps && plan.exchange_word == ExchangeWord::stamp, "in_cluster", 1, "0 without stamps");
    expect(plan.ctas <= most_cluster_ctas, "in_cluster", 1,
           fmt::format("0 with more than {} CTAs", most_cluster_ctas));
  }
  expect_in("registers.available", plan.registers.available, 1, 65536);
  expect_in("registers.working", plan.registers.working, 1, plan.registers.available);
}

void check_budgets(const GpuPlan& plan, int weight_registers, const SharedBudget& needed) {
  const auto equal = [](std::string_view field, std::int64_t found, std::int64_t expected) {
    expect(found == expected, field, found, fmt::format("{}", expected));
  };
  equal("registers.weights", plan.registers.weights, weight_registers);
  expect(plan.shared.available >= needed.total(), "shared.available", plan.shared.available,
         fmt::format("at least {}", needed.total()));
  equal("shared.state", plan.shared.state, needed.state);
  equal("shared.ring", plan.shared.ring, needed.ring);
  equal("shared.sums", plan.shared.sums, needed.sums);
  equal("shared.weights", plan.shared.weights, needed.weights);
}

}  // namespace sprnn::gpu
