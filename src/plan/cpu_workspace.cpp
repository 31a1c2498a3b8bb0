#include "plan/cpu_workspace.hpp"

#include "plan/cpu_cost.hpp"

namespace sprnn::cpu {

namespace {

// An intermediate layer's output is held for this many timesteps at a time, so that starting the team (a few
// microseconds) is little beside them; for fewer of a large batch, whose steps are long and whose outputs
// are large (128 steps of 4096 sequences of 1024 units are 2 GiB).
constexpr std::int64_t layer_steps = 128;
constexpr std::int64_t layer_samples = 4096;

}  // namespace

Workspace workspace_of(const Problem& problem, int batch) {
  Workspace w;
  w.samples = projection_samples(batch);
  w.tile_steps = w.samples / batch;
  w.layer_steps = std::clamp<std::int64_t>(layer_samples / batch, 1, layer_steps);
  for (const DirectionProblem& d : problem.directions) {
    w.inputs = std::max(w.inputs, d.w_ih.cols);
    w.state = d.w_hh.cols;
    if (d.w_hr.rows > 0 || d.cell.reset_before_product) w.inner = problem.hidden_size;
    w.gates = std::max(w.gates, gate_blocks(d.cell) * round_up(problem.hidden_size, cpu_group_rows));
    if (d.cell.kind == CellKind::lstm) w.cells = problem.hidden_size;
  }
  return w;
}

std::int64_t workspace_bytes(const Problem& problem, int batch, int threads) {
  const Workspace w = workspace_of(problem, batch);
  const auto exchange = [](std::int64_t samples, std::int64_t values) {
    return by_rows(samples, values) + by_columns(samples, values);
  };
  std::int64_t floats =
      exchange(w.samples, w.inputs) + 2 * exchange(batch, w.state) + by_rows(w.samples, w.gates);
  if (w.inner > 0) floats += exchange(batch, w.inner);
  if (w.cells > 0) floats += by_rows(batch, w.cells);
  bool streamable = true;
  std::int64_t layers = 0;
  for (const DirectionProblem& d : problem.directions) {
    floats += gate_blocks(d.cell) * round_up(problem.hidden_size, cpu_group_rows);  // biases
    streamable = streamable && !d.reverse;
    layers = std::max<std::int64_t>(layers, d.layer + 1);
  }
  if (streamable) floats += std::min<std::int64_t>(layers - 1, 2) * w.layer_steps * batch * w.state;
  const auto pointers = static_cast<std::int64_t>(sizeof(const float*));
  return floats * static_cast<std::int64_t>(sizeof(float)) + threads * w.samples * pointers;
}

}  // namespace sprnn::cpu
