// Printing an MmaPlan, and reading it back.
#include <fmt/format.h>

#include "base/json.hpp"
#include "plan/gpu_json.hpp"
#include "plan/strategy.hpp"

namespace sprnn::mma {

using nlohmann::json;

void to_json(json& out, const MmaPlan& plan) {
  gpu::to_json(out, plan);
  out["gathered"] = plan.gathered;
  out["units_a_cta"] = plan.units_a_cta;
  out["units_a_tile"] = plan.units_a_tile;
  out["steps"] = {plan.steps.registers, plan.steps.shared, plan.steps.l2};
}

void from_json(const json& in, MmaPlan& plan) {
  plan = {};
  gpu::from_json(in, plan);
  plan.gathered = in.at("gathered").get<bool>();
  plan.units_a_cta = integer_at<int>(in, "units_a_cta");
  plan.units_a_tile = integer_at<int>(in, "units_a_tile");
  const json& steps = in.at("steps");
  plan.steps = {to_integer<int>(steps.at(0), "steps.registers"), to_integer<int>(steps.at(1), "steps.shared"),
                to_integer<int>(steps.at(2), "steps.l2")};
}

std::string to_text(const MmaPlan& plan) {
  const GpuStrategy strategy = plan.gathered ? GpuStrategy::vector_mma : GpuStrategy::dense_mma;
  return fmt::format(
      "{}: {}; {} units a CTA, {} a tile of 16 rows, steps of 16 columns a warp: {} in registers, {} shared, "
      "{} L2; {}; "
      "{}",
      to_string(strategy), gpu::groups_text(plan), plan.units_a_cta, plan.units_a_tile, plan.steps.registers,
      plan.steps.shared, plan.steps.l2, gpu::exchange_text(plan), gpu::budgets_text(plan));
}

}  // namespace sprnn::mma
