#include "plan/mma_cost.hpp"

#include <algorithm>

#include "plan/gather_cost.hpp"
#include "plan/gpu_cost.hpp"

namespace sprnn::mma {

namespace {

// Fitted to LSTM 256 to 2304, GRU 1024 and 2560 and tanh 2304 at batch 1 to 32 on an H100, 2026-11-28:
// dense-mma within 6 % of 20 plans, vector-mma within 12 % of 4. What is streamed: 24 plans of LSTM 2304 to
// 8192, GRU 4096 and tanh 5632 and 8192 on an H200, the same day, all but two within 10 %. Groups that stream
// from memory do not keep step: GRU 4096, two of them, took as long as each alone. sparse-mma: 44 layers of
// pattern 2:4, LSTM 256 to 4096, GRU 256 to 4096 and tanh 512 to 8192 at batch 1 to 32 on an H200,
// 2026-11-29.

// Cycles that one of an SM's four tensor cores is busy with a fragment and 8 batch entries.
constexpr double dense_cycles = 4.3, sparse_cycles = 7.5, gathered_cycles = 13.0;
constexpr double further_plane =
    0.7;  // of a fragment's cycles for 8 batch entries more: its weights are there
constexpr double schedulers = 4.0;
// Until a load is there, under load.
constexpr double fragment_bytes = 512.0, memory_us = 0.9, l2_us = 0.35;
constexpr double wavefronts_a_word = 1.0;  // of a lane, read from shared memory
// Of the time that weights take to come, where products of others go on meanwhile.
constexpr double shared_in_front = 0.57, l2_in_front = 0.65;
// Of the time to read from memory what the L2 is asked to keep, so much is saved (H100, us a timestep): LSTM
// 4096 28.4 instead of 34.1, 34 of its 96 MB kept, tanh 8192 26.4 instead of 32.5, at batch 16 35.3 instead
// of 40.6. Not seen where the state is asked for late.
constexpr double kept_saves = 0.5;
// Where it is, and all weights stay in L2, a timestep takes what all CTAs read from there, state and weights,
// the way there and back of each quad that its warps wait for, and the sums. With rolled code: 11 plans of
// LSTM 1024 and 2304, GRU 2560 and tanh 2304 at batch 16 and 32, all but two within 10 % (H100, 2026-11-28).
constexpr double late_rate = 1.36;                      // of that which weights alone reach
constexpr double late_quad_us = 0.8, most_turns = 8.0;  // of warps, that take turns
constexpr double late_sparse = 1.23;                    // LSTM 2304 and GRU 2560, batch 32
// Unrolled: 18 plans of LSTM 1024 to 2304, GRU 1024 and 2560 and tanh 2304 to 5632 at batch 12 to 32, of 8,
// 12 and 16 warps, all within 8 % (H200, 2026-11-30). What the L2 is not asked to keep comes from memory
// besides, to each group: LSTM 3072, batch 16, one group, 10.7 us.
constexpr double unrolled_partial_us = 0.3;  // of planes that are not full: LSTM 1900, batch 20, 4.6 us
constexpr double unrolled_rate = 2.63, unrolled_quad_us = 0.17, unrolled_sums_us_a_tile_and_entry = 0.0074;
// The warps' sums through shared memory, and their barrier.
constexpr double dense_sums_us = 0.41, dense_sums_us_a_tile_and_entry = 0.0051;
constexpr double gathered_sums_us = 0.166, gathered_sums_us_a_tile = 0.07;
// Of warps beyond 8: LSTM 1024 takes 1.27 us with 8, 1.29 with 12 and 1.39 to 1.54 with 16.
constexpr double us_a_warp_more = 0.01;
// vector-mma: LSTM 2304 with 8 warps 1.98 us, with 12 2.03; LSTM 1227 with 16 1.81 (H200).
constexpr double gathered_us_a_warp_more = 0.03;

// A warp that has a scheduler to itself waits for each step's products and shuffles: tanh 1536, batch 1, 24
// steps of 4 warps 1.26 us, 12 of 8 warps 1.13; not yet with 16 steps (LSTM 1024, batch 1, 1.13, with 8
// warps 1.18). An H200.
constexpr double us_a_step_alone = 0.025, few_steps_alone = 16.0;
// Whole rows in a cluster, fp16: 42 plans of LSTM 128 to 512, GRU 256 to 512 and tanh 256 to 1024 at batch 1
// to 8 on an H200, 2026-11-29, all but seven within 10 %. A store of one warp to one CTA, a read of a step's
// state by one warp and a product each take their time of an SM, whichever warp it is. Words take some where
// they are many, in all or of a warp.
constexpr double counted_us = 0.19, counted_us_a_store = 0.001, counted_wide_us = 0.03;
constexpr int narrow_ctas = 8;
constexpr double counted_us_a_word = 0.001, few_words = 384.0;
constexpr double counted_us_a_word_of_warp = 0.022, few_words_of_warp = 8.0;
constexpr double whole_us = 0.11, whole_us_a_step = 0.0004, whole_us_a_product = 0.001;
// Two tiles or more of two entries, in 10 and more CTAs: LSTM and GRU 296 to 512 took 0.13 us longer than
// with one entry or with four, where words are few (27 plans; with 5 CTAs 0.03; why was not found).
constexpr double whole_two_entries_us = 0.13;
// A step of sparse weights reads twice the state, in words of half the size.
constexpr double whole_sparse_us_a_step = 0.0019, whole_sparse_us_a_product = 0.0012,
                 whole_sparse_us_a_further_entry = 0.002;

// With a rest: the state is staged before the products, and the gather begins behind a barrier with all warps
// at once, so that neither hides the other's waiting. 25 layers, LSTM 1024 to 4096, GRU 2560 to 4096 and tanh
// 2304 to 8192 at 10 to 50 % and batch 1 to 8 on an H200, 2026-11-29: all within 10 %. Weights that the L2 is
// asked to keep come while the others are awaited from memory.
constexpr double staged_bytes_a_us = 115e3, rest_of_gather = 1.5, rest_us = 0.04;
constexpr double staged_shared_in_front = 0.32, staged_l2_in_front = 0.44;
constexpr double few_kept_save = 0.38, not_kept = 2.0, many_kept_save = 1.92;

// Where the state is large and its product short, what the L2 gives bounds the exchange: tanh 3500 and 3520,
// batch 8, 2.5 and 2.6 us (H200).
constexpr double held_rate = 0.95;
// Groups each on one side of the L2, all weights in registers: LSTM 804, 880, 896 and 1024, batch 4 to 16,
// LSTM 761 and GRU 746, 0.04 to 0.2 us less than a state of 4 to 16 KiB takes otherwise; batch 32, 32 KiB,
// 0.14 (H200).
constexpr double registers_on_one_side_us_a_kib = 0.01, registers_most_kib = 16.0;

// A relu's words have no flag: each that a thread has is looked through for a NaN or an infinity; with whole
// rows each sum. 177 to 3497 units, batch 2 to 24 (H200).
constexpr double relu_us = 0.06, relu_us_a_word = 0.02, relu_us_a_staged_word = 0.05;

bool streams_near(const MatrixLayout& matrix, const GpuDescription& gpu) {
  return gpu::stays_in_l2(static_cast<double>(matrix.streamed_bytes()), gpu);
}

double wavefronts(const MmaPlan& plan, const MatrixLayout& matrix) {
  return wavefronts_a_word * plan.warps * weight_registers(matrix, plan.steps.shared);
}

double dense_sums(const MmaPlan& plan, const MatrixLayout& matrix,
                  double us_a_tile_and_entry = dense_sums_us_a_tile_and_entry) {
  return dense_sums_us + us_a_tile_and_entry * matrix.tiles_a_warp() * plan.group_batch +
         us_a_warp_more * std::max(0.0, plan.warps - 8.0);
}

// The exchange but for its latency is part of it.
double late_product(const MmaPlan& plan, const MatrixLayout& matrix, const Cell& cell,
                    const GpuDescription& gpu) {
  const double weights = 4.0 * static_cast<double>(matrix.block_words(Place::l2));
  const double state =
      2.0 * static_cast<double>(matrix.row_parts * matrix.image.positions * plan.group_batch);
  const double bytes = (weights + state) * plan.ctas * plan.groups;
  const double quads = matrix.state_quads(plan.group_batch, plan.exchange_word).total() / matrix.image.planes;
  const double rate = gpu.l2_gbytes_per_s * 1e3, slower = gpu::measured_clock_ghz / gpu.clock_ghz;
  if (matrix.unrolls_late_steps(plan, cell, plan.exchange_word)) {
    const double passing =
        streams_near(matrix, gpu) ? 0.0 : 1.0 - static_cast<double>(plan.kept_steps) / plan.steps.l2;
    const double from_memory = passing * weights * plan.ctas * plan.groups;
    const double partial = plan.group_batch % plane_entries != 0 ? unrolled_partial_us : 0.0;
    return bytes / (unrolled_rate * rate) + from_memory / (gpu.memory_gbytes_per_s * 1e3) +
           (partial + quads * unrolled_quad_us +
            dense_sums(plan, matrix, unrolled_sums_us_a_tile_and_entry)) *
               slower;
  }
  const double us =
      bytes / (late_rate * rate) +
      (quads * late_quad_us / std::min<double>(plan.warps, most_turns) + dense_sums(plan, matrix)) * slower;
  return plan.sparse ? late_sparse * us : us;
}

double product(const MmaPlan& plan, const MatrixLayout& matrix, const GpuDescription& gpu) {
  const double warps = plan.warps, tiles = matrix.tiles_a_warp(), steps = plan.steps.total();
  const double cycles = plan.gathered ? gathered_cycles : plan.sparse ? sparse_cycles : dense_cycles;
  const double fragment = cycles * (1.0 + further_plane * (matrix.image.planes - 1));
  const double tensor = warps * steps * tiles * fragment / schedulers;
  const double weights = wavefronts(plan, matrix);
  const double block = 4.0 * static_cast<double>(matrix.block_words(Place::l2));
  const double ahead = static_cast<double>(matrix.streamed_ahead()) * plan.warps * fragment_bytes;
  const bool near = streams_near(matrix, gpu);
  const double kept =
      matrix.asks_late ? 0.0 : static_cast<double>(plan.kept_steps) / std::max(1, plan.steps.l2);
  const double load_us = near ? l2_us : kept * l2_us + (1.0 - kept) * memory_us;
  double streaming = std::max(gpu::streaming_cost(plan, plan.ctas * block, gpu) * (1.0 - kept_saves * kept),
                              block / ahead * load_us);
  if (!plan.gathered) streaming *= near ? l2_in_front : plan.groups;
  const double clock = gpu.clock_ghz * 1e3, slower = gpu::measured_clock_ghz / gpu.clock_ghz;
  if (matrix.has_rest) {
    const double from_l2 = plan.groups * plan.ctas * block / (gpu.l2_gbytes_per_s * 1e3);
    const double saved = std::min(1.0 - few_kept_save * kept, not_kept - many_kept_save * kept);
    const double from_memory =
        near ? 0.0 : plan.groups * gpu::streaming_cost(plan, plan.ctas * block, gpu) * saved;
    streaming = std::max(staged_l2_in_front * std::max(from_l2, block / ahead * load_us), from_memory);
    return (tensor + staged_shared_in_front * weights) / clock + streaming +
           dense_sums(plan, matrix) * slower;
  }
  if (plan.gathered) {
    const double state = warps * 2.0 * matrix.image.planes * steps * tiles;
    return std::max(tensor, state + weights) / clock + streaming +
           (gathered_sums_us + gathered_sums_us_a_tile * tiles +
            gathered_us_a_warp_more * std::max(0.0, warps - 8.0)) *
               slower;
  }
  const bool alone = plan.warps <= schedulers && !plan.sparse;
  const double waiting = alone ? us_a_step_alone * std::max(0.0, steps - few_steps_alone) : 0.0;
  return (tensor + shared_in_front * weights) / clock + streaming +
         (dense_sums(plan, matrix) + waiting) * slower;
}

double counted_exchange(const MmaPlan& plan, const MatrixLayout& matrix, const GpuDescription& gpu) {
  const double ctas = plan.ctas, entries = plan.group_batch / static_cast<double>(held_units);
  const double words = ctas * plan.units_a_cta * entries, of_warp = matrix.units_a_warp() * entries;
  return (counted_us + counted_us_a_store * ctas * plan.warps + (ctas > narrow_ctas ? counted_wide_us : 0.0) +
          counted_us_a_word * std::max(0.0, words - few_words) +
          counted_us_a_word_of_warp * std::max(0.0, of_warp - few_words_of_warp)) *
         gpu::measured_clock_ghz / gpu.clock_ghz;
}

double whole_product(const MmaPlan& plan, const MatrixLayout& matrix, const GpuDescription& gpu) {
  const double steps = static_cast<double>(plan.warps) * plan.steps.total();
  const double planes = 1.0 + further_plane * (matrix.image.planes - 1);
  const double a_step =
      plan.sparse ? whole_sparse_us_a_step + whole_sparse_us_a_further_entry * (plan.group_batch - 1)
                  : whole_us_a_step;
  const double a_product = plan.sparse ? whole_sparse_us_a_product : whole_us_a_product;
  const bool two_entries = plan.group_batch == 2 && matrix.tiles_a_warp() > 1 && plan.ctas > narrow_ctas;
  return (whole_us + (two_entries ? whole_two_entries_us : 0.0) +
          (a_step + a_product * matrix.tiles_a_warp()) * steps * planes) *
             gpu::measured_clock_ghz / gpu.clock_ghz +
         shared_in_front * wavefronts(plan, matrix) / (gpu.clock_ghz * 1e3);
}

double looking_for_nonfinite(const MmaPlan& plan, const MatrixLayout& matrix, bool counted,
                             const GpuDescription& gpu) {
  const double staged = static_cast<double>(matrix.image.positions * plan.group_batch) /
                        (held_units * static_cast<double>(matrix.threads()));
  const double held = 2.0 * matrix.state_quads(plan.group_batch, plan.exchange_word).total();
  const double words = counted ? 0.0 : plan.gathered ? relu_us_a_staged_word * staged : relu_us_a_word * held;
  return (relu_us + words) * gpu::measured_clock_ghz / gpu.clock_ghz;
}

// All CTAs read all of the state, in part while weights come from there too.
double held_exchange(const MmaPlan& plan, const MatrixLayout& matrix, const GpuDescription& gpu) {
  const auto state = static_cast<double>(2 * matrix.image.positions * plan.group_batch);
  const double bytes = state - 4.0 * static_cast<double>(matrix.block_words(Place::l2));
  return plan.groups * plan.ctas * bytes / (held_rate * gpu.l2_gbytes_per_s * 1e3);
}

// Of the non-zeros beyond two of four: the warps stage the state, meet, and gather.
double rest_product(const MmaPlan& plan, const Layout& layout, DType dtype, const GpuDescription& gpu) {
  const auto bytes = static_cast<double>(layout.rest->image.bytes());
  return rest_of_gather * gather::product_cost(plan, *layout.rest, true, dtype, gpu) +
         (bytes / staged_bytes_a_us + rest_us) * gpu::measured_clock_ghz / gpu.clock_ghz;
}

}  // namespace

std::vector<CostPart> cost(const MmaPlan& plan, const Problem& problem, const DirectionProblem& direction,
                           const GpuDescription& gpu) {
  const Layout layout = make_layout(plan, problem, direction);
  const bool late =
      plan.asks_late && (streams_near(layout.w_hh, gpu) ||
                         layout.w_hh.unrolls_late_steps(plan, direction.cell, plan.exchange_word));
  const bool counted = plan.in_cluster && layout.w_hh.whole_rows();
  const std::int64_t positions =
      layout.state.positions * layout.w_hh.exchanged_entries(plan.group_batch) / plan.group_batch;
  double exchange = counted ? counted_exchange(plan, layout.w_hh, gpu)
                            : gpu::exchange_cost(plan, late ? 0 : positions, plan.exchange_word,
                                                 problem.dtype, gpu, !plan.gathered);
  if (!plan.gathered && !plan.in_cluster && !late && !layout.rest) {
    if (plan.steps.shared + plan.steps.l2 == 0 && gpu::sides_hold(plan, gpu)) {
      const double kib = static_cast<double>(positions * plan.group_batch * 2) / 1024.0;
      exchange -= registers_on_one_side_us_a_kib * std::min(kib, registers_most_kib) *
                  gpu::measured_clock_ghz / gpu.clock_ghz;
    }
    exchange = std::max(exchange, held_exchange(plan, layout.w_hh, gpu));
  }
  double in_product = counted ? whole_product(plan, layout.w_hh, gpu)
                      : late  ? late_product(plan, layout.w_hh, direction.cell, gpu)
                              : product(plan, layout.w_hh, gpu);
  // Weights that come from memory go through the L2 too, beside the state.
  if (plan.asks_late) in_product = std::max(in_product, late_product(plan, layout.w_hh, direction.cell, gpu));
  if (layout.rest) in_product += rest_product(plan, layout, problem.dtype, gpu);
  if (direction.cell == relu_cell()) in_product += looking_for_nonfinite(plan, layout.w_hh, counted, gpu);
  return {{"exchange", plan.passes * exchange},
          {"product", plan.passes * in_product},
          {"cell update",
           plan.passes * gpu::update_cost(plan, layout.units_a_cta, direction.cell, problem.dtype, gpu)},
          {"input projection", gpu::input_cost(plan.w_ih, plan.tile_steps, problem, direction, gpu)}};
}

}  // namespace sprnn::mma
