// Printing a GatherPlan, and reading it back.
#include "plan/gather_json.hpp"

#include <fmt/format.h>

#include "base/json.hpp"
#include "plan/gpu_json.hpp"
#include "plan/strategy.hpp"

namespace sprnn::gather {

using nlohmann::json;

json matrix_to_json(const GatherMatrix& matrix) {
  json passes = json::array();
  for (const RowPass& pass : matrix.passes) passes.push_back({pass.registers, pass.shared, pass.l2});
  return {
      {"units_a_cta", matrix.units_a_cta}, {"lanes", matrix.lanes},         {"parts", matrix.parts},
      {"offset_unit", matrix.offset_unit}, {"half_sums", matrix.half_sums}, {"passes", std::move(passes)}};
}

GatherMatrix matrix_from_json(const json& object) {
  GatherMatrix matrix;
  matrix.units_a_cta = value_at<int>(object, "units_a_cta");
  matrix.lanes = value_at<int>(object, "lanes");
  matrix.parts = value_at<int>(object, "parts");
  matrix.offset_unit = value_at<int>(object, "offset_unit");
  matrix.half_sums = value_at<bool>(object, "half_sums");
  for (const json& pass : object.at("passes")) {
    matrix.passes.push_back({to_integer<int>(pass.at(0), "passes.registers"),
                             to_integer<int>(pass.at(1), "passes.shared"),
                             to_integer<int>(pass.at(2), "passes.l2")});
  }
  return matrix;
}

std::string matrix_text(const GatherMatrix& matrix) {
  RowPass sum;
  for (const RowPass& pass : matrix.passes) {
    sum = {sum.registers + pass.registers, sum.shared + pass.shared, sum.l2 + pass.l2};
  }
  return fmt::format(
      "{} units a CTA, row groups of {} lanes, {} a row{}, slots a lane: {} in registers, {} shared, {} L2",
      matrix.units_a_cta, matrix.lanes, matrix.parts == 1 ? "one" : fmt::format("up to {}", matrix.parts),
      matrix.passes.size() == 1 ? "" : fmt::format(", {} row passes", matrix.passes.size()), sum.registers,
      sum.shared, sum.l2);
}

void to_json(json& out, const GatherPlan& plan) {
  gpu::to_json(out, plan);
  out["word_bytes"] = plan.word_bytes;
  out["w_hh"] = matrix_to_json(plan.w_hh);
  if (plan.w_hr) out["w_hr"] = matrix_to_json(*plan.w_hr);
  out["bank_order"] = plan.bank_order;
  out["opaque_pairs"] = plan.opaque_pairs;
}

void from_json(const json& in, GatherPlan& plan) {
  plan = {};
  gpu::from_json(in, plan);
  plan.word_bytes = value_at<int>(in, "word_bytes");
  plan.w_hh = matrix_from_json(in.at("w_hh"));
  if (in.contains("w_hr")) plan.w_hr = matrix_from_json(in.at("w_hr"));
  plan.bank_order = value_at<bool>(in, "bank_order");
  plan.opaque_pairs = value_at<bool>(in, "opaque_pairs");
}

std::string to_text(const GatherPlan& plan) {
  std::string text = fmt::format("gather: {}, {}-byte loads; {}", gpu::groups_text(plan), plan.word_bytes,
                                 matrix_text(plan.w_hh));
  if (plan.w_hr) text += "; projection: " + matrix_text(*plan.w_hr);
  return text + fmt::format("; {}{}{}; {}", gpu::exchange_text(plan), plan.bank_order ? ", bank order" : "",
                            plan.opaque_pairs ? ", opaque pairs" : "", gpu::budgets_text(plan));
}

}  // namespace sprnn::gather
