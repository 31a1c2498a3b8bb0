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

std::string image_source(std::string_view name, const gather::Image& image, int units_a_cta) {
  return fmt::format(
      "struct {} {{\n  static constexpr int units_a_cta = {}, word_bytes = {}, entries = {}, planes = {}, "
      "plane_bytes = "
      "{};\n}};\n",
      name, units_a_cta, image.word_bytes, image.entries, image.planes, image.plane_bytes);
}

std::string matrix_source(std::string_view name, std::string_view image, const MatrixLayout& m) {
  std::string text = fmt::format(
      "struct {} {{\n  using Image = {};\n"
      "  static constexpr int lanes = {}, offset_unit = {}, passes = {};\n"
      "  static constexpr bool half_sums = {}, wide_values = {};\n"
      "  static constexpr int register_slots = {}, shared_quads = {}, l2_quads = {};\n"
      "  static constexpr int register_block_words = {}, shared_block_words = {}, l2_block_words = {};\n",
      name, image, m.lanes, m.offset_unit, m.passes.size(), m.half_sums, m.wide_values, m.slots[0],
      quads(m.slots[1]), quads(m.slots[2]), m.block_words(Place::registers), m.block_words(Place::shared),
      m.block_words(Place::l2));
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

}  // namespace

KernelShape kernel_shape(const Plan& plan, std::size_t direction) {
  const DirectionProblem& problem = plan.problem.directions[direction];
  KernelShape shape;
  shape.plan = std::get<GatherPlan>(plan.directions[direction].choice);
  shape.dtype = plan.problem.dtype;
  shape.cell = problem.cell;
  shape.layout = gather::make_layout(shape.plan, plan.problem, problem);
  shape.h_word = shape.plan.exchange_word;
  return shape;
}

SharedMap shared_map(const KernelShape& shape) {
  const gather::Layout& layout = shape.layout;
  constexpr std::int64_t word = 4;
  SharedMap map;
  map.out_image = align(layout.w_hh.image.bytes());
  map.given_up = layout.w_hr ? align(map.out_image + layout.w_hr->image.bytes()) : map.out_image;
  map.sums = align(map.given_up + word);
  const std::int64_t rows =
      std::max<std::int64_t>(layout.w_hh.rows_a_cta(), layout.w_hr ? layout.w_hr->rows_a_cta() : 0);
  map.hh_pairs = align(map.sums + rows * shape.plan.group_batch * word);
  map.hr_pairs = align(map.hh_pairs + layout.w_hh.block_words(Place::shared) * word);
  map.end = layout.w_hr ? map.hr_pairs + layout.w_hr->block_words(Place::shared) * word : map.hr_pairs;
  return map;
}

std::int64_t shared_bytes(const KernelShape& shape, const GpuDescription& gpu) {
  const std::int64_t more_than_half = gpu.shared_bytes_per_sm / 2 + 1024;
  return std::clamp(shared_map(shape).end, std::min(more_than_half, gpu.shared_bytes_per_block),
                    gpu.shared_bytes_per_block);
}

std::int64_t projection_columns(const KernelShape& shape) {
  const std::int64_t rows = std::int64_t{shape.plan.ctas} * shape.layout.w_hh.rows_a_cta();
  return (rows + 3) / 4 * 4;
}

std::int64_t exchange_quads(int units_a_cta, ExchangeWord word, const KernelShape& shape) {
  const int entries = 16 / static_cast<int>(size_of(shape.dtype)) - (word == ExchangeWord::tag ? 1 : 0);
  const std::int64_t slice = std::int64_t{units_a_cta} * shape.plan.group_batch;
  return shape.plan.ctas * ((slice + entries - 1) / entries);
}

std::string plan_source(const KernelShape& shape) {
  const GatherPlan& plan = shape.plan;
  const gather::Layout& layout = shape.layout;
  const SharedMap map = shared_map(shape);
  std::string text = "#pragma once\n#include \"types.cuh\"\n";
  text += fmt::format("using Element = {};\n", element_name(shape.dtype));
  text += fmt::format("constexpr Cell CELL = Cell::{};\n", cell_name(shape.cell));
  text += fmt::format("constexpr Word H_WORD = Word::{};\n", to_string(shape.h_word));
  text += fmt::format("#define PROJECTED {:d}\n", layout.w_hr.has_value());
  const auto constant = [&](std::string_view name, std::int64_t value) {
    text += fmt::format("constexpr int {} = {};\n", name, value);
  };
  constant("GATES", shape.cell.gates());
  constant("CTAS", plan.ctas);
  constant("THREADS", layout.w_hh.threads);
  constant("GROUP_BATCH", plan.group_batch);
  constant("PROJECTION_COLUMNS", projection_columns(shape));
  constant("POLL_WAIT", plan.poll_wait_cycles);
  constant("H_IMAGE_AT", map.h_image);
  constant("OUT_IMAGE_AT", map.out_image);
  constant("GIVEN_UP_AT", map.given_up);
  constant("SUMS_AT", map.sums);
  constant("HH_PAIRS_AT", map.hh_pairs);
  constant("HR_PAIRS_AT", map.hr_pairs);
  const auto flag = [&](std::string_view name, bool value) {
    text += fmt::format("constexpr bool {} = {};\n", name, value);
  };
  flag("STAMPS", plan.stamps);
  flag("FENCE", plan.fence);
  flag("OPAQUE_PAIRS", plan.opaque_pairs);
  text += image_source("HImage", layout.w_hh.image, layout.outputs_a_cta);
  text += matrix_source("Hh", "HImage", layout.w_hh);
  if (layout.w_hr) {
    text += image_source("OutImage", layout.w_hr->image, plan.w_hh.units_a_cta);
    text += matrix_source("Hr", "OutImage", *layout.w_hr);
  }
  return text;
}

}  // namespace sprnn::cuda
