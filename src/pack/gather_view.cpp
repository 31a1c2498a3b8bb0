#include "pack/gather_view.hpp"

#include <fmt/format.h>

#include "sprnn/error.hpp"

namespace sprnn::gather {

namespace {

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

}  // namespace

const DirectionProblem& problem_of(const DirectionPlan& plan, const Problem& problem) {
  for (const DirectionProblem& direction : problem.directions) {
    if (direction.layer == plan.layer && direction.reverse == plan.reverse) return direction;
  }
  throw Error(ErrorCode::internal, fmt::format("a plan for layer {}, which the problem lacks", plan.layer));
}

const Section& find_section(const std::vector<Section>& sections, std::string_view name) {
  for (const Section& section : sections) {
    if (section.name() == name) return section;
  }
  throw Error(ErrorCode::format, fmt::format("section '{}' is missing", name));
}

View make_view(const std::vector<Section>& sections, const GatherPlan& plan, const Problem& problem,
               const DirectionProblem& direction) {
  View view;
  view.layout = make_layout(plan, problem, direction);
  view.unit_map = find_section(sections, "unit_map").as<std::int32_t>();
  view.output_map = plan.w_hr ? find_section(sections, "output_map").as<std::int32_t>() : view.unit_map;
  view.w_hh = view_matrix(sections, view.layout.w_hh, view.unit_map, view.output_map);
  if (plan.w_hr) view.w_hr = view_matrix(sections, *view.layout.w_hr, view.output_map, view.unit_map);
  return view;
}

}  // namespace sprnn::gather
