// What the searches of all strategies of a GPU share: which groups there may be, what follows from them, and
// how the cheapest is taken and the others are told of.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "sprnn/plan.hpp"

namespace sprnn::gpu {

// Shared memory that the kernel uses beside the budget: barriers and flags.
inline constexpr std::int64_t reserved_shared_bytes = 1024;

[[nodiscard]] constexpr int divide_up(std::int64_t a, std::int64_t b) noexcept {
  return static_cast<int>((a + b - 1) / b);
}

[[noreturn]] void refuse_wish(std::string_view name, std::int64_t wished, const std::string& possible);
// A wish that only these strategies have.
[[noreturn]] void refuse_choice(std::string_view name, std::initializer_list<GpuStrategy> owners);
// Of those that every strategy has: throws Error(unsupported) for one that no plan can meet.
void check_wishes(const Problem& problem, const GpuDescription& gpu, const GpuWishes& wishes);

// The wish alone, or `otherwise`.
[[nodiscard]] std::set<int> choices(const std::optional<int>& wish, std::set<int> otherwise);
// Halves from `most` down to 1: neighbours cost much the same.
[[nodiscard]] std::set<int> halves(int most);
// Numbers of groups, and of batch entries of each. No more groups than have entries, unless so many are asked
// for. `whole_words`: among the entries as many as fill a word of the state; a few that are not there cost
// less than words in pieces.
[[nodiscard]] std::map<int, std::set<int>> group_shapes(const Problem& problem, const GpuDescription& gpu,
                                                        const GpuWishes& wishes, bool whole_words);

// Whether to try a group as a cluster.
[[nodiscard]] std::vector<bool> cluster_choices(int ctas, const GpuDescription& gpu, const GpuWishes& wishes);
// What a candidate's text says of it.
[[nodiscard]] constexpr std::string_view cluster_text(bool in_cluster) noexcept {
  return in_cluster ? ", in a cluster" : "";
}

// All but the counts of groups, CTAs and warps, which are set, and the two budgets. Returns why the group
// cannot be a cluster, if it shall be one; else nothing.
[[nodiscard]] std::string fill_common(GpuPlan& plan, const Problem& problem,
                                      const DirectionProblem& direction, const GpuDescription& gpu,
                                      const GpuWishes& wishes, bool in_cluster);

// The largest n in [least, end) that fits, where all below it do; 0: none.
template <class Fits>
[[nodiscard]] int most_fitting(int least, int end, const Fits& fits) {
  int low = least - 1;  // fits, or is none
  while (end - low > 1) {
    const int middle = low + (end - low) / 2;
    (fits(middle) ? low : end) = middle;
  }
  return low < least ? 0 : low;
}

// "needs 241 KiB shared memory a CTA, 227 available: batch 8 would fit"; `fitting`: 0 if none would.
[[nodiscard]] std::string shared_memory_refusal(const SharedBudget& budget, int fitting);

// The best of all candidates, the best of each other kind and its price, and why others do not work.
class Ranking {
 public:
  using Choice = decltype(DirectionPlan::choice);

  // `variant`: what distinguishes candidates with the same number of groups, "8 lanes".
  void offer(std::string candidate, int groups, const std::string& variant, const Choice& plan,
             const std::vector<CostPart>& cost);
  void refuse(std::string candidate, int groups, std::string reason);

  [[nodiscard]] bool empty() const noexcept { return feasible_.empty(); }
  [[nodiscard]] const Rejected& first_refusal() const { return infeasible_.front().why; }
  // All of a plan but its bytes.
  [[nodiscard]] DirectionPlan take(const DirectionProblem& direction) const;

 private:
  struct Offer {
    std::string candidate, variant;
    int groups;
    Choice plan;
    std::vector<CostPart> cost;
    double microseconds;
  };
  struct Refusal {
    int groups;
    Rejected why;
  };
  std::vector<Offer> feasible_;      // the best of each number of groups and variant, in the order met
  std::vector<Refusal> infeasible_;  // the first of each number of groups
};

}  // namespace sprnn::gpu
