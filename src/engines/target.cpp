// What to plan for: devices by name, and the one that an engine wants.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/atomic_file.hpp"
#include "engines/cuda/engine.hpp"
#include "engines/registry.hpp"
#include "sprnn/cuda.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

constexpr std::size_t max_description_bytes = 1 << 20;  // far more than any has

// This machine's GPU, else its processor and, where there is a GPU all the same, why.
Target local_target() {
  if (gpu_count() == 0) return {this_cpu(), ""};
  try {
    return {find_gpu(0), ""};
  } catch (const Error& error) {
    return {this_cpu(), error.what()};
  }
}

}  // namespace

Device find_device(std::string_view name_or_path) {
  for (const Device& gpu : known_gpus()) {
    if (gpu.name == name_or_path) return gpu;
  }
  if (name_or_path == "cpu") return this_cpu();
  if (name_or_path == "local") return local_target().device;
  const std::filesystem::path path(name_or_path);
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("device \"{}\": expected h100, h200, a100, cpu, local, or the path of a JSON file that "
                    "describes one (no such file)",
                    name_or_path));
  }
  const std::vector<std::byte> text = read_file(path, max_description_bytes);
  return device_from_json({reinterpret_cast<const char*>(text.data()), text.size()});
}

Target choose_target(std::string_view engine, const Problem& problem) {
  const std::string_view name = wanted_engine(engine);
  if (name == "cuda") {
    try {
      return {find_gpu(0), ""};
    } catch (const Error& error) {
      if (engine == name) throw;
      throw Error(error.code(), fmt::format("{}: {}", engine_label(engine), error.what()));
    }
  }
  if (name == "interpreter") return {find_device("h100"), ""};
  if (name != "auto") return {this_cpu(), ""};
  Target target = local_target();
  if (!target.device.is_gpu()) return target;
  if (std::string missing = cuda_lacks(problem); !missing.empty()) return {this_cpu(), std::move(missing)};
  return target;
}

}  // namespace sprnn
