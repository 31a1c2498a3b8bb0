#pragma once

#include <string>
#include <string_view>

namespace sprnn {

// 64 hexadecimal digits.
[[nodiscard]] std::string sha256(std::string_view bytes);

}  // namespace sprnn
