#include "plan/cpu_cost.hpp"

#include <algorithm>
#include <array>

namespace sprnn::cpu {

namespace {

// A core that the constants below were measured on: docs/cpu.md has the table behind each of them.
constexpr double cycles_per_us = 3000.0;
constexpr double l2_bytes_per_cycle = 40.0;
constexpr double l3_bytes_per_cycle = 10.5;
constexpr double cell_cycles_per_unit = 10.0;
// Two workers were measured at 0.4; what each further stamp to read costs is an estimate.
constexpr double exchange_us = 0.3;
constexpr double exchange_us_per_worker = 0.05;

// Slower instruction sets take this many times the cycles of AVX-512.
double isa_factor(const std::string& isa) { return isa == "avx512" ? 1.0 : isa == "avx2" ? 2.5 : 20.0; }

std::int64_t units_of(const DirectionProblem& direction) {
  return direction.w_hh.rows / direction.cell.gates();
}

}  // namespace

std::int64_t projection_samples(int batch) {
  constexpr std::int64_t samples = 32;
  return std::max<std::int64_t>(samples / batch * batch, batch);
}

Work work_of(CpuLayout layout, const MatrixSummary& m, std::int64_t samples, const CpuDescription& cpu) {
  const auto s = static_cast<double>(samples);
  const auto vectors_along_samples = static_cast<double>((samples + 15) / 16);
  const auto nonzeros = static_cast<double>(m.nonzeros());
  const auto rows = static_cast<double>(m.rows);
  const auto groups = static_cast<double>((m.rows + cpu_group_rows - 1) / cpu_group_rows);
  switch (layout) {
    case CpuLayout::none:
      break;
    case CpuLayout::dense: {
      const double columns = groups * static_cast<double>(m.cols);
      return {columns * std::max(1.0, 0.62 * s), columns * 64};
    }
    case CpuLayout::columns: {
      const auto columns = static_cast<double>(m.group_columns);
      return {columns * (1.2 + 0.7 * s), columns * 66};
    }
    case CpuLayout::tile: {
      const auto slots = static_cast<double>(m.tile_slots);
      // Every group passes over all samples; what L1 cannot hold of them comes from L2 each time.
      const double vectors = s * static_cast<double>(m.cols) * sizeof(float);
      const double reread = vectors < static_cast<double>(cpu.l1_bytes) ? 0.0 : vectors / l2_bytes_per_cycle;
      return {slots * (1.3 + 1.4 * s) + groups * reread, slots * 77};
    }
    case CpuLayout::row:
      return {rows * 12 + nonzeros * (samples == 1 ? 0.7 : 1.5 * vectors_along_samples), nonzeros * 6};
  }
  return {};
}

double microseconds(const Work& work, int workers, const CpuDescription& cpu) {
  const double bytes = work.bytes / workers;
  // Every other step reads backwards, so most of the L2 cache is of use however large the whole is.
  const double near = std::min(bytes, 0.8 * static_cast<double>(cpu.l2_bytes));
  const double reading = near / l2_bytes_per_cycle + (bytes - near) / l3_bytes_per_cycle;
  return std::max(work.cycles / workers * isa_factor(cpu.isa), reading) / cycles_per_us;
}

StepCost step_cost(const DirectionProblem& direction, const CpuPlan& layouts, int batch, int workers,
                   const CpuDescription& cpu) {
  const std::int64_t samples = projection_samples(batch);
  const auto product = [&](CpuLayout layout, const MatrixSummary& matrix, std::int64_t vectors) {
    return microseconds(work_of(layout, matrix, vectors, cpu), workers, cpu);
  };
  StepCost cost;
  cost.input_projection =
      product(layouts.w_ih, direction.w_ih, samples) * batch / static_cast<double>(samples);
  cost.product = product(layouts.w_hh, direction.w_hh, batch);
  cost.projection = product(layouts.w_hr, direction.w_hr, batch);
  cost.cell_update = static_cast<double>(units_of(direction)) * batch * cell_cycles_per_unit *
                     isa_factor(cpu.isa) / workers / cycles_per_us;
  const int exchanges =
      (layouts.w_hr != CpuLayout::none ? 2 : 1) + (direction.cell.reset_before_product ? 1 : 0);
  if (workers > 1) cost.exchange = (exchange_us + exchange_us_per_worker * workers) * exchanges;
  return cost;
}

int most_workers(const DirectionProblem& direction) {
  return static_cast<int>(
      std::min<std::int64_t>((units_of(direction) + cpu_group_rows - 1) / cpu_group_rows, 1024));
}

int best_workers(const DirectionProblem& direction, const CpuPlan& layouts, int batch,
                 const CpuDescription& cpu) {
  int best = 1;
  double least = step_cost(direction, layouts, batch, 1, cpu).total();
  for (int workers = 2; workers <= std::min(cpu.threads, most_workers(direction)); ++workers) {
    const double cost = step_cost(direction, layouts, batch, workers, cpu).total();
    if (cost < least) {
      least = cost;
      best = workers;
    }
  }
  return best;
}

}  // namespace sprnn::cpu
