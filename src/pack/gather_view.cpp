#include "pack/gather_view.hpp"

#include <fmt/format.h>

namespace sprnn::gather {

MatrixView view_matrix(const std::vector<Section>& sections, const MatrixLayout& layout,
                       const std::int32_t* units, const std::int32_t* columns) {
  MatrixView view;
  view.layout = layout;
  view.row_map = find_section(sections, layout.name + ".row_map").as<std::int32_t>();
  for (const Place place : places) {
    const Section& section = find_section(sections, fmt::format("{}.{}", layout.name, to_string(place)));
    view.pairs[static_cast<std::size_t>(place)] = section.as<std::uint32_t>();
  }
  view.units = units;
  view.columns = columns;
  return view;
}

View make_view(const std::vector<Section>& sections, const GatherPlan& plan, const Problem& problem,
               const DirectionProblem& direction) {
  View view;
  view.layout = make_layout(plan, problem, direction);
  const gpu::UnitMaps maps = gpu::view_maps(sections, view.layout);
  view.w_hh = view_matrix(sections, view.layout.w_hh, maps.units, maps.outputs);
  if (plan.w_hr) view.w_hr = view_matrix(sections, *view.layout.w_hr, maps.outputs, maps.units);
  return view;
}

}  // namespace sprnn::gather
