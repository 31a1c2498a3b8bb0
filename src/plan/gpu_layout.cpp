#include "plan/gpu_layout.hpp"

#include <algorithm>
#include <numeric>

#include "plan/gather_layout.hpp"
#include "plan/mma_layout.hpp"

namespace sprnn::gpu {

namespace {

constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) noexcept {
  return (value + multiple - 1) / multiple * multiple;
}

}  // namespace

std::string_view to_string(Place place) noexcept {
  switch (place) {
    case Place::registers:
      return "registers";
    case Place::shared:
      return "shared";
    default:
      return "l2";
  }
}

int Image::phase_lanes() const noexcept { return std::min(warp_lanes, bank_row_bytes / word_bytes); }

Image make_image(std::int64_t positions, int word_bytes, int group_batch, DType dtype) {
  Image image;
  image.positions = positions;
  image.word_bytes = word_bytes;
  image.entries = word_bytes / static_cast<int>(size_of(dtype));
  image.planes = (group_batch + image.entries - 1) / image.entries;
  image.zeros = round_up(positions * word_bytes, bank_row_bytes);
  image.plane_bytes = image.zeros + bank_row_bytes;
  return image;
}

Frame make_frame(const GpuPlan& plan, int units_a_cta, int outputs_a_cta, int word_bytes,
                 const Problem& problem, const DirectionProblem& direction) {
  const auto image = [&](int units) {
    return make_image(std::int64_t{plan.ctas} * units, word_bytes, plan.group_batch, problem.dtype);
  };
  Frame frame;
  frame.ctas = plan.ctas;
  frame.threads = plan.warps * warp_lanes;
  frame.gates = direction.cell.gates();
  frame.in_cluster = plan.in_cluster;
  frame.units = problem.hidden_size;
  frame.outputs = problem.projection_size > 0 ? problem.projection_size : problem.hidden_size;
  frame.units_a_cta = units_a_cta;
  frame.outputs_a_cta = outputs_a_cta;
  frame.state = image(outputs_a_cta);
  if (problem.projection_size > 0) frame.output = image(units_a_cta);
  return frame;
}

Frame make_frame(const DirectionPlan& plan, const Problem& problem, const DirectionProblem& direction) {
  if (const auto* mma = std::get_if<MmaPlan>(&plan.choice)) return mma::make_layout(*mma, problem, direction);
  return gather::make_layout(std::get<GatherPlan>(plan.choice), problem, direction);
}

bool has_free_bit(const Problem& problem, const DirectionProblem& direction) {
  return problem.projection_size == 0 && (direction.cell.is_bounded() || direction.cell == relu_cell());
}

std::vector<SectionSize> map_sections(const Frame& frame) {
  std::vector<SectionSize> sizes{{"unit_map", 4 * frame.positions()}};
  if (frame.output) sizes.push_back({"output_map", 4 * std::int64_t{frame.ctas} * frame.outputs_a_cta});
  return sizes;
}

std::vector<SectionSize> input_sections(InputStorage storage, const Problem& problem,
                                        const DirectionProblem& direction) {
  const auto element = static_cast<std::int64_t>(size_of(problem.dtype));
  const MatrixSummary& w_ih = direction.w_ih;
  if (storage == InputStorage::dense) return {{"w_ih.dense", element * w_ih.rows * w_ih.cols}};
  return {{"w_ih.row_begin", 8 * (w_ih.rows + 1)},
          {"w_ih.columns", 4 * w_ih.nonzeros()},
          {"w_ih.values", element * w_ih.nonzeros()}};
}

std::int64_t total_bytes(const std::vector<SectionSize>& sections) noexcept {
  return std::accumulate(sections.begin(), sections.end(), std::int64_t{0},
                         [](std::int64_t sum, const SectionSize& section) { return sum + section.bytes; });
}

std::int64_t workspace_bytes(const GpuPlan& plan, const Frame& frame, const Problem& problem) {
  const std::int64_t tile = 4 * frame.gates * frame.units * problem.batch * plan.tile_steps;
  return tile + ring_bytes(plan, frame);
}

std::int64_t staged_quads(int ctas, int units_a_cta, int group_batch, int element_bytes, ExchangeWord word) {
  const int entries = 16 / element_bytes - (word == ExchangeWord::tag ? 1 : 0);
  const std::int64_t slice = std::int64_t{units_a_cta} * group_batch;
  return ctas * ((slice + entries - 1) / entries);
}

std::int64_t ring_bytes(const GpuPlan& plan, const Frame& frame) {
  std::int64_t positions = frame.state.positions;
  if (frame.output) positions += frame.output->positions;
  // Two slots, one chain of them for each group; a tag takes at most a third more.
  return 2 * plan.groups * positions * plan.group_batch * static_cast<std::int64_t>(sizeof(float));
}

}  // namespace sprnn::gpu
