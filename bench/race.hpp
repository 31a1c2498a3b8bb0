// The race itself: contestants take turns, and only the one whose turn it is is awake.
#pragma once

#include <span>
#include <vector>

#include "bench/bench.hpp"
#include "bench/contestant.hpp"
#include "bench/peers/peer.hpp"

namespace sprnn::bench {

inline constexpr double default_turn_us = 60e3;

// Each contestant gets `rounds` turns; in a turn each length is run once untimed and then at least once
// timed, for about `turn_us`. All must be asleep at the start and are at the end. Timings in the order of the
// contestants.
[[nodiscard]] std::vector<Timing> race(std::span<Contestant* const> contestants, const Workload& workload,
                                       int rounds, const Progress& progress,
                                       double turn_us = default_turn_us);

// One contestant on its own, awake before and after: median microseconds a step at the longest length.
[[nodiscard]] double run_alone(Contestant& contestant, const Workload& workload);

// Throws Error(interrupted) if the caller's progress callback asks to stop.
void tell(const Progress& progress, double done, std::string_view what);

[[nodiscard]] double median(std::vector<double> values);

}  // namespace sprnn::bench
