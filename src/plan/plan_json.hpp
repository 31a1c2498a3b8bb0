// Plans as JSON values; the public functions of plan.hpp are the same with text.
#pragma once

#include <cstddef>
#include <nlohmann/json_fwd.hpp>

#include "plan/problem_check.hpp"
#include "sprnn/plan.hpp"

namespace sprnn {

[[nodiscard]] nlohmann::json to_value(const Plan& plan);
// Throws Error(format), also for a field that is unknown or is not what follows from the others.
[[nodiscard]] Plan plan_from_value(const nlohmann::json& value);
// Throws Error(format) that names the field, unless the problem can be one and plan and problem fit together:
// what pack and the engines' code rely on.
void check(const Plan& plan);
// What a direction's plan says of bytes follows from the rest of the plan, which has been checked.
void set_bytes(Plan& plan, std::size_t direction);
void check_bytes(const Plan& plan);  // throws Error(format) unless it does

}  // namespace sprnn
