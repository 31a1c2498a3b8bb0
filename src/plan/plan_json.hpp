// Plans as JSON values; the public functions of plan.hpp are the same with text.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "plan/problem_check.hpp"
#include "sprnn/plan.hpp"

namespace sprnn {

[[nodiscard]] nlohmann::json to_value(const Plan& plan);
[[nodiscard]] Plan plan_from_value(const nlohmann::json& value);  // throws Error(format)
// Throws Error(format) unless plan and problem fit together.
void check(const Plan& plan);

}  // namespace sprnn
