// The strategy `cpu` of plan/strategy.hpp: what pack does with the matrices of one direction.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "pack/cpu_layout.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn::cpu {

namespace {

const DirectionProblem& find_problem(const Problem& problem, const DirectionPlan& plan) {
  const auto found = std::find_if(
      problem.directions.begin(), problem.directions.end(),
      [&](const DirectionProblem& d) { return d.layer == plan.layer && d.reverse == plan.reverse; });
  if (found == problem.directions.end()) {
    throw Error(ErrorCode::format, fmt::format("the plan's direction{} is not in the problem",
                                               parameter_suffix(plan.layer, plan.reverse)));
  }
  return *found;
}

struct Part {
  const char* name;
  CpuLayout layout;
  MatrixShape shape;
  const MatrixSummary* summary;
};

std::array<Part, 3> parts_of(const Problem& problem, const DirectionPlan& plan) {
  const auto& choice = std::get<CpuPlan>(plan.choice);
  const DirectionProblem& p = find_problem(problem, plan);
  const DirectionShapes shapes = shapes_of(problem, plan);
  return {Part{"w_ih", choice.w_ih, shapes.w_ih, &p.w_ih}, Part{"w_hh", choice.w_hh, shapes.w_hh, &p.w_hh},
          Part{"w_hr", choice.w_hr, shapes.w_hr, &p.w_hr}};
}

std::size_t sections_of(CpuLayout layout) {
  return layout == CpuLayout::none ? 0 : layout == CpuLayout::dense ? 1 : 3;
}

}  // namespace

DirectionShapes shapes_of(const Problem& problem, const DirectionPlan& plan) {
  const DirectionProblem& p = find_problem(problem, plan);
  const std::int64_t gates = p.cell.gates();
  return {{gates, problem.hidden_size, p.w_ih.cols},
          {gates, problem.hidden_size, p.w_hh.cols},
          {problem.projection_size > 0 ? 1 : 0, problem.projection_size, p.w_hr.cols}};
}

std::vector<Section> pack(const Direction& weights, const DirectionPlan& plan, const Problem& problem) {
  std::vector<Section> sections;
  const std::array<const Matrix*, 3> matrices = {&weights.w_ih, &weights.w_hh, &weights.w_hr};
  const std::array<Part, 3> parts = parts_of(problem, plan);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    pack_matrix(*matrices[i], parts[i].shape, parts[i].layout, parts[i].name, sections);
  }
  return sections;
}

void validate(const std::vector<Section>& sections, const DirectionPlan& plan, const Problem& problem) {
  std::size_t expected = 0;
  for (const Part& part : parts_of(problem, plan)) {
    expected += sections_of(part.layout);
    validate_matrix(view_matrix(sections, part.shape, part.layout, part.name), problem.dtype, part.name,
                    *part.summary);
  }
  if (sections.size() != expected) {
    throw Error(ErrorCode::format, fmt::format("{} sections, expected {}", sections.size(), expected));
  }
}

void unpack(const std::vector<Section>& sections, const DirectionPlan& plan, const Problem& problem,
            Direction& weights) {
  const std::array<Matrix*, 3> matrices = {&weights.w_ih, &weights.w_hh, &weights.w_hr};
  const std::array<Part, 3> parts = parts_of(problem, plan);
  for (std::size_t i = 0; i < parts.size(); ++i) {
    unpack_matrix(view_matrix(sections, parts[i].shape, parts[i].layout, parts[i].name), *matrices[i]);
  }
}

std::vector<PackFigure> report(const std::vector<Section>& sections, const DirectionPlan& plan,
                               const Problem& problem) {
  const std::array<Part, 3> parts = parts_of(problem, plan);
  std::vector<PackFigure> figures;
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const Part& part = parts[i];
    if (part.layout == CpuLayout::none) continue;
    const MatrixView view = view_matrix(sections, part.shape, part.layout, part.name);
    std::int64_t bytes = 0;
    for (const Section& section : sections) {
      if (section.name().rfind(part.name, 0) == 0) bytes += static_cast<std::int64_t>(section.size());
    }
    const auto stored = static_cast<double>(std::max<std::int64_t>(stored_values(view), 1));
    const auto nonzeros = static_cast<double>(parts[i].summary->nonzeros());
    const std::string prefix = fmt::format("{} as {}: ", part.name, to_string(part.layout));
    figures.push_back({prefix + "bytes", static_cast<double>(bytes), "B"});
    figures.push_back({prefix + "stored values that are non-zero", nonzeros / stored, ""});
    if (nonzeros > 0)
      figures.push_back({prefix + "bytes a non-zero", static_cast<double>(bytes) / nonzeros, "B"});
  }
  return figures;
}

}  // namespace sprnn::cpu
