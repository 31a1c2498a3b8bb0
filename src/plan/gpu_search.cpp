#include "plan/gpu_search.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bit>

#include "plan/gpu_cost.hpp"
#include "sprnn/error.hpp"

namespace sprnn::gpu {

namespace {

// The input projection's tile: enough steps to fill a GEMM, few enough for any T.
constexpr std::int64_t tile_bytes = std::int64_t{256} << 20;
constexpr std::int64_t max_tile_steps = 2048;
// CSR must be clearly cheaper: where the results' traffic bounds both, dense is the simpler.
constexpr double csr_gain = 0.9;

void check_wish(std::string_view name, const std::optional<int>& wish, std::int64_t low, std::int64_t high) {
  if (wish && (*wish < low || *wish > high)) refuse_wish(name, *wish, fmt::format("{} to {}", low, high));
}

double kib(std::int64_t bytes) { return static_cast<double>(bytes) / 1024.0; }

// GPCs, in which a cluster lies, have 16 or 18 SMs (H100).
constexpr int least_gpc_sms = 16, most_gpc_sms = 18;

int most_cluster(const GpuDescription& gpu) { return std::min(gpu.max_cluster_size, most_cluster_ctas); }

// Why a group cannot be a cluster; empty: it can.
std::string cluster_refusal(const GpuPlan& plan, const GpuDescription& gpu) {
  if (!plan.stamps || plan.exchange_word != ExchangeWord::stamp) return "a cluster exchanges stamped words";
  if (most_cluster(gpu) < 2) return "the GPU has no clusters";
  if (plan.ctas > most_cluster(gpu)) return fmt::format("a cluster has at most {} CTAs", most_cluster(gpu));
  const int gpcs = std::max(1, gpu.sm_count / most_gpc_sms);
  const int clusters = gpcs * std::max(1, std::min(least_gpc_sms, gpu.sm_count) / plan.ctas);
  return plan.groups > clusters ? fmt::format("{} clusters fit side by side", clusters) : "";
}

}  // namespace

void refuse_wish(std::string_view name, std::int64_t wished, const std::string& possible) {
  throw Error(ErrorCode::unsupported,
              fmt::format("GPU plan: {} {} was asked for, possible is {}", name, wished, possible));
}

void refuse_choice(std::string_view name, std::initializer_list<GpuStrategy> owners) {
  std::vector<std::string_view> names;
  for (const GpuStrategy owner : owners) names.push_back(to_string(owner));
  const std::string all = fmt::format("{}", fmt::join(names, " or "));
  throw Error(
      ErrorCode::unsupported,
      fmt::format("GPU plan: {} is a choice of strategy {}: leave it out or choose {}", name, all, all));
}

void check_wishes(const Problem& problem, const GpuDescription& gpu, const GpuWishes& wishes) {
  check_wish("groups", wishes.groups, 1, gpu.sm_count);
  check_wish("ctas", wishes.ctas, 1, gpu.sm_count / wishes.groups.value_or(1));
  check_wish("group_batch", wishes.group_batch, 1, std::bit_ceil(static_cast<unsigned>(problem.batch)));
  check_wish("warps", wishes.warps, 4, 32);
  check_wish("poll_wait_cycles", wishes.poll_wait_cycles, 0, 1 << 20);
  if (wishes.warps && *wishes.warps % 4 != 0) refuse_wish("warps", *wishes.warps, "a multiple of 4");
}

std::set<int> choices(const std::optional<int>& wish, std::set<int> otherwise) {
  return wish ? std::set<int>{*wish} : std::move(otherwise);
}

std::set<int> halves(int most) {
  std::set<int> all;
  for (int n = most; n >= 1; n /= 2) all.insert(n);
  return all;
}

namespace {

std::set<int> group_choices(const Problem& problem, const GpuDescription& gpu, const GpuWishes& wishes) {
  const int most = std::min(problem.batch, gpu.sm_count);
  std::set<int> all = halves(most);
  for (int n = 2; n < most; n *= 2) all.insert(n);
  if (wishes.ctas) std::erase_if(all, [&](int groups) { return groups > gpu.sm_count / *wishes.ctas; });
  return choices(wishes.groups, std::move(all));
}

}  // namespace

std::map<int, std::set<int>> group_shapes(const Problem& problem, const GpuDescription& gpu,
                                          const GpuWishes& wishes, bool whole_words) {
  // H200, us a timestep: tanh 2304, 3 entries a group 1.60, 4 1.34; LSTM 2240, 6 3.79, LSTM 2304, 8 3.30;
  // gather, LSTM 2304 at 10 %, 3 2.12, 4 1.92.
  constexpr int most_of_word = 8;
  std::map<int, std::set<int>> shapes;
  for (const int groups : group_choices(problem, gpu, wishes)) {
    for (int entries : choices(wishes.group_batch, halves(divide_up(problem.batch, groups)))) {
      if (whole_words && !wishes.group_batch && entries <= most_of_word)
        entries = static_cast<int>(std::bit_ceil(static_cast<unsigned>(entries)));
      const int needed = divide_up(problem.batch, entries);
      shapes[wishes.groups ? groups : std::min(groups, needed)].insert(entries);
    }
  }
  return shapes;
}

std::vector<bool> cluster_choices(int ctas, const GpuDescription& gpu, const GpuWishes& wishes) {
  if (wishes.in_cluster) return {*wishes.in_cluster};
  const bool possible = most_cluster(gpu) > 1 && ctas <= most_cluster(gpu) && wishes.stamps.value_or(true);
  return possible ? std::vector{false, true} : std::vector{false};
}

std::string fill_common(GpuPlan& plan, const Problem& problem, const DirectionProblem& direction,
                        const GpuDescription& gpu, const GpuWishes& wishes, bool in_cluster) {
  plan.passes = divide_up(problem.batch, std::int64_t{plan.groups} * plan.group_batch);
  plan.exchange_word = has_free_bit(problem, direction) ? ExchangeWord::stamp : ExchangeWord::tag;
  plan.poll_wait_cycles = wishes.poll_wait_cycles.value_or(tuned_poll_wait);
  plan.stamps = wishes.stamps.value_or(true);
  plan.fence = wishes.fence.value_or(false);
  plan.in_cluster = in_cluster;

  const std::int64_t step_bytes = 4 * direction.w_hh.rows * problem.batch;
  plan.tile_steps = static_cast<int>(std::clamp<std::int64_t>(tile_bytes / step_bytes, 1, max_tile_steps));
  const auto input = [&](InputStorage storage) {
    return input_cost(storage, plan.tile_steps, problem, direction, gpu);
  };
  const bool sparse = input(InputStorage::csr) < csr_gain * input(InputStorage::dense);
  plan.w_ih = wishes.w_ih.value_or(sparse ? InputStorage::csr : InputStorage::dense);
  return in_cluster ? cluster_refusal(plan, gpu) : "";
}

std::string shared_memory_refusal(const SharedBudget& budget, int fitting) {
  return fmt::format("needs {:.0f} KiB shared memory a CTA, {:.0f} available: {}", kib(budget.total()),
                     kib(budget.available),
                     fitting > 0 ? fmt::format("batch {} would fit", fitting) : "no batch would fit");
}

void Ranking::offer(std::string candidate, int groups, const std::string& variant, const Choice& plan,
                    const std::vector<CostPart>& cost) {
  double microseconds = 0.0;
  for (const CostPart& part : cost) microseconds += part.microseconds;
  const auto same = std::find_if(feasible_.begin(), feasible_.end(), [&](const Offer& offer) {
    return offer.groups == groups && offer.variant == variant;
  });
  if (same == feasible_.end()) {
    feasible_.push_back({std::move(candidate), variant, groups, plan, cost, microseconds});
  } else if (microseconds < same->microseconds) {
    *same = {std::move(candidate), variant, groups, plan, cost, microseconds};
  }
}

void Ranking::refuse(std::string candidate, int groups, std::string reason) {
  const bool known = std::any_of(infeasible_.begin(), infeasible_.end(),
                                 [&](const Refusal& refusal) { return refusal.groups == groups; });
  if (!known) infeasible_.push_back({groups, {std::move(candidate), std::move(reason), 0.0}});
}

DirectionPlan Ranking::take(const DirectionProblem& direction) const {
  const auto cheaper = [](const auto& a, const auto& b) { return a.microseconds < b.microseconds; };
  const Offer& best = *std::min_element(feasible_.begin(), feasible_.end(), cheaper);
  DirectionPlan chosen;
  chosen.layer = direction.layer;
  chosen.reverse = direction.reverse;
  chosen.choice = best.plan;
  chosen.cost = best.cost;
  // The chosen number of groups with the other variants, and the best of each other number of groups.
  for (const Offer& offer : feasible_) {
    const bool outdone = std::any_of(feasible_.begin(), feasible_.end(), [&](const Offer& other) {
      return other.groups == offer.groups &&
             (cheaper(other, offer) || (&other < &offer && !cheaper(offer, other)));
    });
    if (&offer == &best || (offer.groups != best.groups && outdone)) continue;
    chosen.rejected.push_back({offer.candidate,
                               fmt::format("predicted {:.2f} us a timestep, the chosen plan {:.2f}",
                                           offer.microseconds, best.microseconds),
                               offer.microseconds});
  }
  std::stable_sort(chosen.rejected.begin(), chosen.rejected.end(), cheaper);
  for (const Refusal& refusal : infeasible_) {
    const bool found = std::any_of(feasible_.begin(), feasible_.end(),
                                   [&](const Offer& offer) { return offer.groups == refusal.groups; });
    if (!found) chosen.rejected.push_back(refusal.why);
  }
  return chosen;
}

}  // namespace sprnn::gpu
