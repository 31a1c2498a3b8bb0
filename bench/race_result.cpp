#include "bench/race_result.hpp"

#include <algorithm>

namespace sprnn::bench {

std::vector<std::size_t> finalists(std::span<const Attempt> attempts, std::size_t most, double within) {
  std::vector<std::size_t> chosen;
  for (std::size_t i = 0; i < attempts.size(); ++i) {
    if (attempts[i].refused.empty()) chosen.push_back(i);
  }
  std::stable_sort(chosen.begin(), chosen.end(), [&](std::size_t a, std::size_t b) {
    return attempts[a].tried_us_per_step < attempts[b].tried_us_per_step;
  });
  const auto close = [&](std::size_t i) {
    return attempts[i].tried_us_per_step <= within * attempts[chosen.front()].tried_us_per_step;
  };
  chosen.erase(std::find_if_not(chosen.begin(), chosen.end(), close), chosen.end());
  if (chosen.size() > most) chosen.resize(most);
  return chosen;
}

const Attempt* best_attempt(const Rival& rival) {
  const Attempt* best = nullptr;
  for (const Attempt& attempt : rival.attempts) {
    if (!attempt.timing) continue;
    if (best == nullptr || *attempt.timing->slope_us_per_step < *best->timing->slope_us_per_step)
      best = &attempt;
  }
  return best;
}

}  // namespace sprnn::bench
