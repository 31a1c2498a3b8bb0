// Reading JSON that may lie: nlohmann converts any number to any other silently, these do not.
#pragma once

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/quote.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

// Throws nlohmann's exception, or Error(format) for bytes that are not UTF-8, which that would repeat, for a
// key that an object has twice, of which it would take the last, and for a document that nests deeper than
// any of ours: dump() and copies take a stack frame a level, so such a file would end the process.
[[nodiscard]] inline nlohmann::json parse_json(std::string_view text) {
  using Event = nlohmann::json::parse_event_t;
  static constexpr int max_depth = 32;
  if (const std::size_t at = utf8_length(text); at < text.size()) {
    throw Error(ErrorCode::format, fmt::format("JSON: byte {} is not UTF-8", at));
  }
  std::vector<std::set<std::string>> open;  // the keys of each object that the text is in
  return nlohmann::json::parse(text, [&open](int depth, Event event, const nlohmann::json& parsed) {
    if (depth > max_depth) {
      throw Error(ErrorCode::format, fmt::format("JSON nests deeper than {} levels", max_depth));
    }
    if (event == Event::object_start) open.emplace_back();
    if (event == Event::object_end) open.pop_back();
    if (event == Event::key && !open.back().insert(parsed.get<std::string>()).second) {
      throw Error(ErrorCode::format, fmt::format("JSON: {} occurs twice", quote(parsed.get<std::string>())));
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

// The number, text or truth value at `key`; throws Error(format) naming it if it is missing, of another type,
// or an integer that T does not hold.
template <class T>
[[nodiscard]] T value_at(const nlohmann::json& object, const std::string& key) {
  if (!object.is_object()) {
    throw Error(ErrorCode::format,
                fmt::format("{} stands where an object with '{}' is expected", quote(object.dump()), key));
  }
  if (!object.contains(key)) throw Error(ErrorCode::format, fmt::format("'{}' is missing", key));
  const nlohmann::json& value = object.at(key);
  const auto expect = [&](bool good, std::string_view type) {
    if (!good) {
      throw Error(ErrorCode::format, fmt::format("{} is {}, expected {}", key, quote(value.dump()), type));
    }
  };
  if constexpr (std::is_same_v<T, bool>) {
    expect(value.is_boolean(), "true or false");
  } else if constexpr (std::is_integral_v<T>) {
    return to_integer<T>(value, key);
  } else if constexpr (std::is_floating_point_v<T>) {
    expect(value.is_number(), "a number");
  } else {
    static_assert(std::is_same_v<T, std::string>);
    expect(value.is_string(), "a text");
  }
  return value.get<T>();
}

// Throws Error(format) that names, by its JSON pointer, what `found` has more, less or other than `expected`:
// what was read, written anew. So no field that is not read, or that follows from others, may say what it
// likes.
inline void check_rewritten(const nlohmann::json& found, const nlohmann::json& expected,
                            const nlohmann::json::json_pointer& at = nlohmann::json::json_pointer()) {
  const auto fail = [](const nlohmann::json::json_pointer& where, const std::string& message) {
    throw Error(ErrorCode::format, fmt::format("{} {}", quote(where.to_string()), message));
  };
  const auto text = [](const nlohmann::json& value) {
    constexpr std::size_t most = 80;
    const std::string all = value.dump();
    return quote(all.size() > most ? all.substr(0, utf8_length(all.substr(0, most))) + "..." : all);
  };
  if (found.is_object() && expected.is_object()) {
    for (const auto& [key, value] : found.items()) {
      if (!expected.contains(key)) fail(at / key, fmt::format("is {}, expected no such field", text(value)));
    }
    for (const auto& [key, value] : expected.items()) {
      if (!found.contains(key)) fail(at / key, fmt::format("is missing, expected {}", text(value)));
      check_rewritten(found.at(key), value, at / key);
    }
  } else if (found.is_array() && expected.is_array() && found.size() == expected.size()) {
    for (std::size_t i = 0; i < found.size(); ++i) check_rewritten(found[i], expected[i], at / i);
  } else if (found != expected) {
    fail(at, fmt::format("is {}, expected {}", text(found), text(expected)));
  }
}

}  // namespace sprnn
