#include "engines/cuda/tuning.hpp"

#include <algorithm>
#include <array>
#include <limits>
#include <map>
#include <mutex>
#include <optional>

namespace sprnn::cuda {

namespace {

constexpr std::array waits = {0, 50, 100, 150, 200, 250, 300, 400, 500, 600, 700, 800, 1000, 1200, 1500};
constexpr std::int64_t few_steps = 128, many_steps = 512;
// Where the timesteps take as long as this, some 80 us each, no wait makes a difference that is worth
// measuring.
constexpr double too_long_us = 1e4;
constexpr int short_runs = 2, long_runs = 3;
constexpr double long_run_us = 1500.0;
// Of those behind the least of short runs.
constexpr std::size_t more_waits = 5;
// Times as long as the next wait: with a little less of it polls come too early.
constexpr double cliff = 1.1;

using Times = std::array<double, waits.size()>;

std::size_t least_of(const Times& times) {
  return static_cast<std::size_t>(std::min_element(times.begin(), times.end()) - times.begin());
}

std::optional<int> measured_wait(const TimedRun& time) {
  constexpr double unknown = std::numeric_limits<double>::infinity();
  Times least{};
  least.fill(unknown);
  for (int run = 0; run < short_runs; ++run) {
    for (std::size_t i = 0; i < waits.size(); ++i) {
      least[i] = std::min(least[i], time(waits[i], few_steps));
      if (i > 0 && least[i] > too_long_us) return std::nullopt;  // the first may be a kernel's first launch
    }
  }
  // A wait that is a little too short is the best of a lucky run and the worst of most others.
  const std::size_t found = least_of(least), first = found > 0 ? found - 1 : 0;
  const std::size_t end = std::min(waits.size(), found + 1 + more_waits);
  const double steps = long_run_us / least[found] * few_steps;
  const auto run_steps = static_cast<std::int64_t>(std::clamp<double>(steps, few_steps, many_steps));
  Times worst{};
  worst.fill(unknown);
  for (int run = 0; run < long_runs; ++run) {
    for (std::size_t i = first; i < end; ++i)
      worst[i] = std::max(run == 0 ? 0.0 : worst[i], time(waits[i], run_steps));
  }
  const std::size_t best = least_of(worst);
  const bool at_cliff = best > first && worst[best - 1] > cliff * worst[best];
  return waits[at_cliff && best + 1 < end ? best + 1 : best];
}

}  // namespace

int tuned_wait(const std::string& key, const TimedRun& time) {
  static std::mutex mutex;
  static std::map<std::string, int> known;
  {
    const std::lock_guard lock(mutex);
    if (const auto found = known.find(key); found != known.end()) return found->second;
  }
  const std::optional<int> best = measured_wait(time);
  if (!best) return middling_wait;
  const std::lock_guard lock(mutex);
  known.emplace(key, *best);
  return *best;
}

}  // namespace sprnn::cuda
