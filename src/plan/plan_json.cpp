// Plans as JSON, both ways.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/json.hpp"
#include "plan/plan_json.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

using nlohmann::json;

json matrix_json(const MatrixSummary& m) {
  json j = {{"rows", m.rows},
            {"cols", m.cols},
            {"row_nonzeros", m.row_nonzeros},
            {"group_columns", m.group_columns},
            {"tile_slots", m.tile_slots}};
  if (!m.shared_columns.empty()) j["shared_columns"] = m.shared_columns;
  if (m.most_of_four) j["most_of_four"] = *m.most_of_four;
  if (!m.row_rests.empty()) j["row_rests"] = m.row_rests;
  if (m.large_weights) j["large_weights"] = true;
  return j;
}

MatrixSummary matrix_from(const json& j) {
  MatrixSummary m;
  m.rows = value_at<std::int64_t>(j, "rows");
  m.cols = value_at<std::int64_t>(j, "cols");
  for (const json& count : j.at("row_nonzeros")) {
    m.row_nonzeros.push_back(to_integer<std::int32_t>(count, "row_nonzeros"));
  }
  m.group_columns = value_at<std::int64_t>(j, "group_columns");
  m.tile_slots = value_at<std::int64_t>(j, "tile_slots");
  if (j.contains("shared_columns")) {
    for (const json& count : j.at("shared_columns"))
      m.shared_columns.push_back(to_integer<std::int32_t>(count, "shared_columns"));
  }
  if (j.contains("most_of_four")) m.most_of_four = value_at<int>(j, "most_of_four");
  if (j.contains("row_rests")) {
    for (const json& count : j.at("row_rests"))
      m.row_rests.push_back(to_integer<std::int32_t>(count, "row_rests"));
  }
  if (j.contains("large_weights")) m.large_weights = value_at<bool>(j, "large_weights");
  return m;
}

json cell_json(const Cell& cell) {
  json activations = json::array();
  for (const Activation& a : cell.activations) {
    activations.push_back({{"kind", to_string(a.kind)}, {"alpha", a.alpha}, {"beta", a.beta}});
  }
  json j = {{"kind", to_string(cell.kind)},
            {"activations", activations},
            {"reset_before_product", cell.reset_before_product},
            {"input_forget", cell.input_forget}};
  if (cell.clip) j["clip"] = *cell.clip;
  return j;
}

CellKind kind_from(const std::string& name) {
  for (const CellKind kind : {CellKind::rnn, CellKind::gru, CellKind::lstm}) {
    if (name == to_string(kind)) return kind;
  }
  throw Error(ErrorCode::format, fmt::format("cell kind {}: expected rnn, gru or lstm", quote(name)));
}

Cell cell_from(const json& j) {
  Cell cell;
  cell.kind = kind_from(value_at<std::string>(j, "kind"));
  const json& activations = j.at("activations");
  if (!activations.is_array() || activations.size() != cell.activations.size()) {
    throw Error(ErrorCode::format,
                fmt::format("activations: expected a list of {}", cell.activations.size()));
  }
  for (std::size_t i = 0; i < cell.activations.size(); ++i) {
    const json& a = activations[i];
    cell.activations[i] = {parse_activation(value_at<std::string>(a, "kind")), value_at<float>(a, "alpha"),
                           value_at<float>(a, "beta")};
  }
  cell.reset_before_product = value_at<bool>(j, "reset_before_product");
  cell.input_forget = value_at<bool>(j, "input_forget");
  if (j.contains("clip")) cell.clip = value_at<float>(j, "clip");
  return cell;
}

json problem_json(const Problem& problem) {
  json directions = json::array();
  for (const DirectionProblem& d : problem.directions) {
    directions.push_back({{"layer", d.layer},
                          {"reverse", d.reverse},
                          {"cell", cell_json(d.cell)},
                          {"bias", d.bias},
                          {"peephole", d.peephole},
                          {"weight_ih", matrix_json(d.w_ih)},
                          {"weight_hh", matrix_json(d.w_hh)},
                          {"weight_hr", matrix_json(d.w_hr)}});
  }
  return {{"dtype", to_string(problem.dtype)},          {"batch", problem.batch},
          {"input_size", problem.input_size},           {"hidden_size", problem.hidden_size},
          {"projection_size", problem.projection_size}, {"directions", directions}};
}

Problem problem_from(const json& j) {
  Problem problem;
  problem.dtype = parse_dtype(value_at<std::string>(j, "dtype"));
  problem.batch = value_at<int>(j, "batch");
  problem.input_size = value_at<std::int64_t>(j, "input_size");
  problem.hidden_size = value_at<std::int64_t>(j, "hidden_size");
  problem.projection_size = value_at<std::int64_t>(j, "projection_size");
  for (const json& d : j.at("directions")) {
    problem.directions.push_back({value_at<int>(d, "layer"), value_at<bool>(d, "reverse"),
                                  cell_from(d.at("cell")), value_at<bool>(d, "bias"),
                                  value_at<bool>(d, "peephole"), matrix_from(d.at("weight_ih")),
                                  matrix_from(d.at("weight_hh")), matrix_from(d.at("weight_hr"))});
  }
  return problem;
}

json direction_json(const DirectionPlan& d) {
  json j = {{"layer", d.layer},
            {"reverse", d.reverse},
            {"packed_bytes", d.packed_bytes},
            {"workspace_bytes", d.workspace_bytes},
            {"us_per_step", d.microseconds()}};
  j["cost"] = json::array();
  for (const CostPart& part : d.cost) j["cost"].push_back({{"part", part.name}, {"us", part.microseconds}});
  j["rejected"] = json::array();
  for (const Rejected& r : d.rejected) {
    j["rejected"].push_back({{"candidate", r.candidate}, {"reason", r.reason}, {"us", r.microseconds}});
  }
  if (const auto* choice = std::get_if<CpuPlan>(&d.choice)) {
    j["strategy"] = "cpu";
    cpu::to_json(j["choice"], *choice);
  } else if (const auto* mma = std::get_if<MmaPlan>(&d.choice)) {
    j["strategy"] = "mma";
    mma::to_json(j["choice"], *mma);
  } else {
    j["strategy"] = "gather";
    gather::to_json(j["choice"], std::get<GatherPlan>(d.choice));
  }
  return j;
}

DirectionPlan direction_from(const json& j) {
  DirectionPlan d;
  d.layer = value_at<int>(j, "layer");
  d.reverse = value_at<bool>(j, "reverse");
  d.packed_bytes = value_at<std::int64_t>(j, "packed_bytes");
  d.workspace_bytes = value_at<std::int64_t>(j, "workspace_bytes");
  for (const json& part : j.at("cost")) {
    d.cost.push_back({value_at<std::string>(part, "part"), value_at<double>(part, "us")});
  }
  for (const json& r : j.at("rejected")) {
    d.rejected.push_back({value_at<std::string>(r, "candidate"), value_at<std::string>(r, "reason"),
                          value_at<double>(r, "us")});
  }
  const auto strategy = value_at<std::string>(j, "strategy");
  if (strategy == "cpu") {
    cpu::from_json(j.at("choice"), d.choice.emplace<CpuPlan>());
  } else if (strategy == "gather") {
    gather::from_json(j.at("choice"), d.choice.emplace<GatherPlan>());
  } else if (strategy == "mma") {
    mma::from_json(j.at("choice"), d.choice.emplace<MmaPlan>());
  } else {
    throw Error(ErrorCode::format, fmt::format("strategy {}: expected cpu, gather or mma", quote(strategy)));
  }
  return d;
}

}  // namespace

json to_value(const Plan& plan) {
  json directions = json::array();
  for (const DirectionPlan& d : plan.directions) directions.push_back(direction_json(d));
  return {{"device", json::parse(to_json(plan.device))},
          {"problem", problem_json(plan.problem)},
          {"state_bytes", plan.state_bytes()},
          {"directions", directions}};
}

Plan plan_from_value(const json& j) {
  try {
    Plan plan;
    plan.device = device_from_json(j.at("device").dump());
    plan.problem = problem_from(j.at("problem"));
    for (const json& d : j.at("directions")) plan.directions.push_back(direction_from(d));
    check(plan);
    check_bytes(plan);
    check_rewritten(j, to_value(plan));
    return plan;
  } catch (const json::exception& e) {
    throw Error(ErrorCode::format, fmt::format("plan: {}", e.what()));
  } catch (const Error& e) {
    throw Error(ErrorCode::format, fmt::format("plan: {}", e.what()));
  }
}

namespace {

// All CTAs wait for each other, so each must have an SM of its own.
void check_fits(const std::string& name, const GpuPlan& plan, const GpuDescription& gpu) {
  const std::int64_t ctas = std::int64_t{plan.groups} * plan.ctas;
  if (ctas > gpu.sm_count) {
    throw Error(ErrorCode::format,
                fmt::format("{}: {} CTAs are planned, the device has {} SMs", name, ctas, gpu.sm_count));
  }
  if (plan.shared.total() > gpu.shared_bytes_per_block) {
    throw Error(ErrorCode::format,
                fmt::format("{}: {} bytes of shared memory a CTA are planned, the device has {}", name,
                            plan.shared.total(), gpu.shared_bytes_per_block));
  }
}

// Its strategy's choices, each for itself and with the problem.
void check_choice(const std::string& name, const DirectionPlan& plan, const Problem& problem,
                  const DirectionProblem& direction) {
  try {
    if (const auto* choice = std::get_if<CpuPlan>(&plan.choice)) {
      cpu::check(*choice, problem, direction);
    } else if (const auto* mma = std::get_if<MmaPlan>(&plan.choice)) {
      mma::check(*mma, problem, direction);
    } else {
      gather::check(std::get<GatherPlan>(plan.choice), problem, direction);
    }
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", name, error.what()));
  }
}

}  // namespace

void check(const Plan& plan) {
  check(plan.problem, ErrorCode::format);
  const auto fail = [](const std::string& message) { throw Error(ErrorCode::format, message); };
  if (plan.directions.size() != plan.problem.directions.size()) {
    fail(fmt::format("{} directions are planned, the problem has {}", plan.directions.size(),
                     plan.problem.directions.size()));
  }
  for (std::size_t i = 0; i < plan.directions.size(); ++i) {
    const DirectionPlan& d = plan.directions[i];
    const DirectionProblem& p = plan.problem.directions[i];
    if (d.layer != p.layer || d.reverse != p.reverse) {
      fail(fmt::format("direction {} is planned for weight{}, expected weight{}", i,
                       parameter_suffix(d.layer, d.reverse), parameter_suffix(p.layer, p.reverse)));
    }
    if (d.is_gpu() != plan.device.is_gpu()) {
      fail(fmt::format("direction {}: its strategy does not run on device '{}'", i, plan.device.name));
    }
    const std::string name = fmt::format("direction {}", i);
    check_choice(name, d, plan.problem, p);
    if (d.is_gpu()) check_fits(name, d.gpu(), plan.device.gpu());
  }
}

void set_bytes(Plan& plan, std::size_t direction) {
  DirectionPlan& d = plan.directions[direction];
  const DirectionProblem& p = plan.problem.directions[direction];
  if (!d.is_gpu()) return cpu::set_bytes(d, plan.problem, p, plan.device.cpu());
  if (std::holds_alternative<MmaPlan>(d.choice)) return mma::set_bytes(d, plan.problem, p);
  gather::set_bytes(d, plan.problem, p);
}

void check_bytes(const Plan& plan) {
  Plan right = plan;
  for (std::size_t i = 0; i < plan.directions.size(); ++i) {
    set_bytes(right, i);
    const auto same = [&](const char* name, std::int64_t found, std::int64_t expected) {
      if (found == expected) return;
      throw Error(ErrorCode::format,
                  fmt::format("direction {}: {} is {}, expected {}", i, name, found, expected));
    };
    same("packed_bytes", plan.directions[i].packed_bytes, right.directions[i].packed_bytes);
    same("workspace_bytes", plan.directions[i].workspace_bytes, right.directions[i].workspace_bytes);
  }
}

std::string to_json(const Plan& plan) { return to_value(plan).dump(2); }

Plan plan_from_json(std::string_view text) {
  try {
    return plan_from_value(parse_json(text));
  } catch (const json::exception& e) {
    throw Error(ErrorCode::format, fmt::format("plan: {}", e.what()));
  }
}

}  // namespace sprnn
