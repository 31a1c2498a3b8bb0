// Names out of files, made safe to print in an error message.
#pragma once

#include <string>
#include <string_view>

namespace sprnn {

// 'text' in single quotes and as valid UTF-8: control characters (a hostile name must not steer a terminal)
// and bytes that are not UTF-8 are escaped, long texts are cut in the middle.
[[nodiscard]] std::string quote(std::string_view text);

}  // namespace sprnn
