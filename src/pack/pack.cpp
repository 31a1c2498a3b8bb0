// What is common to all strategies: walking over the directions, biases, and the checks before and after.
#include "sprnn/pack.hpp"

#include <fmt/format.h>

#include <cmath>
#include <tuple>
#include <utility>

#include "plan/plan_json.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

std::string shape_text(const MatrixSummary& m) { return fmt::format("[{}, {}]", m.rows, m.cols); }

// The shapes of a model and of a problem agree; counts of non-zeros may differ, as they do when weights
// are replaced under the same plan.
void check_same_shapes(const Problem& planned, const Problem& given) {
  const auto fail = [](const std::string& what, const auto& expected, const auto& found) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("the plan is for {} {}, the model has {}; make a plan for this model", what,
                            expected, found));
  };
  if (planned.dtype != given.dtype) fail("dtype", to_string(planned.dtype), to_string(given.dtype));
  if (planned.directions.size() != given.directions.size()) {
    fail("directions:", planned.directions.size(), given.directions.size());
  }
  for (std::size_t i = 0; i < planned.directions.size(); ++i) {
    const DirectionProblem& p = planned.directions[i];
    const DirectionProblem& g = given.directions[i];
    const std::string suffix = parameter_suffix(p.layer, p.reverse);
    if (p.reverse != g.reverse) fail("reverse" + suffix, p.reverse, g.reverse);
    if (p.cell != g.cell) fail("cell" + suffix, to_string(p.cell), to_string(g.cell));
    if (p.bias != g.bias) fail("bias" + suffix, p.bias, g.bias);
    if (p.peephole != g.peephole) fail("peephole" + suffix, p.peephole, g.peephole);
    for (const auto& [name, a, b] :
         {std::tuple("weight_ih", &p.w_ih, &g.w_ih), std::tuple("weight_hh", &p.w_hh, &g.w_hh),
          std::tuple("weight_hr", &p.w_hr, &g.w_hr)}) {
      if (a->rows != b->rows || a->cols != b->cols) fail(name + suffix, shape_text(*a), shape_text(*b));
    }
  }
}

void check_vector(const std::string& name, const std::vector<float>& values, std::int64_t expected,
                  DType dtype) {
  const auto fail = [&](const std::string& message) {
    throw Error(ErrorCode::format, name + ": " + message);
  };
  if (static_cast<std::int64_t>(values.size()) != expected) {
    fail(fmt::format("{} values, expected {}", values.size(), expected));
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) fail(fmt::format("[{}] is {}: weights must be finite", i, values[i]));
    if (to_bits(DType::fp32, round_to(dtype, values[i])) != to_bits(DType::fp32, values[i])) {
      fail(fmt::format("[{}] is {}, which {} cannot hold", i, values[i], to_string(dtype)));
    }
  }
}

Direction empty_direction(const Problem& problem, const DirectionProblem& p) {
  const auto matrix = [](const MatrixSummary& m) {
    return Matrix{m.rows, m.cols, std::vector<float>(static_cast<std::size_t>(m.rows * m.cols))};
  };
  Direction direction;
  direction.cell = p.cell;
  direction.reverse = p.reverse;
  direction.w_ih = matrix(p.w_ih);
  direction.w_hh = matrix(p.w_hh);
  if (problem.projection_size > 0) direction.w_hr = matrix(p.w_hr);
  return direction;
}

std::vector<Section> pack_sections(const Direction& weights, const DirectionPlan& plan,
                                   const Problem& problem) {
  if (std::holds_alternative<CpuPlan>(plan.choice)) return cpu::pack(weights, plan, problem);
  if (std::holds_alternative<MmaPlan>(plan.choice)) return mma::pack(weights, plan, problem);
  return gather::pack(weights, plan, problem);
}

}  // namespace

const Section& PackedDirection::section(std::string_view name) const {
  for (const Section& section : sections) {
    if (section.name() == name) return section;
  }
  throw Error(ErrorCode::internal, fmt::format("no section '{}' in the packed direction", name));
}

Section& PackedDirection::section(std::string_view name) {
  return const_cast<Section&>(std::as_const(*this).section(name));
}

std::int64_t Packed::bytes() const noexcept {
  std::int64_t total = 0;
  for (const PackedDirection& direction : directions) {
    for (const Section& section : direction.sections) total += static_cast<std::int64_t>(section.size());
  }
  return total;
}

Packed pack(const Model& model, const Plan& plan) {
  sprnn::validate(model);
  const Problem given = describe(model, plan.problem.batch);
  check_same_shapes(plan.problem, given);
  Packed packed{plan, {}};
  packed.plan.problem = given;  // the counts of these weights
  check(packed.plan);           // it may come from a file
  std::size_t i = 0;
  for (const Layer& layer : model.layers) {
    for (const Direction& direction : layer.directions) {
      const DirectionPlan& choice = plan.directions[i];
      PackedDirection& out = packed.directions.emplace_back();
      out.sections = pack_sections(direction, choice, given);
      out.b_ih = direction.b_ih;
      out.b_hh = direction.b_hh;
      out.peephole = direction.peephole;
      set_bytes(packed.plan, i);
      ++i;
    }
  }
  return packed;
}

Model unpack(const Packed& packed) {
  const Problem& problem = packed.plan.problem;
  Model model{problem.dtype, problem.input_size, problem.hidden_size, problem.projection_size, {}};
  for (std::size_t i = 0; i < packed.directions.size(); ++i) {
    const DirectionProblem& p = problem.directions[i];
    const DirectionPlan& choice = packed.plan.directions[i];
    const PackedDirection& from = packed.directions[i];
    Direction direction = empty_direction(problem, p);
    if (std::holds_alternative<CpuPlan>(choice.choice)) {
      cpu::unpack(from.sections, choice, problem, direction);
    } else if (std::holds_alternative<MmaPlan>(choice.choice)) {
      mma::unpack(from.sections, choice, problem, direction);
    } else {
      gather::unpack(from.sections, choice, problem, direction);
    }
    direction.b_ih = from.b_ih;
    direction.b_hh = from.b_hh;
    direction.peephole = from.peephole;
    if (static_cast<std::size_t>(p.layer) == model.layers.size()) model.layers.emplace_back();
    model.layers.back().directions.push_back(std::move(direction));
  }
  return model;
}

void validate(const Packed& packed) {
  const Problem& problem = packed.plan.problem;
  check(packed.plan);
  if (packed.directions.size() != problem.directions.size()) {
    throw Error(ErrorCode::format, fmt::format("{} directions are packed, the plan has {}",
                                               packed.directions.size(), problem.directions.size()));
  }
  for (std::size_t i = 0; i < packed.directions.size(); ++i) {
    const DirectionProblem& p = problem.directions[i];
    const DirectionPlan& choice = packed.plan.directions[i];
    const PackedDirection& direction = packed.directions[i];
    const std::string suffix = parameter_suffix(p.layer, p.reverse);
    const std::int64_t biases = p.bias ? p.w_hh.rows : 0;
    check_vector("bias_ih" + suffix, direction.b_ih, biases, problem.dtype);
    check_vector("bias_hh" + suffix, direction.b_hh, biases, problem.dtype);
    check_vector("peephole" + suffix, direction.peephole, p.peephole ? 3 * problem.hidden_size : 0,
                 problem.dtype);
    if (std::holds_alternative<CpuPlan>(choice.choice)) {
      cpu::validate(direction.sections, choice, problem);
    } else if (std::holds_alternative<MmaPlan>(choice.choice)) {
      mma::validate(direction.sections, choice, problem);
    } else {
      gather::validate(direction.sections, choice, problem);
    }
  }
  check_bytes(packed.plan);
  check_counts(problem);
}

std::vector<PackFigure> pack_report(const Packed& packed, std::size_t direction) {
  if (direction >= packed.directions.size()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("direction {}: the model has {}", direction, packed.directions.size()));
  }
  const DirectionPlan& choice = packed.plan.directions[direction];
  const auto& sections = packed.directions[direction].sections;
  const Problem& problem = packed.plan.problem;
  if (std::holds_alternative<CpuPlan>(choice.choice)) return cpu::report(sections, choice, problem);
  if (std::holds_alternative<MmaPlan>(choice.choice)) return mma::report(sections, choice, problem);
  return gather::report(sections, choice, problem);
}

}  // namespace sprnn
