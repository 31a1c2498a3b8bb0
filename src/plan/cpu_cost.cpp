#include "plan/cpu_cost.hpp"

#include <algorithm>
#include <array>

namespace sprnn::cpu {

namespace {

// A core that the constants below were measured on: docs/cpu.md has the table behind each of them.
constexpr double cycles_per_us = 3000.0;
constexpr double l2_bytes_per_cycle = 40.0;
constexpr double l3_bytes_per_cycle = 10.5;
// Two workers were measured at 0.4; what each further stamp to read costs is an estimate.
constexpr double exchange_us = 0.3;
constexpr double exchange_us_per_worker = 0.05;

// Of an instruction set: a pass over a column of 16 rows, once or for each sample; the same of a stored
// column and of a slot; a row's beginning, its values of one sample, and of as many as a vector has; a unit's
// cell.
struct Cycles {
  double dense = 0.0, dense_sample = 0.0, column = 0.0, column_sample = 0.0, slot = 0.0, slot_sample = 0.0;
  double row = 0.0, value = 0.0, value_vector = 0.0;
  std::int64_t lanes = 16;
  double cell = 0.0;
};

// AVX2: two cores of an AMD EPYC (Zen 3), LSTM 256 at 10 %, batch 1 to 32, 2026-11-29 (docs/cpu.md).
Cycles cycles_of(const std::string& isa) {
  const Cycles avx512{1.0, 0.62, 1.2, 0.7, 1.3, 1.4, 12.0, 0.7, 1.5, 16, 10.0};
  if (isa == "avx512") return avx512;
  if (isa == "avx2") return {1.45, 0.9, 0.4, 1.5, 0.0, 8.0, 6.0, 0.7, 1.95, 8, 25.0};
  constexpr double scalar = 20.0;  // times as many
  return {scalar * avx512.dense,        scalar * avx512.dense_sample,
          scalar * avx512.column,       scalar * avx512.column_sample,
          scalar * avx512.slot,         scalar * avx512.slot_sample,
          scalar * avx512.row,          scalar * avx512.value,
          scalar * avx512.value_vector, avx512.lanes,
          scalar * avx512.cell};
}

std::int64_t units_of(const DirectionProblem& direction) {
  return direction.w_hh.rows / direction.cell.gates();
}

}  // namespace

std::int64_t projection_samples(int batch) {
  constexpr std::int64_t samples = 32;
  return std::max<std::int64_t>(samples / batch * batch, batch);
}

Work work_of(CpuLayout layout, const MatrixSummary& m, std::int64_t samples, const CpuDescription& cpu) {
  const Cycles cycles = cycles_of(cpu.isa);
  const auto s = static_cast<double>(samples);
  const auto vectors_along_samples = static_cast<double>((samples + cycles.lanes - 1) / cycles.lanes);
  const auto nonzeros = static_cast<double>(m.nonzeros());
  const auto rows = static_cast<double>(m.rows);
  const auto groups = static_cast<double>((m.rows + cpu_group_rows - 1) / cpu_group_rows);
  switch (layout) {
    case CpuLayout::none:
      break;
    case CpuLayout::dense: {
      const double columns = groups * static_cast<double>(m.cols);
      return {columns * std::max(cycles.dense, cycles.dense_sample * s), columns * 64};
    }
    case CpuLayout::columns: {
      const auto columns = static_cast<double>(m.group_columns);
      return {columns * (cycles.column + cycles.column_sample * s), columns * 66};
    }
    case CpuLayout::tile: {
      const auto slots = static_cast<double>(m.tile_slots);
      // Every group passes over all samples; what L1 cannot hold of them comes from L2 each time.
      const double vectors = s * static_cast<double>(m.cols) * sizeof(float);
      const double reread = vectors < static_cast<double>(cpu.l1_bytes) ? 0.0 : vectors / l2_bytes_per_cycle;
      return {slots * (cycles.slot + cycles.slot_sample * s) + groups * reread, slots * 77};
    }
    case CpuLayout::row:
      return {rows * cycles.row +
                  nonzeros * (samples == 1 ? cycles.value : cycles.value_vector * vectors_along_samples),
              nonzeros * 6};
  }
  return {};
}

double microseconds(const Work& work, int workers, const CpuDescription& cpu) {
  const double bytes = work.bytes / workers;
  // Every other step reads backwards, so most of the L2 cache is of use however large the whole is.
  const double near = std::min(bytes, 0.8 * static_cast<double>(cpu.l2_bytes));
  const double reading = near / l2_bytes_per_cycle + (bytes - near) / l3_bytes_per_cycle;
  return std::max(work.cycles / workers, reading) / cycles_per_us;
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
  cost.cell_update =
      static_cast<double>(units_of(direction)) * batch * cycles_of(cpu.isa).cell / workers / cycles_per_us;
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
