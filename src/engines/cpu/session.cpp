#include "engines/cpu/session.hpp"

#include <algorithm>

#include "engines/cpu/worker.hpp"
#include "plan/cpu_cost.hpp"

namespace sprnn::cpu {

Exchange::Exchange(std::int64_t samples, std::int64_t values)
    : rows(by_rows(samples, values)), columns(by_columns(samples, values)) {}

CpuSession::CpuSession(const std::shared_ptr<const Packed>& packed, const SessionOptions& options,
                       const Kernels& kernels)
    : LayeredSession(packed, options.batch, workspace_of(packed->plan.problem, options.batch).layer_steps),
      kernels_(kernels),
      cpu_(this_cpu().cpu()),
      all_work_(options.threads > 0),
      team_(options.threads > 0 ? options.threads : cpu_.threads) {
  cpu_.isa = kernels.isa;
  cpu_.threads = team_.size();
  weights_changed();
  const Workspace w = workspace_of(problem_, options.batch);
  tile_steps_ = w.tile_steps;
  x_ = Exchange(w.samples, w.inputs);
  for (Exchange& h : h_) h = Exchange(options.batch, w.state);
  if (w.inner > 0) inner_ = Exchange(options.batch, w.inner);
  pre_ = Buffer(by_rows(w.samples, w.gates));
  if (w.cells > 0) c_ = Buffer(by_rows(options.batch, w.cells));
  sources_.assign(static_cast<std::size_t>(team_.size()),
                  std::vector<const float*>(static_cast<std::size_t>(w.samples)));
}

int CpuSession::threads_at_work() const noexcept {
  int most = 1;
  for (const DirectionData& direction : directions_) most = std::max(most, direction.workers);
  return most;
}

void CpuSession::weights_changed() {
  std::vector<DirectionData> directions;
  for (std::size_t d = 0; d < packed_->directions.size(); ++d) {
    const DirectionProblem& problem = packed_->plan.problem.directions[d];
    const int workers =
        all_work_
            ? std::min(team_.size(), most_workers(problem))
            : best_workers(problem, std::get<CpuPlan>(packed_->plan.directions[d].choice), batch_, cpu_);
    directions.emplace_back(*packed_, d, workers);
  }
  directions_ = std::move(directions);
}

void CpuSession::run_direction(std::size_t direction, const DirectionRun& run) {
  Task task{this, &directions_[direction], &run};
  team_.run(work, &task, task.data->workers);
}

void CpuSession::work(void* task, int worker) noexcept {
  const Task& t = *static_cast<const Task*>(task);
  Worker(*t.session, *t.data, *t.run, worker).run();
}

}  // namespace sprnn::cpu
