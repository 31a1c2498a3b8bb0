#include "engines/cuda/plan_source.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace sprnn::cuda {

namespace {

using gather::MatrixLayout;
using gather::Place;

constexpr std::int64_t align(std::int64_t bytes) { return (bytes + 127) / 128 * 128; }
constexpr int quads(int slots) { return (slots + gather::quad - 1) / gather::quad; }

std::string_view element_name(DType dtype) {
  switch (dtype) {
    case DType::fp16:
      return "Fp16";
    case DType::bf16:
      return "Bf16";
    default:
      return "Fp32";
  }
}

std::string_view cell_name(const Cell& cell) {
  switch (cell.kind) {
    case CellKind::gru:
      return "gru";
    case CellKind::lstm:
      return "lstm";
    default:
      return cell.activations[0].kind == ActivationKind::relu ? "relu" : "tanh";
  }
}

std::string image_source(std::string_view name, const gpu::Image& image, int units_a_cta) {
  return fmt::format(
      "struct {} {{\n  static constexpr int units_a_cta = {}, word_bytes = {}, entries = {}, planes = {}, "
      "plane_bytes = "
      "{};\n}};\n",
      name, units_a_cta, image.word_bytes, image.entries, image.planes, image.plane_bytes);
}

std::string matrix_source(std::string_view name, std::string_view image, const MatrixLayout& m) {
  std::string text = fmt::format(
      "struct {} {{\n  using Image = {};\n"
      "  static constexpr int rows_a_cta = {}, lanes = {}, parts = {}, offset_unit = {}, passes = {};\n"
      "  static constexpr bool half_sums = {}, wide_values = {};\n"
      "  static constexpr int register_slots = {}, shared_quads = {}, l2_quads = {};\n"
      "  static constexpr int register_block_words = {}, shared_block_words = {}, l2_block_words = {};\n",
      name, image, m.rows_a_cta(), m.lanes, m.parts, m.offset_unit, m.passes.size(), m.half_sums,
      m.wide_values, m.slots[0], quads(m.slots[1]), quads(m.slots[2]), m.block_words(Place::registers),
      m.block_words(Place::shared), m.block_words(Place::l2));
  const auto table = [&](std::string_view field, auto&& value) {
    std::vector<int> values;
    for (std::size_t p = 0; p < m.passes.size(); ++p) values.push_back(value(p));
    text += fmt::format("  static constexpr int {}[] = {{{}}};\n", field, fmt::join(values, ", "));
  };
  table("register_count", [&](std::size_t p) { return m.passes[p].registers; });
  table("register_first", [&](std::size_t p) { return m.first[p][0]; });
  table("shared_count", [&](std::size_t p) { return quads(m.passes[p].shared); });
  table("shared_first", [&](std::size_t p) { return m.first[p][1] / gather::quad; });
  table("l2_count", [&](std::size_t p) { return quads(m.passes[p].l2); });
  table("l2_first", [&](std::size_t p) { return m.first[p][2] / gather::quad; });
  return text + "};\n";
}

// The strategy's part of plan.cuh.
std::string product_source(const GatherShape& shape, const KernelShape& /*kernel*/) {
  std::string text = fmt::format(
      "#define PRODUCT \"gather_product.cuh\"\n#define HELD_STATE 0\nconstexpr bool WATCH_NONFINITE = "
      "false;\n"
      "constexpr bool OPAQUE_PAIRS = {};\n",
      shape.opaque_pairs);
  text += matrix_source("Hh", "HImage", shape.layout.w_hh);
  if (shape.layout.w_hr) text += matrix_source("Hr", "OutImage", *shape.layout.w_hr);
  return text;
}

std::string product_source(const MmaShape& shape, const KernelShape& kernel) {
  const mma::MatrixLayout& m = shape.layout.w_hh;
  const int group_batch = kernel.plan.group_batch;
  std::string text = fmt::format(
      "#define PRODUCT \"{}_product.cuh\"\n#define HELD_STATE {:d}\nconstexpr bool WATCH_NONFINITE = true;\n"
      "struct Hh {{\n  using Image = HImage;\n",
      m.gathered ? "vector_mma" : "dense_mma", !m.gathered);
  const auto constant = [&](std::string_view name, std::int64_t value) {
    text += fmt::format("  static constexpr int {} = {};\n", name, value);
  };
  constant("tiles", m.tiles_a_warp());
  constant("row_parts", m.row_parts);
  constant("column_warps", m.column_warps());
  constant("whole_rows", m.whole_rows());
  constant("units_a_warp", m.units_a_warp());
  constant("rows_a_tile", m.rows_a_tile);
  constant("steps", m.steps.total());
  constant("register_steps", m.steps.registers);
  constant("shared_steps", m.steps.shared);
  constant("l2_steps", m.steps.l2);
  constant("held_steps", m.held_steps());
  constant("kept_steps", m.kept_steps);
  constant("fragments_ahead", m.fragments_ahead());
  const bool unrolled = m.unrolls_late_steps(kernel.plan, kernel.cell, kernel.h_word);
  constant("unrolls_late_steps", unrolled);
  constant("quads_ahead", unrolled ? m.unrolled_quads_ahead() : 1);
  constant("streams_two_steps", unrolled ? m.unrolled_streams_two_steps() : m.streams_two_steps());
  constant("index_words", m.index_words());
  constant("sparse", m.sparse);
  constant("sum_sets", m.sum_sets());
  constant("sum_rows", m.sum_rows());
  constant("sum_pitch", m.sum_pitch(group_batch));
  constant("sum_gap", m.sum_gap(group_batch));
  constant("sum_words", m.sum_words(group_batch));
  constant("has_rest", m.has_rest);
  constant("unit_words", m.unit_words(group_batch));
  constant("register_block_words", m.block_words(Place::registers));
  constant("shared_block_words", m.block_words(Place::shared));
  constant("l2_block_words", m.block_words(Place::l2));
  text += "};\n";
  if (shape.layout.rest) {
    const gather::MatrixLayout& rest = *shape.layout.rest;
    text += image_source("StagedImage", rest.image, rest.units_a_cta);
    text += "constexpr bool OPAQUE_PAIRS = false;\n" + matrix_source("Rest", "StagedImage", rest);
  }
  return text;
}

// Bytes of a CTA's shared memory.
struct ProductBytes {
  std::int64_t state = 0, sums = 0, rest_sums = 0, hh_weights = 0, hr_weights = 0, rest_weights = 0;
};

constexpr std::int64_t bytes_a_word = 4;

ProductBytes product_bytes(const GatherShape& shape, int group_batch) {
  const gather::Layout& layout = shape.layout;
  ProductBytes bytes;
  bytes.state = layout.state.bytes();
  bytes.sums = gather::shared_budget(layout, group_batch, 0).sums;
  bytes.hh_weights = layout.w_hh.block_words(Place::shared) * bytes_a_word;
  if (layout.w_hr) bytes.hr_weights = layout.w_hr->block_words(Place::shared) * bytes_a_word;
  return bytes;
}

ProductBytes product_bytes(const MmaShape& shape, int group_batch) {
  const SharedBudget budget = mma::shared_budget(shape.layout, group_batch, 0);
  ProductBytes bytes;
  bytes.state = budget.state;
  bytes.hh_weights = shape.layout.w_hh.block_words(Place::shared) * bytes_a_word;
  if (shape.layout.rest) {
    bytes.rest_sums = mma::rest_sum_bytes(*shape.layout.rest, group_batch);
    bytes.rest_weights = shape.layout.rest->block_words(Place::shared) * bytes_a_word;
  }
  bytes.sums = budget.sums - bytes.rest_sums;
  return bytes;
}

}  // namespace

bool in_cluster(const KernelShape& shape) noexcept {
  return shape.plan.in_cluster && shape.h_word == shape.plan.exchange_word;
}

bool is_counted(const KernelShape& shape) noexcept {
  return in_cluster(shape) && holds_state(shape) &&
         std::get<MmaShape>(shape.product).layout.w_hh.whole_rows();
}

bool holds_state(const KernelShape& shape) noexcept {
  const auto* mma = std::get_if<MmaShape>(&shape.product);
  return mma != nullptr && !mma->layout.w_hh.gathered;
}

bool has_rest(const KernelShape& shape) noexcept {
  const auto* mma = std::get_if<MmaShape>(&shape.product);
  return mma != nullptr && mma->layout.rest.has_value();
}

KernelShape kernel_shape(const Plan& plan, std::size_t direction, int compute_capability) {
  constexpr int first_with_clusters = 90;
  const DirectionPlan& planned = plan.directions[direction];
  const DirectionProblem& problem = plan.problem.directions[direction];
  KernelShape shape;
  shape.plan = planned.gpu();
  shape.plan.in_cluster &= compute_capability >= first_with_clusters;
  shape.dtype = plan.problem.dtype;
  shape.cell = problem.cell;
  shape.frame = gpu::make_frame(planned, plan.problem, problem);
  if (const auto* mma = std::get_if<MmaPlan>(&planned.choice)) {
    shape.product = MmaShape{mma::make_layout(*mma, plan.problem, problem)};
  } else {
    const auto& gather = std::get<GatherPlan>(planned.choice);
    shape.product = GatherShape{gather::make_layout(gather, plan.problem, problem), gather.opaque_pairs};
  }
  shape.h_word = shape.plan.exchange_word;
  return shape;
}

SharedMap shared_map(const KernelShape& shape) {
  const gpu::Frame& frame = shape.frame;
  const ProductBytes bytes = std::visit(
      [&](const auto& product) { return product_bytes(product, shape.plan.group_batch); }, shape.product);
  SharedMap map;
  map.out_image = align(bytes.state);
  map.given_up = frame.output ? align(map.out_image + frame.output->bytes()) : map.out_image;
  map.ring = align(map.given_up + 8);
  map.counters = map.ring;
  if (in_cluster(shape))
    map.counters += gpu::shared_ring_bytes(exchange_quads(shape.frame.outputs_a_cta, shape.h_word, shape));
  map.sums = map.counters + (is_counted(shape) ? gpu::counter_bytes : 0);
  map.rest_sums = map.sums + bytes.sums;
  map.hh_weights = align(map.rest_sums + bytes.rest_sums);
  map.hr_weights = align(map.hh_weights + bytes.hh_weights);
  map.rest_weights = align(map.hr_weights + bytes.hr_weights);
  map.end = map.rest_weights + bytes.rest_weights;
  return map;
}

std::int64_t shared_bytes(const KernelShape& shape, const GpuDescription& gpu) {
  const std::int64_t more_than_half = gpu.shared_bytes_per_sm / 2 + 1024;
  return std::clamp(shared_map(shape).end, std::min(more_than_half, gpu.shared_bytes_per_block),
                    gpu.shared_bytes_per_block);
}

std::int64_t projection_columns(const KernelShape& shape) {
  const std::int64_t rows = std::int64_t{shape.frame.ctas} * shape.frame.rows_a_cta();
  return (rows + 3) / 4 * 4;
}

std::int64_t exchange_quads(int units_a_cta, ExchangeWord word, const KernelShape& shape) {
  if (holds_state(shape)) {
    const mma::MatrixLayout& w_hh = std::get<MmaShape>(shape.product).layout.w_hh;
    return w_hh.ring_quads(shape.plan.group_batch, word);
  }
  return gpu::staged_quads(shape.plan.ctas, units_a_cta, shape.plan.group_batch,
                           static_cast<int>(size_of(shape.dtype)), word);
}

namespace {

// 16-byte polls of a thread in flight: all, but the registers of a kernel that stands in for the planned one
// are planned for that one's stamps, which are fewer and are staged together. With a rest no word is held.
int polls_at_once(const KernelShape& shape) {
  constexpr int all = 1 << 20;
  const bool planned_word = shape.h_word == shape.plan.exchange_word;
  if (has_rest(shape)) return mma::staged_at_once / (planned_word ? 1 : 2);
  if (planned_word) return all;
  const std::int64_t planned = exchange_quads(shape.frame.outputs_a_cta, shape.plan.exchange_word, shape);
  const int readers = holds_state(shape)
                          ? std::get<MmaShape>(shape.product).layout.w_hh.column_warps() * gpu::warp_lanes
                          : shape.frame.threads;
  return std::max(1, static_cast<int>(planned / readers / 2));
}

}  // namespace

std::string plan_source(const KernelShape& shape) {
  const GpuPlan& plan = shape.plan;
  const gpu::Frame& frame = shape.frame;
  const SharedMap map = shared_map(shape);
  std::string text = "#pragma once\n#include \"types.cuh\"\n";
  text += fmt::format("using Element = {};\n", element_name(shape.dtype));
  text += fmt::format("constexpr Cell CELL = Cell::{};\n", cell_name(shape.cell));
  text += fmt::format("constexpr Word H_WORD = Word::{};\n", to_string(shape.h_word));
  text += fmt::format("#define PROJECTED {:d}\n", frame.output.has_value());
  text += fmt::format("#define IN_CLUSTER {:d}\n", in_cluster(shape));
  text += fmt::format("#define COUNTED {:d}\n", is_counted(shape));
  text += fmt::format("#define HAS_REST {:d}\n", has_rest(shape));
  const auto constant = [&](std::string_view name, std::int64_t value) {
    text += fmt::format("constexpr int {} = {};\n", name, value);
  };
  constant("GATES", frame.gates);
  constant("CTAS", frame.ctas);
  constant("THREADS", frame.threads);
  constant("GROUP_BATCH", plan.group_batch);
  constant("PROJECTION_COLUMNS", projection_columns(shape));
  constant("POLLS_AT_ONCE", polls_at_once(shape));
  constant("H_IMAGE_AT", map.h_image);
  constant("OUT_IMAGE_AT", map.out_image);
  constant("GIVEN_UP_AT", map.given_up);
  constant("RING_AT", map.ring);
  constant("COUNTERS_AT", map.counters);
  constant("SUMS_AT", map.sums);
  constant("HH_WEIGHTS_AT", map.hh_weights);
  constant("HR_WEIGHTS_AT", map.hr_weights);
  if (has_rest(shape)) {
    constant("REST_SUMS_AT", map.rest_sums);
    constant("REST_WEIGHTS_AT", map.rest_weights);
  }
  const auto flag = [&](std::string_view name, bool value) {
    text += fmt::format("constexpr bool {} = {};\n", name, value);
  };
  flag("STAMPS", plan.stamps);
  flag("FENCE", plan.fence);
  text += image_source("HImage", frame.state, frame.outputs_a_cta);
  if (frame.output) text += image_source("OutImage", *frame.output, frame.units_a_cta);
  return text +
         std::visit([&](const auto& product) { return product_source(product, shape); }, shape.product);
}

}  // namespace sprnn::cuda
