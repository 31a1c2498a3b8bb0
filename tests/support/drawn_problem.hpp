// Random problems, the edges over-represented: what the property tests run on every engine.
#pragma once

#include "support/random_model.hpp"

namespace sprnn::test {

struct DrawnProblem {
  ModelSpec spec;
  std::int64_t batch = 1, steps = 1;
  Lengths lengths = Lengths::all_steps;
  std::uint64_t input_seed = 0;
};

// `large`: hidden sizes up to 1024 for 2 steps; else up to 150 for up to 20.
[[nodiscard]] DrawnProblem draw_problem(std::uint64_t seed, bool large);

[[nodiscard]] std::string to_string(const DrawnProblem& problem);  // in one line

}  // namespace sprnn::test
