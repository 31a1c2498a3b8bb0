#include "plan/mma_layout.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>

namespace sprnn::mma {

int MatrixLayout::steps_in(Place place) const noexcept {
  return place == Place::registers ? steps.registers : place == Place::shared ? steps.shared : steps.l2;
}

std::int64_t MatrixLayout::row(int cta, int tile, int r) const noexcept {
  const int local_row = tile * rows_a_tile + r, local = local_row / gates;
  const std::int64_t unit = std::int64_t{cta} * units_a_cta + local;
  if (r >= rows_a_tile || local >= units_a_cta || unit >= units) return -1;
  return local_row % gates * units + unit;
}

std::int64_t MatrixLayout::block_words(Place place) const noexcept {
  return std::int64_t{steps_in(place)} * (tiles_a_warp() * fragment_words + index_words()) * threads();
}

Place MatrixLayout::place_of(int step) const noexcept {
  if (step < steps.registers) return Place::registers;
  return step < steps.registers + steps.shared ? Place::shared : Place::l2;
}

std::int64_t MatrixLayout::first_word(Fragment at) const noexcept {
  return std::int64_t{at.cta} * block_words(place_of(at.step));
}

namespace {

// Of the step within its place.
int step_in_place(const MmaSteps& steps, int step) noexcept {
  if (step < steps.registers) return step;
  return step < steps.registers + steps.shared ? step - steps.registers
                                               : step - steps.registers - steps.shared;
}

}  // namespace

std::int64_t MatrixLayout::weight_half(Fragment at, int r, int k) const noexcept {
  // PTX ISA, "Matrix Fragments for mma.m16n8k16 with floating point type": a0, a1 of row lane / 4, columns 2
  // * (lane % 4) and the next; then row + 8; then columns + 8; then both.
  const int lane = r % 8 * 4 + k % 8 / 2;
  const int word = r / 8 + 2 * (k / 8);
  const int tile = at.tile % tiles_a_warp();
  const std::int64_t fragment =
      (std::int64_t{step_in_place(steps, at.step)} * tiles_a_warp() + tile) * threads() +
      warp_of(at) * warp_lanes + lane;
  return 2 * (first_word(at) + fragment * fragment_words + word) + k % 2;
}

std::int64_t MatrixLayout::index_word(Fragment at) const noexcept {
  const std::int64_t fragments =
      std::int64_t{steps_in(place_of(at.step))} * tiles_a_warp() * fragment_words * threads();
  const int word = at.tile % tiles_a_warp() / 2;
  return first_word(at) + fragments +
         (std::int64_t{step_in_place(steps, at.step)} * index_words() + word) * threads() +
         warp_of(at) * warp_lanes;
}

std::int64_t MatrixLayout::column_half(Fragment at, int lane) const noexcept {
  return 2 * (index_word(at) + lane) + at.tile % 2;
}

std::int64_t MatrixLayout::pair_half(Fragment at, int r, int g) const noexcept {
  // PTX ISA, "Sparse MMA .m16n8k32 metadata layout for .f16/.bf16 type": of the lanes that a selector names,
  // the first has columns 0 to 15, the second 16 to 31; the lower half of a word row lane / 4, the upper row
  // lane / 4 + 8.
  const int selector = at.tile % tiles_a_warp() % 2;
  return 2 * (index_word(at) + r % 8 * 4 + 2 * selector + g / 4) + r / 8;
}

namespace {

// Steps of operand B that lie side by side in a warp's lanes.
int operands_a_word(const gpu::Image& image, int group_batch) noexcept {
  if (image.planes > 1) return 1;
  return plane_entries / static_cast<int>(std::bit_ceil(static_cast<unsigned>(group_batch)));
}

}  // namespace

int MatrixLayout::columns_a_quad(int group_batch, ExchangeWord word) const noexcept {
  return operands_a_word(image, group_batch) * operand_columns * (word == ExchangeWord::tag ? 1 : 2);
}

MatrixLayout::Quads MatrixLayout::state_quads(int group_batch, ExchangeWord word) const noexcept {
  const int in_a_quad = columns_a_quad(group_batch, word);
  const auto quads = [&](int of) {
    return image.planes * ((of * step_columns() + in_a_quad - 1) / in_a_quad);
  };
  return {quads(held_steps()), quads(steps.total() - held_steps())};
}

std::int64_t MatrixLayout::staged_positions(int group_batch) const noexcept {
  const std::int64_t block = std::int64_t{operands_a_word(image, group_batch)} * operand_columns;
  const std::int64_t columns = std::int64_t{steps.total()} * step_columns();
  return column_warps() * ((columns + block - 1) / block * block);
}

std::int64_t MatrixLayout::staged_position(std::int64_t column, int group_batch) const noexcept {
  const int parts = operands_a_word(image, group_batch);
  const std::int64_t columns = std::int64_t{steps.total()} * step_columns();
  const std::int64_t operand = column % columns / operand_columns;  // of its column warp
  const std::int64_t four = column % operand_columns / 4, unit = column % 4;
  const std::int64_t row = four % 2 * 8 + four / 2 * 4 + (unit ^ four % 2);
  const std::int64_t warp = staged_positions(group_batch) / column_warps();
  return column / columns * warp + (operand / parts * operand_columns + row) * parts + operand % parts;
}

bool MatrixLayout::unrolls_late_steps(const GpuPlan& plan, const Cell& cell,
                                      ExchangeWord word) const noexcept {
  // An SM caches 128 KiB of code: with 360 products all of it has 76 KB, with 576 (LSTM 3072, batch 32) 140,
  // half of it for waits that find their words there.
  constexpr int most_cells = 6, most_products = 640;
  const int sums = tiles_a_warp() * image.planes;
  const int cells = (units_a_cta * plan.group_batch + threads() - 1) / threads();
  // Registers of a thread, of 8 warps: sums, words of the state, cells, weights on their way, policies of
  // what is kept in L2, and what of a plane is there. They have some 70 others. LSTM 2304, batch 32, has 183
  // and spills nothing, LSTM 3200, batch 24, 195 and does, GRU 2812, batch 32, 186.
  constexpr int kept = 8, partial = 8, most_registers = 184;
  const int words = 4 * (unrolled_quads_ahead() + 1);  // a quad in use
  const int cell_registers = gates == 4 ? 17 : gates == 3 ? 18 : 8;
  const int ahead = unrolled_streams_two_steps() ? 2 * tiles_a_warp() : tiles_a_warp();
  const int registers = fragment_words * (sums + (steps.l2 > 0 ? ahead : 0)) + words * image.planes +
                        cell_registers * cells + (kept_steps > 0 ? kept : 0) +
                        (plan.group_batch % plane_entries != 0 ? partial : 0);
  const bool fits = threads() > 256 || registers <= most_registers;
  // Words without a flag and a barrier instead of stamps take registers too.
  const bool flagged = plan.stamps && word == ExchangeWord::stamp && cell != relu_cell();
  return asks_late && image.planes > 1 && !sparse && flagged && fits && cells <= most_cells &&
         steps.total() * sums <= most_products;
}

int MatrixLayout::fragments_ahead() const noexcept {
  int ahead = tiles_a_warp();
  for (int n = ahead; n >= 6 && !gathered; --n) {
    if (tiles_a_warp() % n == 0) ahead = n;
  }
  return ahead;
}

int bytes_of_word(const MmaPlan& plan) noexcept {
  if (!plan.rest) return word_bytes;
  return std::min(word_bytes, 2 * static_cast<int>(std::bit_ceil(static_cast<unsigned>(plan.group_batch))));
}

Layout make_layout(const MmaPlan& plan, const Problem& problem, const DirectionProblem& direction) {
  const int bytes = bytes_of_word(plan);
  Layout layout{gpu::make_frame(plan, plan.units_a_cta, plan.units_a_cta, bytes, problem, direction), {}, {}};
  if (!plan.gathered) {
    // Steps of all warps may reach past the last position: over zeros, as far as they go.
    const std::int64_t read = std::int64_t{plan.warps / plan.row_parts} * plan.steps.total() *
                              mma_step_columns(plan.sparse) * bytes;
    layout.state.plane_bytes = std::max(layout.state.plane_bytes, read);
  }
  MatrixLayout& w_hh = layout.w_hh;
  w_hh.gates = layout.gates;
  w_hh.units = layout.units;
  w_hh.ctas = plan.ctas;
  w_hh.warps = plan.warps;
  w_hh.units_a_cta = plan.units_a_cta;
  w_hh.row_parts = plan.row_parts;
  if (plan.gathered || w_hh.whole_rows()) w_hh.rows_a_tile = mma_sharing_units(layout.gates) * layout.gates;
  const int tiles = (layout.rows_a_cta() + w_hh.rows_a_tile - 1) / w_hh.rows_a_tile;
  w_hh.tiles = (tiles + plan.row_parts - 1) / plan.row_parts * plan.row_parts;
  w_hh.gathered = plan.gathered;
  w_hh.sparse = plan.sparse;
  w_hh.asks_late = plan.asks_late;
  w_hh.has_rest = plan.rest.has_value();
  w_hh.steps = plan.steps;
  w_hh.kept_steps = plan.kept_steps;
  w_hh.image = layout.state;
  if (plan.rest) {
    layout.rest = gather::make_matrix_layout(plan, *plan.rest, "w_hh.rest", problem.dtype);
    layout.rest->gates = layout.gates;
    layout.rest->units = layout.rest->columns = layout.units;
    layout.rest->image =
        gpu::make_image(w_hh.staged_positions(plan.group_batch), bytes, plan.group_batch, problem.dtype);
  }
  return layout;
}

std::vector<SectionSize> section_sizes(const MmaPlan& plan, const Problem& problem,
                                       const DirectionProblem& direction) {
  const Layout layout = make_layout(plan, problem, direction);
  std::vector<SectionSize> sizes = gpu::map_sections(layout);
  for (const Place place : places) {
    sizes.push_back(
        {fmt::format("w_hh.{}", gpu::to_string(place)), 4 * plan.ctas * layout.w_hh.block_words(place)});
  }
  if (layout.rest) {
    for (SectionSize& size : gather::matrix_sections(*layout.rest)) sizes.push_back(std::move(size));
  }
  for (SectionSize& size : gpu::input_sections(plan.w_ih, problem, direction))
    sizes.push_back(std::move(size));
  return sizes;
}

int weight_registers(const MatrixLayout& layout, int steps) noexcept {
  return steps * (layout.tiles_a_warp() * fragment_words + layout.index_words());
}

std::int64_t rest_sum_bytes(const gather::MatrixLayout& rest, int group_batch) noexcept {
  return 4 * rest.sum_slots() * group_batch;
}

SharedBudget shared_budget(const Layout& layout, int group_batch, std::int64_t available) noexcept {
  SharedBudget budget;
  budget.available = available;
  budget.state = layout.rest ? layout.rest->image.bytes() : layout.w_hh.gathered ? layout.state.bytes() : 0;
  if (layout.in_cluster) {
    budget.ring = gpu::shared_ring_bytes(
        layout.w_hh.gathered
            ? gpu::staged_quads(layout.ctas, layout.outputs_a_cta, group_batch, 2, ExchangeWord::stamp)
            : layout.w_hh.ring_quads(group_batch, ExchangeWord::stamp));
    if (layout.w_hh.whole_rows()) budget.ring += gpu::counter_bytes;
  }
  // Where warps hold their own state they are apart by up to a timestep, and have sums of two; but not where
  // it comes step by step, nor where a warp's sums are its own, nor before a rest, where they meet.
  const bool two =
      !layout.w_hh.gathered && !layout.w_hh.streams_state() && !layout.w_hh.whole_rows() && !layout.rest;
  const std::int64_t sums = std::int64_t{4} * layout.w_hh.sum_sets() * layout.w_hh.sum_words(group_batch);
  budget.sums = two ? 2 * sums : sums;
  budget.weights = 4 * layout.w_hh.block_words(Place::shared);
  if (layout.rest) {
    budget.sums += rest_sum_bytes(*layout.rest, group_batch);
    budget.weights += 4 * layout.rest->block_words(Place::shared);
  }
  return budget;
}

std::string missing(const Problem& problem, const DirectionProblem& direction, GpuStrategy strategy) {
  if (problem.dtype == DType::fp32) return "tensor cores take fp16 and bf16, the weights are fp32";
  if (problem.projection_size > 0) return "has no projection";
  if (strategy == GpuStrategy::vector_mma && direction.w_hh.shared_columns.empty())
    return "the problem lacks the columns that units share";
  if (strategy == GpuStrategy::sparse_mma) {
    if (!direction.w_hh.most_of_four) return "the problem lacks the non-zeros of four neighbouring columns";
    if (*direction.w_hh.most_of_four > weights_of_four && direction.w_hh.row_rests.empty())
      return "the problem lacks the non-zeros of each row beyond two of four neighbouring columns";
  }
  return "";
}

}  // namespace sprnn::mma
