#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace sprnn::cli {

// The candidate with the smallest edit distance to `word`, or "" when none is near enough to be meant.
[[nodiscard]] std::string nearest(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace sprnn::cli
