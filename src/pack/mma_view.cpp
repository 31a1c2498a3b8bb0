#include "pack/mma_view.hpp"

namespace sprnn::mma {

View make_view(const std::vector<Section>& sections, const MmaPlan& plan, const Problem& problem,
               const DirectionProblem& direction) {
  View view;
  view.layout = make_layout(plan, problem, direction);
  view.units = gpu::view_maps(sections, view.layout).units;
  for (const Place place : places) {
    const Section& section = gpu::find_section(sections, fmt::format("w_hh.{}", gpu::to_string(place)));
    view.halves[static_cast<std::size_t>(place)] = section.as<std::uint16_t>();
  }
  return view;
}

}  // namespace sprnn::mma
