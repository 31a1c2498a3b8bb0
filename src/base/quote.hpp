// Names out of files, made safe to print in an error message.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace sprnn {

// 'text' in single quotes and as valid UTF-8: control characters (a hostile name must not steer a terminal)
// and bytes that are not UTF-8 are escaped, long texts are cut in the middle.
[[nodiscard]] std::string quote(std::string_view text);

// The same without the quotes, and whole.
[[nodiscard]] std::string escaped(std::string_view text);

// How many bytes of `text` come before the first that is not part of well-formed UTF-8; all of them if none
// is.
[[nodiscard]] std::size_t utf8_length(std::string_view text) noexcept;

}  // namespace sprnn
