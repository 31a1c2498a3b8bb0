#include "plan/cgroup_quota.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

namespace sprnn {

namespace {

namespace fs = std::filesystem;

std::optional<std::string> read_line(const fs::path& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line)) return std::nullopt;
  return line;
}

std::optional<double> read_number(const fs::path& path) {
  const std::optional<std::string> line = read_line(path);
  if (!line) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(line->c_str(), &end);
  return end == line->c_str() ? std::nullopt : std::optional(value);
}

// Cores by one cgroup directory's quota: v2 has cpu.max ("max 100000" or "150000 100000"), v1 two files.
std::optional<double> quota_of(const fs::path& directory) {
  if (const std::optional<std::string> line = read_line(directory / "cpu.max")) {
    std::istringstream words(*line);
    std::string quota;
    double period = 0;
    if (words >> quota >> period && quota != "max" && period > 0)
      return std::strtod(quota.c_str(), nullptr) / period;
    return std::nullopt;
  }
  const std::optional<double> quota = read_number(directory / "cpu.cfs_quota_us");
  const std::optional<double> period = read_number(directory / "cpu.cfs_period_us");
  if (quota && period && *quota > 0 && *period > 0) return *quota / *period;
  return std::nullopt;
}

// The tightest quota of this process's cgroup and of all groups above it.
std::optional<double> cgroup_quota(const fs::path& root) {
  std::optional<double> tightest;
  const auto walk = [&](const fs::path& mount, const std::string& group) {
    fs::path directory = mount;
    const auto consider = [&] {
      const std::optional<double> quota = quota_of(directory);
      if (quota && (!tightest || *quota < *tightest)) tightest = quota;
    };
    consider();
    for (const fs::path& part : fs::path(group).relative_path()) {
      directory /= part;
      consider();
    }
  };
  std::ifstream groups(root / "proc/self/cgroup");  // lines "id:controllers:path"; v2 is "0::path"
  std::string line;
  while (std::getline(groups, line)) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") walk(root / "sys/fs/cgroup", group);
    if (controllers.find(",cpu,") != std::string::npos) walk(root / "sys/fs/cgroup/cpu", group);
  }
  return tightest;
}

}  // namespace

int threads_within_quota(int threads, const fs::path& root) {
  const std::optional<double> quota = cgroup_quota(root);
  if (!quota) return threads;
  // A thread that a quota stops holds up all others: round down.
  return std::clamp(static_cast<int>(std::floor(*quota + 0.01)), 1, threads);
}

}  // namespace sprnn
