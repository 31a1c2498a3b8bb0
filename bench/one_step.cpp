// one_step MODEL.sprnn THREADS CALLS: the median microseconds of a call with a single timestep, for
// bench/python_call.py to compare with the same call from Python. The model must be one that takes chunks (no
// reverse direction).
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <vector>

#include "sprnn/engine.hpp"
#include "sprnn/error.hpp"

int main(int argc, char** argv) try {
  if (argc != 4) {
    std::fprintf(stderr, "usage: one_step MODEL.sprnn THREADS CALLS\n");
    return 2;
  }
  const auto packed = std::make_shared<const sprnn::Packed>(sprnn::load_packed(argv[1]));
  const sprnn::Problem& problem = packed->plan.problem;
  const auto session =
      sprnn::find_engine("cpu", packed->plan).session(packed, {.batch = 1, .threads = std::atoi(argv[2])});
  const std::vector<float> x(static_cast<std::size_t>(problem.input_size), 0.5F);
  std::vector<float> y(problem.directions.size() * static_cast<std::size_t>(problem.hidden_size));

  constexpr int batches = 15;
  const int calls = std::atoi(argv[3]);  // a batch
  std::vector<double> microseconds;
  for (int b = 0; b < batches; ++b) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < calls; ++i) session->run({.steps = 1, .x = x.data(), .y = y.data()});
    const std::chrono::duration<double, std::micro> elapsed = std::chrono::steady_clock::now() - begin;
    microseconds.push_back(elapsed.count() / calls);
  }
  std::nth_element(microseconds.begin(), microseconds.begin() + batches / 2, microseconds.end());
  std::printf("%.3f\n", microseconds[batches / 2]);
} catch (const sprnn::Error& error) {
  std::fprintf(stderr, "one_step: %s\n", error.what());
  return 2;
}
