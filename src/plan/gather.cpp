// The planner of strategy gather: enumerate, filter with a reason, score, pick the cheapest.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "plan/gather_cost.hpp"
#include "plan/gather_search.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn::gather {

namespace {

struct Scored {
  Candidate candidate;
  GatherPlan plan;
  std::vector<CostPart> cost;
  double microseconds = 0.0;
};

// The best of each kind, in the order in which the kinds were met.
template <class Item>
class BestOfKind {
 public:
  void offer(const std::string& kind, Item item, double cost) {
    const auto at =
        std::find_if(best_.begin(), best_.end(), [&](const Entry& entry) { return entry.kind == kind; });
    if (at == best_.end()) {
      best_.push_back({kind, std::move(item), cost});
    } else if (cost < at->cost) {
      *at = {kind, std::move(item), cost};
    }
  }
  struct Entry {
    std::string kind;
    Item item;
    double cost;
  };
  [[nodiscard]] const std::vector<Entry>& entries() const { return best_; }

 private:
  std::vector<Entry> best_;
};

std::int64_t workspace_bytes(const GatherPlan& plan, const Problem& problem,
                             const DirectionProblem& direction) {
  const Layout layout = make_layout(plan, problem, direction);
  const std::int64_t tile = 4 * direction.w_hh.rows * problem.batch * plan.tile_steps;
  std::int64_t positions = layout.w_hh.image.positions;
  if (layout.w_hr) positions += layout.w_hr->image.positions;
  // Two slots of the ring, one chain of them for each group; a tag takes at most a third more.
  const std::int64_t ring =
      2 * plan.groups * positions * plan.group_batch * static_cast<std::int64_t>(sizeof(float));
  return tile + ring;
}

}  // namespace

DirectionPlan plan(const Problem& problem, const DirectionProblem& direction, const Device& device,
                   const GatherWishes& wishes) {
  const GpuDescription& gpu = device.gpu();
  Fitter fitter(problem, direction, gpu, wishes);
  BestOfKind<Scored> feasible;      // of each number of groups and of each number of lanes
  BestOfKind<Rejected> infeasible;  // of each number of groups
  std::optional<Scored> best;
  GatherPlan plan;
  for (const Candidate& candidate : candidates(problem, gpu, wishes)) {
    const std::string reason = fitter.fit(candidate, plan);
    if (!reason.empty()) {
      infeasible.offer(fmt::format("{} groups", candidate.groups), {candidate.text(), reason, 0.0}, 0.0);
      continue;
    }
    Scored scored{candidate, plan, cost(plan, problem, direction, gpu), 0.0};
    for (const CostPart& part : scored.cost) scored.microseconds += part.microseconds;
    const double us = scored.microseconds;
    if (!best || us < best->microseconds) best = scored;
    feasible.offer(fmt::format("{} groups, {} lanes", candidate.groups, candidate.lanes), std::move(scored),
                   us);
  }
  if (!best) {
    const Rejected& first = infeasible.entries().front().item;
    throw Error(ErrorCode::unsupported,
                fmt::format("no gather plan for hidden size {}, batch {} on {}: {}: {}", problem.hidden_size,
                            problem.batch, device.name, first.candidate, first.reason));
  }

  DirectionPlan chosen;
  chosen.layer = direction.layer;
  chosen.reverse = direction.reverse;
  chosen.cost = best->cost;
  // The chosen number of groups with other numbers of lanes, and the best of each other number of groups.
  BestOfKind<Rejected> dearer;
  for (const auto& entry : feasible.entries()) {
    const Candidate& other = entry.item.candidate;
    const bool same_groups = other.groups == best->candidate.groups;
    if (same_groups && other.lanes == best->candidate.lanes) continue;
    dearer.offer(same_groups ? fmt::format("{} lanes", other.lanes) : fmt::format("{} groups", other.groups),
                 {other.text(),
                  fmt::format("predicted {:.2f} us a timestep, the chosen plan {:.2f}", entry.cost,
                              best->microseconds),
                  entry.cost},
                 entry.cost);
  }
  for (const auto& entry : dearer.entries()) chosen.rejected.push_back(entry.item);
  std::stable_sort(chosen.rejected.begin(), chosen.rejected.end(),
                   [](const Rejected& a, const Rejected& b) { return a.microseconds < b.microseconds; });
  for (const auto& entry : infeasible.entries()) chosen.rejected.push_back(entry.item);
  for (const SectionSize& section : section_sizes(best->plan, problem, direction)) {
    chosen.packed_bytes += section.bytes;
  }
  chosen.workspace_bytes = workspace_bytes(best->plan, problem, direction);
  chosen.choice = std::move(best->plan);
  return chosen;
}

}  // namespace sprnn::gather
