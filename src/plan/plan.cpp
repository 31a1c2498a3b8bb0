#include "sprnn/plan.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <numeric>

#include "plan/gpu_search.hpp"
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

DirectionPlan plan_for_gpu(const Problem& problem, const DirectionProblem& direction, const Device& device,
                           const GpuWishes& wishes, GpuStrategy strategy) {
  if (strategy == GpuStrategy::gather) return gather::plan(problem, direction, device, wishes);
  return mma::plan(problem, direction, device, wishes, strategy);
}

// The cheapest strategy; of the others the best plan, or why there is none, becomes one that was rejected.
DirectionPlan plan_for_gpu(const Problem& problem, const DirectionProblem& direction, const Device& device,
                           const GpuWishes& wishes) {
  if (wishes.strategy) return plan_for_gpu(problem, direction, device, wishes, *wishes.strategy);
  std::vector<DirectionPlan> plans;
  std::vector<Rejected> others;
  for (const GpuStrategy strategy :
       {GpuStrategy::gather, GpuStrategy::dense_mma, GpuStrategy::sparse_mma, GpuStrategy::vector_mma}) {
    try {
      plans.push_back(plan_for_gpu(problem, direction, device, wishes, strategy));
    } catch (const Error& error) {
      if (error.code() != ErrorCode::unsupported) throw;
      others.push_back({std::string(to_string(strategy)), error.what(), 0.0});
    }
  }
  if (plans.empty()) {
    std::vector<std::string> refusals;
    for (const Rejected& other : others) {
      if (std::find(refusals.begin(), refusals.end(), other.reason) == refusals.end())
        refusals.push_back(other.reason);
    }
    throw Error(ErrorCode::unsupported, fmt::format("{}", fmt::join(refusals, "; ")));
  }
  const auto best = std::min_element(plans.begin(), plans.end(), [](const auto& a, const auto& b) {
    return a.microseconds() < b.microseconds();
  });
  for (auto plan = plans.begin(); plan != plans.end(); ++plan) {
    if (plan == best) continue;
    const std::string text = choice_text(*plan);
    others.push_back({text.substr(0, text.find(';')) += gpu::cluster_text(plan->gpu().in_cluster),
                      fmt::format("predicted {:.2f} us a timestep, the chosen plan {:.2f}",
                                  plan->microseconds(), best->microseconds()),
                      plan->microseconds()});
  }
  std::stable_sort(others.begin(), others.end(), [](const Rejected& a, const Rejected& b) {
    return a.microseconds > 0.0 && (b.microseconds == 0.0 || a.microseconds < b.microseconds);
  });
  best->rejected.insert(best->rejected.begin(), others.begin(), others.end());
  return std::move(*best);
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
