#include "gpu/record.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "engines/cuda/gpu.hpp"

namespace sprnn::test {

namespace {

// "NVIDIA H100 80GB HBM3" -> "h100-80gb-hbm3"
std::string slug(std::string name) {
  if (name.starts_with("NVIDIA ")) name.erase(0, 7);
  for (char& c : name) {
    c = std::isalnum(static_cast<unsigned char>(c)) != 0
            ? static_cast<char>(std::tolower(static_cast<unsigned char>(c)))
            : '-';
  }
  return name;
}

// A number of a version, 1000 * major + 10 * minor as CUDA counts, or what a library says.
std::string cuda_version(int version) { return fmt::format("{}.{}", version / 1000, version % 1000 / 10); }

std::string nvrtc_version() {
  const cuda::Library nvrtc({"libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"}, "NVRTC");
  int (*version)(int*, int*) = nullptr;
  nvrtc.find(version, "nvrtcVersion");
  int major = 0, minor = 0;
  version(&major, &minor);
  return fmt::format("{}.{}", major, minor);
}

// The kernel module's version, as nvidia-smi shows it.
std::string kernel_driver() {
  std::ifstream file("/sys/module/nvidia/version");
  std::string text;
  return std::getline(file, text) ? text : "unknown";
}

int attribute(int which) {
  int device = 0, value = 0;
  cuda::check(cuda::driver().device_get(&device, 0), "cuDeviceGet");
  cuda::check(cuda::driver().device_attribute(&value, which, device), "cuDeviceGetAttribute");
  return value;
}

}  // namespace

std::string write_record(const Record& record, const std::string& folder) {
  const auto gpu = cuda::gpu(0);
  int driver_version = 0;
  cuda::check(cuda::driver().driver_version(&driver_version), "cuDriverGetVersion");
  nlohmann::ordered_json json;
  json["commit"] = record.commit;
  json["gpu"] = gpu->name();
  json["driver"] = fmt::format("{} (CUDA {})", kernel_driver(), cuda_version(driver_version));
  json["clocks"] =
      fmt::format("at most: SM {} MHz, memory {} MHz", attribute(cuda::attribute_clock_rate) / 1000,
                  attribute(cuda::attribute_memory_clock_rate) / 1000);
  json["toolkit"] = fmt::format("NVRTC {}", nvrtc_version());
  json["seconds"] = std::round(record.seconds);
  json["cases"] = nlohmann::ordered_json::array();
  for (const auto& [name, result] : record.results) {
    nlohmann::ordered_json one{
        {"name", name}, {"error", result.error}, {"bound", result.bound}, {"passed", result.passed()}};
    if (!result.note.empty()) one["note"] = result.note;
    json["cases"].push_back(one);
  }
  const std::string path =
      fmt::format("{}/{:%Y-%m-%d}-{}{}.json", folder, fmt::gmtime(std::time(nullptr)), slug(gpu->name()),
                  record.part.empty() ? "" : fmt::format("-part{}", record.part));
  std::filesystem::create_directories(folder);
  const std::string temporary = path + ".tmp";
  std::ofstream file(temporary);
  // One case a line: what changed between two records is then a diff of lines.
  std::string text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  for (std::size_t at = 0; (at = text.find(",{\"name\"", at)) != std::string::npos; at += 2)
    text.insert(at + 1, 1, '\n');
  file << text << '\n';
  file.close();
  if (!file) throw std::runtime_error("cannot write " + temporary);
  std::filesystem::rename(temporary, path);
  return path;
}

}  // namespace sprnn::test
