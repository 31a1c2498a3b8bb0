#include "engines/cpu/direction.hpp"

#include <algorithm>

#include "base/float_environment.hpp"

namespace sprnn::cpu {

namespace {

// Stored values of group j of all gates, from `view`.
double group_work(const MatrixView& view, std::int64_t j) {
  double work = 0;
  const MatrixShape& shape = view.shape;
  for (std::int64_t gate = 0; gate < shape.gates; ++gate) {
    const std::int64_t group = gate * shape.groups_per_gate() + j;
    switch (view.layout) {
      case CpuLayout::none:
        break;
      case CpuLayout::dense:
        work += static_cast<double>(shape.cols * cpu_group_rows);
        break;
      case CpuLayout::columns:
        work +=
            static_cast<double>((view.starts[group + 1] - view.starts[group]) * column_step * cpu_group_rows);
        break;
      case CpuLayout::tile:
        work +=
            static_cast<double>((view.starts[group + 1] - view.starts[group]) * tile_step * cpu_group_rows);
        break;
      case CpuLayout::row: {
        const std::int64_t first = gate * shape.units + j * cpu_group_rows;
        const std::int64_t last = gate * shape.units + std::min((j + 1) * cpu_group_rows, shape.units);
        work += static_cast<double>((view.starts[last] - view.starts[first]) * row_step);
        break;
      }
    }
  }
  return work;
}

// Cuts the groups into consecutive runs of like work; every worker gets one group at least.
Bounds split(const std::vector<double>& work, int workers) {
  double total = 0;
  for (const double w : work) total += w;
  const auto groups = static_cast<std::int64_t>(work.size());
  Bounds bounds{0};
  double done = 0;
  std::int64_t at = 0;
  for (int worker = 1; worker < workers; ++worker) {
    const double goal = total * worker / workers;
    const std::int64_t last = groups - (workers - worker);
    do {
      done += work[static_cast<std::size_t>(at++)];
    } while (at < last && done + work[static_cast<std::size_t>(at)] / 2 < goal);
    bounds.push_back(at);
  }
  bounds.push_back(groups);
  return bounds;
}

}  // namespace

DirectionData::DirectionData(const Packed& packed, std::size_t direction, const std::vector<int>& workers) {
  const Problem& problem = packed.plan.problem;
  const DirectionPlan& plan = packed.plan.directions[direction];
  const PackedDirection& weights = packed.directions[direction];
  const auto& choice = std::get<CpuPlan>(plan.choice);
  const DirectionShapes shapes = shapes_of(problem, plan);
  cell = &problem.directions[direction].cell;
  standard = cell->is_standard() && weights.peephole.empty();
  reverse = plan.reverse;
  w_ih = view_matrix(weights.sections, shapes.w_ih, choice.w_ih, "w_ih");
  w_hh = view_matrix(weights.sections, shapes.w_hh, choice.w_hh, "w_hh");
  w_hr = view_matrix(weights.sections, shapes.w_hr, choice.w_hr, "w_hr");
  units = problem.hidden_size;
  state = shapes.w_hh.cols;
  inputs = shapes.w_ih.cols;
  peephole = weights.peephole.empty() ? nullptr : weights.peephole.data();

  const DefaultFloatEnvironment environment;
  blocks = gate_blocks(*cell);
  const std::int64_t padded = round_up(units, cpu_group_rows);
  bias = Buffer(blocks * padded);
  for (std::int64_t r = 0; r < static_cast<std::int64_t>(weights.b_ih.size()); ++r) {
    const std::int64_t gate = r / units;
    const auto at = static_cast<std::size_t>(r);
    const bool apart = separate_n() && gate == 2;
    float* to = bias.data() + gate * padded + r % units;
    // Adding +0.0 turns -0.0 to +0.0: products and padding then agree on the sign of zero.
    to[0] = weights.b_ih[at] + (apart ? 0.0F : weights.b_hh[at]) + 0.0F;
    if (apart) to[padded] = weights.b_hh[at] + 0.0F;
  }

  std::vector<double> unit_work, state_work;
  for (std::int64_t j = 0; j < shapes.w_hh.groups_per_gate(); ++j) {
    // The input projection costs about a third as much a value; 16 cell updates as much as 512 values.
    unit_work.push_back(512 + group_work(w_hh, j) + 0.3 * group_work(w_ih, j));
  }
  for (std::int64_t j = 0; projected() && j < shapes.w_hr.groups(); ++j) {
    state_work.push_back(16 + group_work(w_hr, j));
  }
  for (const int count : workers) {
    Shares& to = shares.emplace_back(Shares{count, split(unit_work, count), {}});
    if (!projected()) continue;
    // With fewer groups than workers the last ones own none.
    to.state_groups =
        split(state_work, static_cast<int>(std::min<std::int64_t>(count, shapes.w_hr.groups())));
    to.state_groups.resize(static_cast<std::size_t>(count) + 1, shapes.w_hr.groups());
  }
}

}  // namespace sprnn::cpu
