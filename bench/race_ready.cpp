#include "bench/race_ready.hpp"

#include <algorithm>

#include "bench/workload.hpp"

namespace sprnn::bench {
namespace {

Matrix identity_a_gate(std::int64_t gates, std::int64_t hidden) {
  Matrix matrix{gates * hidden, hidden,
                std::vector<float>(static_cast<std::size_t>(gates * hidden * hidden))};
  for (std::int64_t r = 0; r < matrix.rows; ++r) matrix.row(r)[r % hidden] = 1.0F;
  return matrix;
}

}  // namespace

Model race_model(const RaceCase& entered) {
  LayerSpec spec = entered.layer;
  if (!entered.whole_layer) spec.input_size = 1;
  Model model = random_model(spec, entered.seed);
  if (entered.whole_layer) return model;
  model.input_size = spec.hidden_size;
  model.layers.front().directions.front().w_ih = identity_a_gate(spec.cell.gates(), spec.hidden_size);
  return model;
}

ReadyCase make_ready(const RaceCase& entered, const Device& device) {
  ReadyCase ready;
  ready.entered = entered;
  ready.model = race_model(entered);
  const Plan plan =
      make_plan(describe(ready.model, entered.batch), device, {.cpu = {}, .gpu = entered.wishes});
  ready.packed = std::make_shared<const Packed>(pack(ready.model, plan));
  BenchOptions options;
  options.batch = entered.batch;
  options.steps = many_steps;
  options.seed = entered.seed;
  ready.workload = random_workload(ready.model, options);
  ready.workload.lengths = {many_steps, few_steps, short_steps};
  // As many as the reference does in a second or so.
  const Matrix& w = ready.model.layers.front().directions.front().w_hh;
  ready.checked_steps = std::clamp<std::int64_t>(1'000'000'000 / (w.rows * w.cols), 8, short_steps);
  ready.reference = reference_output(ready.model, ready.workload, ready.checked_steps);
  return ready;
}

}  // namespace sprnn::bench
