#include "plan/cpu_cost.hpp"

#include <algorithm>

namespace sprnn::cpu {

namespace {

// Two workers were measured at 0.4; what each further stamp to read costs is an estimate.
constexpr double exchange_us = 0.3;
constexpr double exchange_us_per_worker = 0.05;

// Of an instruction set, on the core that it was measured on (docs/cpu.md).
struct Cycles {
  double per_us = 0.0;
  double l2_bytes = 0.0, l3_bytes = 0.0;  // read in a cycle
  // A pass over a column of 16 rows, once or for each sample; the same of a stored column and of a slot.
  double dense = 0.0, dense_sample = 0.0, column = 0.0, column_sample = 0.0, slot = 0.0, slot_sample = 0.0;
  // `row`: a row's beginning and a value of it, of one sample; else once, and for each vector of samples;
  // what it takes longer to read a vector of x that L1 does not hold.
  double one_row = 0.0, one_value = 0.0;
  double row = 0.0, row_vector = 0.0, value = 0.0, value_vector = 0.0, far_vector = 0.0;
  std::int64_t lanes = 16;
  double cell = 0.0;  // of a unit and sample
};

// Sapphire Rapids class, 2.95 GHz. Its `row` was measured with x in L2.
constexpr Cycles avx512{
    .per_us = 3000.0,
    .l2_bytes = 40.0,
    .l3_bytes = 10.5,
    .dense = 1.0,
    .dense_sample = 0.62,
    .column = 1.2,
    .column_sample = 0.7,
    .slot = 1.3,
    .slot_sample = 1.4,
    .one_row = 12.0,
    .one_value = 0.7,
    .row = 12.0,
    .value_vector = 1.5,
    .cell = 10.0,
};
// Zen 3, 3.08 GHz, of a host that others share.
constexpr Cycles avx2{
    .per_us = 3080.0,
    .l2_bytes = 30.0,
    .l3_bytes = 12.0,
    .dense = 3.5,
    .dense_sample = 1.36,
    .column = 1.8,
    .column_sample = 2.0,
    .slot_sample = 15.7,
    .one_row = 6.0,
    .one_value = 1.2,
    .row = 5.0,
    .row_vector = 6.5,
    .value = 0.75,
    .value_vector = 1.1,
    .far_vector = 0.5,
    .lanes = 8,
    .cell = 14.0,
};

Cycles scalar_cycles() {
  constexpr double times = 20.0;  // as long as with AVX-512
  Cycles scalar = avx512;
  for (double Cycles::*cycles :
       {&Cycles::dense, &Cycles::dense_sample, &Cycles::column, &Cycles::column_sample, &Cycles::slot,
        &Cycles::slot_sample, &Cycles::one_row, &Cycles::one_value, &Cycles::row, &Cycles::value_vector,
        &Cycles::cell})
    scalar.*cycles *= times;
  return scalar;
}

Cycles cycles_of(const std::string& isa) {
  return isa == "avx512" ? avx512 : isa == "avx2" ? avx2 : scalar_cycles();
}

std::int64_t units_of(const DirectionProblem& direction) {
  return direction.w_hh.rows / direction.cell.gates();
}

// Each row's are filled up to whole steps of eight.
double stored_in_rows(const MatrixSummary& m) {
  std::int64_t values = 0;
  for (const std::int32_t nonzeros : m.row_nonzeros) values += (nonzeros + 7) / 8 * 8;
  return static_cast<double>(values);
}

}  // namespace

std::int64_t projection_samples(int batch) {
  constexpr std::int64_t samples = 32;
  return std::max<std::int64_t>(samples / batch * batch, batch);
}

Work work_of(CpuLayout layout, const MatrixSummary& m, std::int64_t samples, const CpuDescription& cpu) {
  const Cycles cycles = cycles_of(cpu.isa);
  const auto s = static_cast<double>(samples);
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
      const double reread = vectors < static_cast<double>(cpu.l1_bytes) ? 0.0 : vectors / cycles.l2_bytes;
      return {slots * (cycles.slot + cycles.slot_sample * s) + groups * reread, slots * 77};
    }
    case CpuLayout::row: {
      const double values = stored_in_rows(m);
      if (samples == 1) return {rows * cycles.one_row + values * cycles.one_value, values * 6};
      const std::int64_t vectors = (samples + cycles.lanes - 1) / cycles.lanes;
      const bool far = vectors * cycles.lanes * m.cols * 4 >= cpu.l1_bytes;
      const double vector = cycles.value_vector + (far ? cycles.far_vector : 0.0);
      const auto v = static_cast<double>(vectors);
      return {rows * (cycles.row + cycles.row_vector * v) + values * (cycles.value + vector * v), values * 6};
    }
  }
  return {};
}

double microseconds(const Work& work, int workers, const CpuDescription& cpu) {
  const Cycles cycles = cycles_of(cpu.isa);
  const double bytes = work.bytes / workers;
  // Every other step reads backwards, so most of the L2 cache is of use however large the whole is.
  const double near = std::min(bytes, 0.8 * static_cast<double>(cpu.l2_bytes));
  const double reading = near / cycles.l2_bytes + (bytes - near) / cycles.l3_bytes;
  return std::max(work.cycles / workers, reading) / cycles.per_us;
}

StepCost step_cost(const DirectionProblem& direction, const CpuPlan& layouts, int batch, int workers,
                   const CpuDescription& cpu) {
  const Cycles cycles = cycles_of(cpu.isa);
  const std::int64_t samples = projection_samples(batch);
  const auto product = [&](CpuLayout layout, const MatrixSummary& matrix, std::int64_t vectors) {
    return microseconds(work_of(layout, matrix, vectors, cpu), workers, cpu);
  };
  StepCost cost;
  cost.input_projection =
      product(layouts.w_ih, direction.w_ih, samples) * batch / static_cast<double>(samples);
  cost.product = product(layouts.w_hh, direction.w_hh, batch);
  cost.projection = product(layouts.w_hr, direction.w_hr, batch);
  cost.cell_update = static_cast<double>(units_of(direction)) * batch * cycles.cell / workers / cycles.per_us;
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
