// Reading JSON that may lie: nlohmann converts any number to any other silently, these do not.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>

#include "base/quote.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

// Throws nlohmann's exception, or Error(format) for bytes that are not UTF-8, which that would repeat, and for a
// document that nests deeper than any of ours: dump() and copies take a stack frame a level, so such a file would end
// the process.
[[nodiscard]] inline nlohmann::json parse_json(std::string_view text) {
  static constexpr int max_depth = 32;
  if (const std::size_t at = utf8_length(text); at < text.size()) {
    throw Error(ErrorCode::format, fmt::format("JSON: byte {} is not UTF-8", at));
  }
  return nlohmann::json::parse(text, [](int depth, nlohmann::json::parse_event_t, nlohmann::json&) {
    if (depth > max_depth) {
      throw Error(ErrorCode::format, fmt::format("JSON nests deeper than {} levels", max_depth));
    }
    return true;
  });
}

// The integer `value`; throws Error(format) naming it unless it is an integer that T holds.
template <class T>
[[nodiscard]] T to_integer(const nlohmann::json& value, const std::string& name) {
  if (value.is_number_unsigned() && std::in_range<T>(value.get<std::uint64_t>())) return value.get<T>();
  if (value.is_number_integer() && !value.is_number_unsigned() &&
      std::in_range<T>(value.get<std::int64_t>())) {
    return value.get<T>();
  }
  throw Error(ErrorCode::format, fmt::format("{} is {}, expected an integer of {} bits", name,
                                             quote(value.dump()), 8 * sizeof(T)));
}

// The integer at `key`; a missing key is nlohmann's exception, which names it.
template <class T>
[[nodiscard]] T integer_at(const nlohmann::json& object, const std::string& key) {
  return to_integer<T>(object.at(key), key);
}

}  // namespace sprnn
