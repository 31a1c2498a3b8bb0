#include "sprnn/plan.hpp"

#include <fmt/format.h>

#include <numeric>

#include "plan/problem_check.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

double DirectionPlan::microseconds() const noexcept {
  return std::accumulate(cost.begin(), cost.end(), 0.0,
                         [](double sum, const CostPart& part) { return sum + part.microseconds; });
}

const GpuPlan& DirectionPlan::gpu() const {
  if (const auto* mma = std::get_if<MmaPlan>(&choice)) return *mma;
  return std::get<GatherPlan>(choice);
}

std::int64_t Plan::state_bytes() const noexcept {
  const std::int64_t width = problem.projection_size > 0 ? problem.projection_size : problem.hidden_size;
  std::int64_t floats = 0;
  for (const DirectionProblem& direction : problem.directions) {
    floats += width + (direction.cell.kind == CellKind::lstm ? problem.hidden_size : 0);
  }
  return floats * problem.batch * static_cast<std::int64_t>(sizeof(float));
}

namespace {

// Strategies other than gather are taken where they are asked for: none of their kernels has been timed yet,
// and a price is only as good as its measurement.
DirectionPlan plan_for_gpu(const Problem& problem, const DirectionProblem& direction, const Device& device,
                           const GpuWishes& wishes) {
  const GpuStrategy strategy = wishes.strategy.value_or(GpuStrategy::gather);
  if (strategy == GpuStrategy::gather) return gather::plan(problem, direction, device, wishes);
  return mma::plan(problem, direction, device, wishes, strategy == GpuStrategy::vector_mma);
}

}  // namespace

Plan make_plan(const Problem& problem, const Device& device, const PlanOptions& options) {
  check(problem, ErrorCode::invalid_argument);
  if (!device.is_gpu() && options.gpu != GpuWishes{}) {
    throw Error(
        ErrorCode::unsupported,
        fmt::format("groups, stamps or another choice of a GPU plan was asked for, but the plan is for {}, "
                    "a CPU: choose a GPU as target (h100, local where there is one, ...)",
                    device.name));
  }
  Plan plan{device, problem, {}};
  for (const DirectionProblem& direction : problem.directions) {
    plan.directions.push_back(device.is_gpu() ? plan_for_gpu(problem, direction, device, options.gpu)
                                              : cpu::plan(problem, direction, device, options.cpu));
  }
  return plan;
}

}  // namespace sprnn
