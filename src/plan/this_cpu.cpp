// What this machine's processor offers to this process.
#include <fmt/format.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "sprnn/device.hpp"
#include "sprnn/engine.hpp"

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

int affinity_threads() {
  // The kernel's mask may be wider than cpu_set_t: grow until it fits.
  for (int cpus = 1024; cpus <= 1 << 20; cpus *= 2) {
    cpu_set_t* set = CPU_ALLOC(cpus);
    if (set == nullptr) break;
    const std::size_t bytes = CPU_ALLOC_SIZE(cpus);
    const bool ok = sched_getaffinity(0, bytes, set) == 0;
    const int count = ok ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (ok) return std::max(count, 1);
  }
  return static_cast<int>(std::max(sysconf(_SC_NPROCESSORS_ONLN), 1L));
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
std::optional<double> cgroup_quota() {
  std::optional<double> tightest;
  const auto walk = [&](const fs::path& root, const std::string& group) {
    fs::path directory = root;
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
  std::ifstream groups("/proc/self/cgroup");  // lines "id:controllers:path"; v2 is "0::path"
  std::string line;
  while (std::getline(groups, line)) {
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = fmt::format(",{},", line.substr(first + 1, second - first - 1));
    const std::string group = line.substr(second + 1);
    if (controllers == ",,") walk("/sys/fs/cgroup", group);
    if (controllers.find(",cpu,") != std::string::npos) walk("/sys/fs/cgroup/cpu", group);
  }
  return tightest;
}

std::int64_t cache_bytes(int name, std::int64_t otherwise) {
  const long bytes = sysconf(name);
  return bytes > 0 ? bytes : otherwise;
}

}  // namespace

Device this_cpu() {
  CpuDescription cpu;
  cpu.threads = affinity_threads();
  if (const std::optional<double> quota = cgroup_quota()) {
    // A thread that a quota stops holds up all others: round down.
    cpu.threads = std::clamp(static_cast<int>(std::floor(*quota + 0.01)), 1, cpu.threads);
  }
  cpu.isa = cpu_isas().front();
  cpu.l1_bytes = cache_bytes(_SC_LEVEL1_DCACHE_SIZE, cpu.l1_bytes);
  cpu.l2_bytes = cache_bytes(_SC_LEVEL2_CACHE_SIZE, cpu.l2_bytes);
  cpu.l3_bytes = cache_bytes(_SC_LEVEL3_CACHE_SIZE, cpu.l3_bytes);
  return {"cpu", cpu};
}

}  // namespace sprnn
