// Printing one matrix of pairs, and reading it back: of strategy gather, or the rest of one of sparse-mma.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "sprnn/plan_gather.hpp"

namespace sprnn::gather {

// Passes are triples [registers, shared, l2].
[[nodiscard]] nlohmann::json matrix_to_json(const GatherMatrix& matrix);
// Throws Error(format) or nlohmann's exception.
[[nodiscard]] GatherMatrix matrix_from_json(const nlohmann::json& object);
// Part of a line for people.
[[nodiscard]] std::string matrix_text(const GatherMatrix& matrix);

}  // namespace sprnn::gather
