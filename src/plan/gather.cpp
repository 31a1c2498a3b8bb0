// The planner of strategy gather: enumerate, filter with a reason, score, pick the cheapest.
#include <fmt/format.h>

#include "plan/gather_cost.hpp"
#include "plan/gather_search.hpp"
#include "plan/gpu_search.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn::gather {

DirectionPlan plan(const Problem& problem, const DirectionProblem& direction, const Device& device,
                   const GpuWishes& wishes) {
  const GpuDescription& gpu = device.gpu();
  Fitter fitter(problem, direction, gpu, wishes);
  gpu::Ranking ranking;
  GatherPlan plan;
  for (const Candidate& candidate : candidates(problem, gpu, wishes)) {
    for (const bool in_cluster : gpu::cluster_choices(candidate.ctas, gpu, wishes)) {
      const std::string text = fmt::format("{}{}", candidate.text(), gpu::cluster_text(in_cluster));
      const std::string reason = fitter.fit(candidate, in_cluster, plan);
      if (reason.empty()) {
        ranking.offer(text, candidate.groups, fmt::format("{} lanes", candidate.lanes), plan,
                      cost(plan, problem, direction, gpu));
      } else {
        ranking.refuse(text, candidate.groups, reason);
      }
    }
  }
  if (ranking.empty()) {
    const Rejected& first = ranking.first_refusal();
    throw Error(ErrorCode::unsupported,
                fmt::format("no gather plan for hidden size {}, batch {} on {}: {}: {}", problem.hidden_size,
                            problem.batch, device.name, first.candidate, first.reason));
  }
  DirectionPlan chosen = ranking.take(direction);
  set_bytes(chosen, problem, direction);
  return chosen;
}

void set_bytes(DirectionPlan& plan, const Problem& problem, const DirectionProblem& direction) {
  const GatherPlan& choice = std::get<GatherPlan>(plan.choice);
  plan.packed_bytes = gpu::total_bytes(section_sizes(choice, problem, direction));
  plan.workspace_bytes = gpu::workspace_bytes(choice, make_layout(choice, problem, direction), problem);
}

}  // namespace sprnn::gather
