// The names of patterns.
#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <utility>

#include "sprnn/error.hpp"
#include "sprnn/prune.hpp"

namespace sprnn {

namespace {

// "16x1" with separator 'x' -> {16, 1}; both at least 1.
std::optional<std::pair<int, int>> parse_pair(std::string_view text, char separator) {
  const char* const end = text.data() + text.size();
  std::pair<int, int> pair;
  const auto first = std::from_chars(text.data(), end, pair.first);
  if (first.ec != std::errc{} || first.ptr == end || *first.ptr != separator) return std::nullopt;
  const auto second = std::from_chars(first.ptr + 1, end, pair.second);
  if (second.ec != std::errc{} || second.ptr != end) return std::nullopt;
  if (pair.first < 1 || pair.second < 1) return std::nullopt;
  return pair;
}

}  // namespace

Pattern parse_pattern(std::string_view text) {
  using Kind = Pattern::Kind;
  if (text == "unstructured") return {Kind::unstructured, 0, 0};
  if (text == "row") return {Kind::row, 0, 0};
  if (text == "global") return {Kind::global, 0, 0};
  if (text.starts_with("block:")) {
    if (const auto size = parse_pair(text.substr(6), 'x')) return {Kind::block, size->first, size->second};
  } else if (text.starts_with("unit:")) {
    if (const auto size = parse_pair(text.substr(5), 'x')) return {Kind::unit, size->first, size->second};
  } else if (const auto ratio = parse_pair(text, ':'); ratio && ratio->first <= ratio->second) {
    return {Kind::n_of_m, ratio->first, ratio->second};
  }
  throw Error(
      ErrorCode::invalid_argument,
      fmt::format("unknown pruning pattern '{}': expected unstructured, row, global, block:RxC (e.g. "
                  "block:16x1), unit:UxC (e.g. unit:4x1) or N:M with N <= M (e.g. 2:4), sizes at least 1",
                  text));
}

std::string to_string(const Pattern& pattern) {
  switch (pattern.kind) {
    case Pattern::Kind::unstructured:
      return "unstructured";
    case Pattern::Kind::row:
      return "row";
    case Pattern::Kind::global:
      return "global";
    case Pattern::Kind::block:
      return fmt::format("block:{}x{}", pattern.a, pattern.b);
    case Pattern::Kind::unit:
      return fmt::format("unit:{}x{}", pattern.a, pattern.b);
    case Pattern::Kind::n_of_m:
      return fmt::format("{}:{}", pattern.a, pattern.b);
  }
  throw Error(ErrorCode::invalid_argument,
              fmt::format("unknown kind of pruning pattern: {}", static_cast<int>(pattern.kind)));
}

}  // namespace sprnn
