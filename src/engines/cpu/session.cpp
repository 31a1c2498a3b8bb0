#include "engines/cpu/session.hpp"

#include <algorithm>

#include "engines/cpu/worker.hpp"

namespace sprnn::cpu {

namespace {

// A pass over the weights of the input projection serves this many samples, or one timestep.
constexpr std::int64_t projection_samples = 32;
// An intermediate layer's output is held for this many timesteps at a time, so that starting the team (a few
// microseconds) is little beside them; for fewer of a large batch, whose steps are long and whose outputs
// are large (128 steps of 4096 sequences of 1024 units are 2 GiB).
constexpr std::int64_t layer_steps = 128;
constexpr std::int64_t layer_samples = 4096;

std::int64_t steps_of(int batch) { return std::max<std::int64_t>(projection_samples / batch, 1); }

std::int64_t layer_steps_of(int batch) {
  return std::clamp<std::int64_t>(layer_samples / batch, 1, layer_steps);
}

int workers_of(const Packed& packed, const SessionOptions& options) {
  const int most = most_workers(packed);
  if (options.threads > 0) return std::min(options.threads, most);
  return useful_workers(packed, options.batch, std::min(this_cpu().cpu().threads, most));
}

}  // namespace

Exchange::Exchange(std::int64_t samples, std::int64_t values)
    : rows(samples * row_stride(values)), columns(round_up(samples, 16) * round_up(values, 16)) {}

CpuSession::CpuSession(std::shared_ptr<const Packed> packed, const SessionOptions& options,
                       const Kernels& kernels)
    : LayeredSession(std::move(packed), options.batch, layer_steps_of(options.batch)),
      kernels_(kernels),
      tile_steps_(steps_of(options.batch)),
      team_(workers_of(*packed_, options)) {
  weights_changed();
  const std::int64_t batch = options.batch;
  const std::int64_t samples = tile_steps_ * batch;
  std::int64_t inputs = 0, pre = 0;
  bool inner = false;
  for (const DirectionData& d : directions_) {
    inputs = std::max(inputs, d.inputs);
    pre = std::max(pre, d.blocks * round_up(d.units, cpu_group_rows));
    inner = inner || d.projected() || d.cell->reset_before_product;
  }
  const DirectionData& any = directions_.front();
  x_ = Exchange(samples, inputs);
  for (Exchange& h : h_) h = Exchange(batch, any.state);
  if (inner) inner_ = Exchange(batch, any.units);
  pre_ = Buffer(samples * row_stride(pre));
  if (any.cell->kind == CellKind::lstm) c_ = Buffer(batch * row_stride(any.units));
  sources_.assign(static_cast<std::size_t>(team_.size()),
                  std::vector<const float*>(static_cast<std::size_t>(samples)));
}

void CpuSession::weights_changed() {
  std::vector<DirectionData> directions;
  for (std::size_t d = 0; d < packed_->directions.size(); ++d) {
    directions.emplace_back(*packed_, d, team_.size());
  }
  directions_ = std::move(directions);
}

void CpuSession::run_direction(std::size_t direction, const DirectionRun& run) {
  Task task{this, &directions_[direction], &run};
  team_.run(work, &task);
}

void CpuSession::work(void* task, int worker) noexcept {
  const Task& t = *static_cast<const Task*>(task);
  Worker(*t.session, *t.data, *t.run, worker).run();
}

}  // namespace sprnn::cpu
