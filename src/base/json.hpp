// Reading JSON that may lie: nlohmann converts any number to any other silently, these do not.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>

#include "sprnn/error.hpp"

namespace sprnn {

// The integer `value`; throws Error(format) naming it unless it is an integer that T holds.
template <class T>
[[nodiscard]] T to_integer(const nlohmann::json& value, const std::string& name) {
  if (value.is_number_unsigned() && std::in_range<T>(value.get<std::uint64_t>())) return value.get<T>();
  if (value.is_number_integer() && !value.is_number_unsigned() &&
      std::in_range<T>(value.get<std::int64_t>())) {
    return value.get<T>();
  }
  throw Error(ErrorCode::format,
              fmt::format("{} is {}, expected an integer of {} bits", name, value.dump(), 8 * sizeof(T)));
}

// The integer at `key`; a missing key is nlohmann's exception, which names it.
template <class T>
[[nodiscard]] T integer_at(const nlohmann::json& object, const std::string& key) {
  return to_integer<T>(object.at(key), key);
}

}  // namespace sprnn
