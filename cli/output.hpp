// What the verbs write: text, tables and JSON on standard output, errors on standard error.
#pragma once

#include <cstdint>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace sprnn::cli {

// Insertion order is the order in which a reader wants the figures.
using Json = nlohmann::ordered_json;

// All of standard output goes through these two; a write that fails is an Error(io).
void print(std::string_view text);
// One object and a newline. What is not finite becomes null: JSON has no NaN.
void print_json(const Json& json);
// From now on both print to standard error if `path` is what standard output is, under any name: a report
// there would spoil the data.
void make_room_for(const std::filesystem::path& path);

// "sprnn: error: MESSAGE", one line whatever the message holds.
void print_error(std::string_view message) noexcept;

// Control characters and what is not UTF-8 as \xNN: names in files are not to be trusted with a terminal.
[[nodiscard]] std::string printable(std::string_view text);

[[nodiscard]] std::string shape_text(std::span<const std::int64_t> shape);  // "[3, 4]"
[[nodiscard]] std::string bytes_text(std::int64_t bytes);                   // "4.2 MiB"

// Columns as wide as their widest cell: the first is left-aligned, the others right-aligned.
class Table {
 public:
  explicit Table(std::vector<std::string> header);
  void add(std::vector<std::string> cells);
  [[nodiscard]] std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// Fails before the work, not after it, where an output could not be written: Error(io).
void check_writable(const std::filesystem::path& path);

// Whether two names are of one file, whatever links and folders lead to it, be it there or not.
[[nodiscard]] bool same_file(const std::filesystem::path& a, const std::filesystem::path& b);

}  // namespace sprnn::cli
