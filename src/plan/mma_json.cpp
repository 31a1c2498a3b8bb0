// Printing an MmaPlan, and reading it back.
#include <fmt/format.h>

#include "base/json.hpp"
#include "plan/gather_json.hpp"
#include "plan/gpu_json.hpp"
#include "plan/strategy.hpp"

namespace sprnn::mma {

using nlohmann::json;

void to_json(json& out, const MmaPlan& plan) {
  gpu::to_json(out, plan);
  out["gathered"] = plan.gathered;
  out["sparse"] = plan.sparse;
  out["units_a_cta"] = plan.units_a_cta;
  out["row_parts"] = plan.row_parts;
  out["steps"] = {plan.steps.registers, plan.steps.shared, plan.steps.l2};
  out["kept_steps"] = plan.kept_steps;
  out["asks_late"] = plan.asks_late;
  if (plan.rest) out["rest"] = gather::matrix_to_json(*plan.rest);
}

void from_json(const json& in, MmaPlan& plan) {
  plan = {};
  gpu::from_json(in, plan);
  plan.gathered = value_at<bool>(in, "gathered");
  plan.sparse = value_at<bool>(in, "sparse");
  plan.units_a_cta = value_at<int>(in, "units_a_cta");
  plan.row_parts = value_at<int>(in, "row_parts");
  plan.kept_steps = value_at<int>(in, "kept_steps");
  plan.asks_late = value_at<bool>(in, "asks_late");
  if (in.contains("rest")) plan.rest = gather::matrix_from_json(in.at("rest"));
  const json& steps = in.at("steps");
  plan.steps = {to_integer<int>(steps.at(0), "steps.registers"), to_integer<int>(steps.at(1), "steps.shared"),
                to_integer<int>(steps.at(2), "steps.l2")};
}

std::string to_text(const MmaPlan& plan) {
  std::string text = fmt::format("{}: {}; {} units a CTA in tiles of 16 rows", to_string(plan.strategy()),
                                 gpu::groups_text(plan), plan.units_a_cta);
  const bool whole_rows = !plan.gathered && plan.row_parts == plan.warps;
  if (whole_rows) {
    text += ", whole rows a warp";
  } else if (plan.row_parts > 1) {
    text += fmt::format(", in {} parts of the warps", plan.row_parts);
  }
  text += fmt::format(", steps of {} columns a warp: {} in registers, {} shared, {} L2",
                      mma_step_columns(plan.sparse), plan.steps.registers, plan.steps.shared, plan.steps.l2);
  if (plan.kept_steps > 0) text += fmt::format(" or memory ({} kept in L2)", plan.kept_steps);
  if (plan.asks_late) text += ", the state asked for step by step";
  if (plan.rest) text += "; the rest as pairs: " + gather::matrix_text(*plan.rest);
  return text + fmt::format("; {}; {}", gpu::exchange_text(plan, whole_rows && plan.in_cluster),
                            gpu::budgets_text(plan));
}

}  // namespace sprnn::mma
