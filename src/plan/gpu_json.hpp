// Printing what all strategies of a GPU share, and reading it back.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "sprnn/plan_gpu.hpp"

namespace sprnn::gpu {

void to_json(nlohmann::json& out, const GpuPlan& plan);
void from_json(const nlohmann::json& in, GpuPlan& plan);  // throws Error(format) or nlohmann's exception

// Parts of a line for people.
[[nodiscard]] std::string groups_text(const GpuPlan& plan);
[[nodiscard]] std::string exchange_text(const GpuPlan& plan, bool counted = false);
[[nodiscard]] std::string budgets_text(const GpuPlan& plan);

}  // namespace sprnn::gpu
