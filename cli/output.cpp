#include "cli/output.hpp"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "sprnn/error.hpp"
#include "src/base/quote.hpp"

namespace sprnn::cli {

namespace {

namespace fs = std::filesystem;

bool data_on_standard_output = false;

// One name for each file.
fs::path resolved(const fs::path& path) {
  constexpr int most_links = 40;  // as Linux itself
  std::error_code error;
  fs::path end = fs::absolute(path);
  for (int i = 0; i < most_links && fs::is_symlink(fs::symlink_status(end, error)); ++i)
    end = end.parent_path() / fs::read_symlink(end, error);
  const fs::path result = fs::weakly_canonical(end, error);
  return error ? end.lexically_normal() : result;
}

}  // namespace

void print(std::string_view text) {
  std::FILE* const stream = data_on_standard_output ? stderr : stdout;
  errno = 0;
  const bool written = std::fwrite(text.data(), 1, text.size(), stream) == text.size();
  if (!written || std::fflush(stream) != 0)
    throw Error(ErrorCode::io,
                fmt::format("cannot write to standard {}: {}", data_on_standard_output ? "error" : "output",
                            std::strerror(errno)));
}

void make_room_for(const fs::path& path) {
  struct stat file {};
  struct stat standard_output {};
  data_on_standard_output |= ::stat(path.c_str(), &file) == 0 &&
                             ::fstat(STDOUT_FILENO, &standard_output) == 0 &&
                             file.st_dev == standard_output.st_dev && file.st_ino == standard_output.st_ino;
}

void print_json(const Json& json) { print(json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n"); }

void print_error(std::string_view message) noexcept {
  try {
    const std::string line = fmt::format("sprnn: error: {}\n", printable(message));
    std::fwrite(line.data(), 1, line.size(), stderr);
  } catch (...) {  // no memory even for the message
    std::fputs("sprnn: error: out of memory\n", stderr);
  }
}

std::string printable(std::string_view text) { return escaped(text); }

std::string shape_text(std::span<const std::int64_t> shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

std::string bytes_text(std::int64_t bytes) {
  if (bytes < 10 * 1024) return fmt::format("{} B", bytes);
  const double kibi = static_cast<double>(bytes) / 1024;
  return kibi < 10 * 1024 ? fmt::format("{:.1f} KiB", kibi) : fmt::format("{:.1f} MiB", kibi / 1024);
}

Table::Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }

void Table::add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }

std::string Table::text() const {
  std::vector<std::size_t> widths(rows_.front().size(), 0);
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string result;
  for (const auto& row : rows_) {
    std::string line = fmt::format("{:<{}}", row[0], widths[0]);
    for (std::size_t i = 1; i < widths.size(); ++i) line += fmt::format("  {:>{}}", row[i], widths[i]);
    line.erase(line.find_last_not_of(' ') + 1);
    result += line + '\n';
  }
  return result;
}

void check_writable(const fs::path& path) {
  std::error_code ignored;  // a path that cannot be looked at is reported by the checks below
  if (path.empty()) throw Error(ErrorCode::io, "the name of an output file is empty");
  if (path == "-")
    throw Error(
        ErrorCode::invalid_argument,
        "output '-' is not standard output here: write to /dev/stdout, or to ./- for a file of that name");
  if (fs::is_directory(path, ignored))
    throw Error(ErrorCode::io, fmt::format("cannot write {}: it is a directory", path.string()));
  const fs::path parent = path.has_parent_path() ? path.parent_path() : ".";
  if (!fs::is_directory(parent, ignored))
    throw Error(ErrorCode::io,
                fmt::format("cannot write {}: there is no directory {}", path.string(), parent.string()));
  if (fs::exists(path, ignored) && ::access(path.c_str(), W_OK) != 0)
    throw Error(ErrorCode::io, fmt::format("cannot write {}: {}", path.string(), std::strerror(errno)));
  const bool needs_temporary = !fs::exists(path, ignored) || fs::is_regular_file(path, ignored);
  if (needs_temporary && ::access(parent.c_str(), W_OK | X_OK) != 0)
    throw Error(ErrorCode::io, fmt::format("cannot write {}: directory {}: {}", path.string(),
                                           parent.string(), std::strerror(errno)));
}

bool same_file(const fs::path& a, const fs::path& b) { return resolved(a) == resolved(b); }

}  // namespace sprnn::cli
