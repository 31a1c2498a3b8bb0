// What a timestep is predicted to cost on the CPU engine. The planner compares layouts by it, the engine
// decides by it how many of a session's threads work on a direction.
#pragma once

#include <cstdint>

#include "sprnn/device.hpp"
#include "sprnn/plan.hpp"

namespace sprnn::cpu {

struct Work {
  double cycles = 0.0;  // of one thread doing everything
  double bytes = 0.0;   // of weights read
};

[[nodiscard]] constexpr Work operator+(const Work& a, const Work& b) {
  return {a.cycles + b.cycles, a.bytes + b.bytes};
}

// One pass over the matrix for `samples` vectors at once.
[[nodiscard]] Work work_of(CpuLayout layout, const MatrixSummary& matrix, std::int64_t samples,
                           const CpuDescription& cpu);
// Shared by `workers` threads.
[[nodiscard]] double microseconds(const Work& work, int workers, const CpuDescription& cpu);

// Timesteps x batch that share one pass over w_ih in a long sequence.
[[nodiscard]] std::int64_t projection_samples(int batch);

// Microseconds a timestep of a long sequence.
struct StepCost {
  double input_projection = 0.0, product = 0.0, projection = 0.0, cell_update = 0.0, exchange = 0.0;
  [[nodiscard]] double total() const {
    return input_projection + product + projection + cell_update + exchange;
  }
};

[[nodiscard]] StepCost step_cost(const DirectionProblem& direction, const CpuPlan& layouts, int batch,
                                 int workers, const CpuDescription& cpu);

// How many of `cpu.threads` make a timestep shortest: another one costs in meeting what it saves in work.
[[nodiscard]] int best_workers(const DirectionProblem& direction, const CpuPlan& layouts, int batch,
                               const CpuDescription& cpu);
// The most that can own anything: a worker owns groups of 16 units.
[[nodiscard]] int most_workers(const DirectionProblem& direction);

}  // namespace sprnn::cpu
