#include "bench/race.hpp"

#include <algorithm>
#include <cmath>

#include "sprnn/error.hpp"

namespace sprnn::bench {
namespace {

// Of one length in one turn. The run before the timed ones brings threads, caches and weights back.
std::vector<double> take_turn(Contestant& contestant, const Workload& workload, std::size_t length,
                              std::size_t first_set, double turn_us) {
  constexpr double most = 20.0;
  const auto sets = static_cast<std::size_t>(workload.input_sets);
  const double warm = contestant.run(length, first_set % sets);
  const auto repeats = static_cast<std::size_t>(std::clamp(turn_us / warm, 1.0, most));
  std::vector<double> times;
  for (std::size_t i = 0; i < repeats; ++i) times.push_back(contestant.run(length, (first_set + i) % sets));
  return times;
}

Timing summarise(const std::vector<std::vector<double>>& times, const std::vector<std::int64_t>& lengths) {
  const auto steps = static_cast<double>(lengths.front());
  const double at_long = median(times.front());
  Timing timing;
  timing.us_per_step = at_long / steps;
  timing.us_per_step_min = *std::min_element(times.front().begin(), times.front().end()) / steps;
  timing.repeats = static_cast<int>(times.front().size());
  for (const std::vector<double>& of_length : times) timing.run_us.push_back(median(of_length));
  if (lengths.size() >= 2) {
    const auto fewer = static_cast<double>(lengths[1]);
    timing.slope_us_per_step = (at_long - timing.run_us[1]) / (steps - fewer);
    timing.intercept_us = at_long - *timing.slope_us_per_step * steps;
  }
  return timing;
}

}  // namespace

void tell(const Progress& progress, double done, std::string_view what) {
  if (progress && !progress(done, what)) throw Error(ErrorCode::interrupted, "the benchmark was interrupted");
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2.0;
}

std::vector<Timing> race(std::span<Contestant* const> contestants, const Workload& workload, int rounds,
                         const Progress& progress, double turn_us) {
  const std::size_t lengths = workload.lengths.size();
  std::vector<std::vector<std::vector<double>>> times(contestants.size(),
                                                      std::vector<std::vector<double>>(lengths));
  const double turns = static_cast<double>(rounds) * static_cast<double>(contestants.size());
  double done = 0.0;
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t c = 0; c < contestants.size(); ++c) {
      tell(progress, done++ / turns, "racing");
      contestants[c]->wake();
      for (std::size_t length = 0; length < lengths; ++length) {
        const auto turn =
            take_turn(*contestants[c], workload, length, static_cast<std::size_t>(round), turn_us);
        times[c][length].insert(times[c][length].end(), turn.begin(), turn.end());
      }
      contestants[c]->sleep();
    }
  }
  tell(progress, 1.0, "racing");
  std::vector<Timing> timings;
  for (const auto& of_contestant : times) timings.push_back(summarise(of_contestant, workload.lengths));
  return timings;
}

double run_alone(Contestant& contestant, const Workload& workload) {
  // Long enough that a slow moment of the machine does not set the median.
  constexpr std::size_t turns = 3;
  constexpr double least_us = 300e3;
  std::vector<double> times;
  double total = 0.0;
  for (std::size_t turn = 0; turn < turns || total < least_us; ++turn) {
    for (const double time : take_turn(contestant, workload, 0, turn, default_turn_us)) {
      times.push_back(time);
      total += time;
    }
  }
  return median(std::move(times)) / static_cast<double>(workload.lengths.front());
}

}  // namespace sprnn::bench
