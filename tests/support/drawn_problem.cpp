#include "support/drawn_problem.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sprnn::test {

namespace {

template <class T>
const T& one_of(Random& random, const std::vector<T>& choices) {
  return choices[static_cast<std::size_t>(random.integer(0, std::ssize(choices) - 1))];
}

// Sizes with the edges over-represented: 1, primes, one beside a multiple of the vector and tile widths.
std::int64_t draw_size(Random& random, std::int64_t most) {
  static const std::vector<std::int64_t> edges = {1, 2, 3, 7, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129};
  if (random.chance(0.5)) return std::min(one_of(random, edges), most);
  return random.integer(1, most);
}

ModelSpec draw_spec(Random& random, std::int64_t most) {
  ModelSpec spec;
  spec.cell = one_of(random, standard_cells());
  spec.dtype = static_cast<DType>(random.integer(0, 2));
  spec.input = draw_size(random, most);
  spec.hidden = draw_size(random, most);
  if (spec.cell.kind == CellKind::lstm && spec.hidden > 1 && random.chance(0.3)) {
    spec.projection = random.integer(1, spec.hidden - 1);
  }
  spec.layers = random.chance(0.3) ? random.integer(2, 3) : 1;
  spec.directions = static_cast<Directions>(random.integer(0, 2));
  spec.bias = random.chance(0.7);
  spec.density = one_of<double>(random, {0.0, 0.01, 0.1, 0.3, 0.5, 1.0, random.uniform()});
  if (random.chance(0.5)) spec.input_density = one_of<double>(random, {0.0, 0.1, 1.0});
  spec.mask = static_cast<Mask>(random.integer(0, 5));
  spec.block_rows = one_of<std::int64_t>(random, {1, 4, 8, 16});
  spec.block_cols = one_of<std::int64_t>(random, {1, 2, 4});
  spec.seed = random.bits();
  return spec;
}

}  // namespace

DrawnProblem draw_problem(std::uint64_t seed, bool large) {
  Random random(seed);
  DrawnProblem problem;
  problem.spec = draw_spec(random, large ? 1024 : 150);
  problem.batch = random.integer(1, 32);
  problem.steps = large ? 2 : random.integer(1, 20);
  problem.lengths = random.chance(0.4) ? Lengths::mixed : Lengths::all_steps;
  problem.input_seed = random.bits();
  return problem;
}

std::string to_string(const DrawnProblem& problem) {
  return fmt::format("{} steps, batch {}{}, {}", problem.steps, problem.batch,
                     problem.lengths == Lengths::mixed ? ", lengths" : "", to_string(problem.spec));
}

}  // namespace sprnn::test
