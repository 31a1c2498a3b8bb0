#include "bench/workload.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/memory.hpp"
#include "bench/random.hpp"
#include "engines/reference/reference.hpp"

namespace sprnn::bench {

void require_valid(const BenchOptions& options) {
  const auto require = [](std::string_view name, std::int64_t value, std::int64_t most) {
    if (value >= 1 && value <= most) return;
    throw Error(ErrorCode::invalid_argument, fmt::format("{} is {}, expected 1 to {}", name, value, most));
  };
  require("batch", options.batch, max_batch);
  require("steps", options.steps, max_steps);
  require("rounds", options.rounds, 1000);
}

std::vector<std::int64_t> timed_lengths(std::int64_t steps) {
  if (steps < 10) return {steps};
  return {steps, steps / 5};
}

Workload random_workload(const Model& model, const BenchOptions& options) {
  Workload workload{
      .batch = options.batch, .lengths = timed_lengths(options.steps), .input_sets = 3, .x = {}};
  require_memory(fmt::format("{} steps of batch {}, input {}, hidden {}", options.steps, options.batch,
                             model.input_size, model.hidden_size),
                 sizeof(float) * static_cast<double>(options.steps) * options.batch *
                     static_cast<double>(model.input_size + model.output_size()));
  std::mt19937_64 random(options.seed + 1);  // not the weights' numbers again
  workload.x.resize((options.steps + workload.input_sets - 1) * options.batch * model.input_size);
  for (float& value : workload.x) value = uniform(random);
  round_to(model.dtype, workload.x);
  return workload;
}

std::vector<double> reference_output(const Model& model, const Workload& workload, std::int64_t steps) {
  const auto count = steps * workload.batch * model.input_size;
  const std::vector<double> x(workload.x.begin(), workload.x.begin() + count);
  return reference::run(model, steps, workload.batch, x.data(), nullptr, {}, this_cpu().cpu().threads).y;
}

double relative_error(std::span<const float> y, std::span<const double> reference) {
  double difference = 0.0, norm = 0.0;
  for (std::size_t i = 0; i < reference.size(); ++i) {
    difference += (y[i] - reference[i]) * (y[i] - reference[i]);
    norm += reference[i] * reference[i];
  }
  // The NaN of inf / inf has a sign, which would be printed.
  return difference == 0.0 ? 0.0 : std::abs(std::sqrt(difference / norm));
}

std::int64_t checked_steps(const Model& model, const Workload& workload) {
  const std::int64_t shortest = workload.lengths.back();
  return model.is_streamable() ? std::min<std::int64_t>(shortest, 8) : shortest;
}

}  // namespace sprnn::bench
