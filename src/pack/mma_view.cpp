#include "pack/mma_view.hpp"

namespace sprnn::mma {

std::vector<std::int32_t> rests_of(const MatrixSummary& summary) {
  return summary.row_rests.empty() ? std::vector<std::int32_t>(summary.row_nonzeros.size())
                                   : summary.row_rests;
}

View make_view(const std::vector<Section>& sections, const MmaPlan& plan, const Problem& problem,
               const DirectionProblem& direction) {
  View view;
  view.layout = make_layout(plan, problem, direction);
  view.units = gpu::view_maps(sections, view.layout).units;
  for (const Place place : places) {
    const Section& section = gpu::find_section(sections, fmt::format("w_hh.{}", gpu::to_string(place)));
    view.halves[static_cast<std::size_t>(place)] = section.as<std::uint16_t>();
  }
  if (view.layout.rest) {
    auto staged = std::make_shared<std::vector<std::int32_t>>(view.layout.rest->image.positions, -1);
    for (std::int64_t column = 0; column < view.layout.units; ++column) {
      const std::int64_t position = view.layout.w_hh.staged_position(column, plan.group_batch);
      (*staged)[static_cast<std::size_t>(position)] = static_cast<std::int32_t>(column);
    }
    view.staged = std::move(staged);
    view.rest = gather::view_matrix(sections, *view.layout.rest, view.units, view.staged->data());
  }
  return view;
}

}  // namespace sprnn::mma
