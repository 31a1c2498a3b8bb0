#include "engines/cpu/session.hpp"

#include <algorithm>
#include <optional>

#include "engines/cpu/turns.hpp"
#include "engines/cpu/worker.hpp"
#include "plan/cpu_cost.hpp"

namespace sprnn::cpu {

namespace {

// A run of many timesteps is done in parts about this long: after each it may go on with more or fewer
// workers, or others have their turn. A part costs about 1 us to begin, and on crowded cores a turn of the
// scheduler.
constexpr double part_us = 2000;

}  // namespace

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
  const Workspace w = workspace_of(problem_, options.batch);
  tile_steps_ = w.tile_steps;
  weights_changed();
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
  for (const DirectionData& direction : directions_) most = std::max(most, direction.shares.front().workers);
  return most;
}

void CpuSession::weights_changed() {
  std::vector<DirectionData> directions;
  std::vector<double> costs{0.0};
  for (std::size_t d = 0; d < packed_->directions.size(); ++d) {
    const DirectionProblem& problem = packed_->plan.problem.directions[d];
    const auto& layouts = std::get<CpuPlan>(packed_->plan.directions[d].choice);
    const int workers = all_work_ ? std::min(team_.size(), most_workers(problem))
                                  : best_workers(problem, layouts, batch_, cpu_);
    const auto cost = [&](int count) { return step_cost(problem, layouts, batch_, count, cpu_).total(); };
    std::vector<int> halved;
    for (int count = workers; count > 0; count /= 2) halved.push_back(count);
    DirectionData& data = directions.emplace_back(*packed_, d, halved);
    data.part_steps = round_up(static_cast<std::int64_t>(part_us / cost(workers)) + 1, tile_steps_);
    // Where one direction has no workers left to halve, others may.
    while (costs.size() < halved.size()) costs.push_back(costs.back());
    for (std::size_t i = 0; i < costs.size(); ++i) costs[i] += cost(halved[std::min(i, halved.size() - 1)]);
  }
  directions_ = std::move(directions);
  crowding_.set_costs(std::move(costs));
}

void CpuSession::run_direction(std::size_t direction, const DirectionRun& run) {
  const DirectionData& data = directions_[direction];
  const int workers = data.shares.front().workers;
  if (workers == 1) return run_part(direction, run);
  // Where fewer workers do not pay, others have the cores in turn. A single timestep would wait longer than
  // it takes.
  const bool in_turns = !crowding_.can_halve() && run.end - run.begin >= data.part_steps / 4;
  DirectionRun part = run;
  for (part.end = run.begin; part.end < run.end;) {
    part.begin = part.end;
    part.end = std::min(part.begin + data.part_steps, run.end);
    std::optional<Turn> turn;
    if (in_turns) turn.emplace(Turns::of_process(), workers);
    run_part(direction, part);
  }
}

void CpuSession::run_part(std::size_t direction, const DirectionRun& run) {
  const DirectionData& data = directions_[direction];
  const auto halvings = static_cast<std::size_t>(crowding_.halvings());
  Task task{this, &data, &data.shares[std::min(halvings, data.shares.size() - 1)], &run};
  if (halvings == 0) {
    team_.run(work, &task, task.shares->workers);
    // The clock takes as long as a hundredth of a short call.
    const Crowding::Duration waited = team_.waited();
    if (waited == Crowding::Duration::zero() || !crowding_.can_halve()) return;
    const Crowding::Time now = Crowding::Clock::now();
    return crowding_.ran({now - waited, now, waited});
  }
  const Crowding::Time begin = Crowding::Clock::now();
  team_.run(work, &task, task.shares->workers);
  crowding_.ran({begin, Crowding::Clock::now(), team_.waited()});
}

void CpuSession::work(void* task, int worker) noexcept {
  const Task& t = *static_cast<const Task*>(task);
  Worker(*t.session, *t.data, *t.shares, *t.run, worker).run();
}

}  // namespace sprnn::cpu
