// What a race needs besides its contestants: input, and the right answer to judge outputs by.
#pragma once

#include <span>
#include <vector>

#include "bench/bench.hpp"
#include "bench/peers/peer.hpp"

namespace sprnn::bench {

// Throws Error(invalid_argument) for options out of range.
void require_valid(const BenchOptions& options);

// Random input, rounded to the model's type, so that every contestant reads the same numbers.
[[nodiscard]] Workload random_workload(const Model& model, const BenchOptions& options);
// The lengths that are timed: all steps and, for the slope, a fifth of them.
[[nodiscard]] std::vector<std::int64_t> timed_lengths(std::int64_t steps);

// The float64 reference's output on input set 0: [steps, B, D*R].
[[nodiscard]] std::vector<double> reference_output(const Model& model, const Workload& workload,
                                                   std::int64_t steps);
// ||y - reference|| / ||reference|| over the reference's steps, y's first ones.
[[nodiscard]] double relative_error(std::span<const float> y, std::span<const double> reference);

// Enough to show that a contestant computes this layer; a reverse direction needs the whole sequence.
[[nodiscard]] std::int64_t checked_steps(const Model& model, const Workload& workload);

}  // namespace sprnn::bench
