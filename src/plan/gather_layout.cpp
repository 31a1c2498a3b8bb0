#include "plan/gather_layout.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace sprnn::gather {

namespace {

constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) noexcept {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

MatrixLayout make_matrix_layout(const GpuPlan& plan, const GatherMatrix& matrix, std::string name,
                                DType dtype) {
  MatrixLayout layout;
  layout.name = std::move(name);
  layout.ctas = plan.ctas;
  layout.threads = plan.warps * warp_lanes;
  layout.units_a_cta = matrix.units_a_cta;
  layout.lanes = matrix.lanes;
  layout.parts = matrix.parts;
  layout.offset_unit = matrix.offset_unit;
  layout.half_sums = matrix.half_sums;
  layout.wide_values = dtype == DType::fp32;
  layout.passes = matrix.passes;
  for (const RowPass& pass : matrix.passes) {
    layout.first.push_back(layout.slots);
    layout.slots[0] += pass.registers;
    layout.slots[1] += pass.shared;
    layout.slots[2] += pass.l2;
  }
  return layout;
}

Slot MatrixLayout::slot(int pass, int s) const noexcept {
  const RowPass& p = passes[static_cast<std::size_t>(pass)];
  const std::array<int, 3>& begin = first[static_cast<std::size_t>(pass)];
  if (s < p.registers) return {Place::registers, begin[0] + s};
  s -= p.registers;
  if (s < p.shared) return {Place::shared, begin[1] + s};
  return {Place::l2, begin[2] + s - p.shared};
}

std::int64_t block_words(Place place, int slots, int threads, bool wide_values) noexcept {
  const std::int64_t padded = place == Place::registers ? slots : round_up(slots, quad);
  return (padded + (wide_values ? (padded + 1) / 2 : 0)) * threads;
}

std::int64_t MatrixLayout::block_words(Place place) const noexcept {
  return gather::block_words(place, slots[static_cast<std::size_t>(place)], threads, wide_values);
}

std::int64_t MatrixLayout::value_word(Slot slot, int thread) const noexcept {
  if (slot.place == Place::registers) return std::int64_t{slot.index} * threads + thread;
  return (std::int64_t{slot.index / quad} * threads + thread) * quad + slot.index % quad;
}

std::int64_t MatrixLayout::offset_word(Slot slot, int thread) const noexcept {
  const std::int64_t values = std::int64_t{slots[static_cast<std::size_t>(slot.place)]} * threads;
  if (slot.place == Place::registers) return values + std::int64_t{slot.index / 2} * threads + thread;
  return values + (std::int64_t{slot.index / quad} * threads + thread) * 2 + slot.index % quad / 2;
}

Pair MatrixLayout::load(const std::uint32_t* block, Slot slot, int thread) const noexcept {
  const std::uint32_t word = block[value_word(slot, thread)];
  if (!wide_values) return {word >> 16, word & 0xFFFFU};
  const std::uint32_t offsets = block[offset_word(slot, thread)];
  return {slot.index % 2 == 0 ? offsets & 0xFFFFU : offsets >> 16, word};
}

void MatrixLayout::store(std::uint32_t* block, Slot slot, int thread, Pair pair) const noexcept {
  if (!wide_values) {
    block[value_word(slot, thread)] = pair.offset << 16 | pair.value;
    return;
  }
  block[value_word(slot, thread)] = pair.value;
  std::uint32_t& offsets = block[offset_word(slot, thread)];
  offsets =
      slot.index % 2 == 0 ? (offsets & 0xFFFF0000U) | pair.offset : (offsets & 0xFFFFU) | pair.offset << 16;
}

Layout make_layout(const GatherPlan& plan, const Problem& problem, const DirectionProblem& direction) {
  const int outputs_a_cta = plan.w_hr ? plan.w_hr->units_a_cta : plan.w_hh.units_a_cta;
  Layout layout{
      gpu::make_frame(plan, plan.w_hh.units_a_cta, outputs_a_cta, plan.word_bytes, problem, direction),
      {},
      {}};
  layout.w_hh = make_matrix_layout(plan, plan.w_hh, "w_hh", problem.dtype);
  layout.w_hh.gates = layout.gates;
  layout.w_hh.units = layout.units;
  layout.w_hh.columns = layout.outputs;
  layout.w_hh.image = layout.state;
  if (plan.w_hr) {
    layout.w_hr = make_matrix_layout(plan, *plan.w_hr, "w_hr", problem.dtype);
    layout.w_hr->gates = 1;
    layout.w_hr->units = layout.outputs;
    layout.w_hr->columns = layout.units;
    layout.w_hr->image = *layout.output;
  }
  return layout;
}

std::vector<SectionSize> section_sizes(const GatherPlan& plan, const Problem& problem,
                                       const DirectionProblem& direction) {
  const Layout layout = make_layout(plan, problem, direction);
  std::vector<SectionSize> sizes = gpu::map_sections(layout);
  for (SectionSize& size : matrix_sections(layout.w_hh)) sizes.push_back(std::move(size));
  if (layout.w_hr) {
    for (SectionSize& size : matrix_sections(*layout.w_hr)) sizes.push_back(std::move(size));
  }
  for (SectionSize& size : gpu::input_sections(plan.w_ih, problem, direction))
    sizes.push_back(std::move(size));
  return sizes;
}

std::vector<SectionSize> matrix_sections(const MatrixLayout& matrix) {
  std::vector<SectionSize> sizes{{matrix.name + ".row_map", 4 * matrix.row_map_size()}};
  for (const Place place : places) {
    sizes.push_back(
        {fmt::format("{}.{}", matrix.name, to_string(place)), 4 * matrix.ctas * matrix.block_words(place)});
  }
  return sizes;
}

bool sums_halves(const Problem& problem, const DirectionProblem& direction, bool projection) noexcept {
  const MatrixSummary& matrix = projection ? direction.w_hr : direction.w_hh;
  return problem.dtype == DType::fp16 && !matrix.large_weights &&
         (projection || (direction.cell.is_bounded() && problem.projection_size == 0));
}

int pair_registers(int slots, bool wide_values, bool opaque) noexcept {
  if (!opaque) return 2 * slots;
  return slots + (wide_values ? (slots + 1) / 2 : 0);
}

int pair_registers(const Layout& layout, bool opaque) noexcept {
  int total = pair_registers(layout.w_hh.slots[0], layout.w_hh.wide_values, opaque);
  if (layout.w_hr) total += pair_registers(layout.w_hr->slots[0], layout.w_hr->wide_values, opaque);
  return total;
}

SharedBudget shared_budget(const Layout& layout, int group_batch, std::int64_t available) noexcept {
  constexpr std::int64_t word = sizeof(std::uint32_t);
  SharedBudget budget;
  budget.available = available;
  budget.state = layout.w_hh.image.bytes();
  budget.weights = layout.w_hh.block_words(Place::shared) * word;
  if (layout.in_cluster) {
    const int element = layout.w_hh.wide_values ? 4 : 2;
    budget.ring = gpu::shared_ring_bytes(
        gpu::staged_quads(layout.ctas, layout.outputs_a_cta, group_batch, element, ExchangeWord::stamp));
  }
  std::int64_t sums = layout.w_hh.sum_slots();
  if (layout.w_hr) {
    budget.state += layout.w_hr->image.bytes();
    budget.weights += layout.w_hr->block_words(Place::shared) * word;
    sums = std::max(sums, layout.w_hr->sum_slots());
  }
  budget.sums = sums * group_batch * word;
  return budget;
}

}  // namespace sprnn::gather
