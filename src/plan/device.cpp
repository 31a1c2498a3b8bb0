#include "sprnn/device.hpp"

#include <fmt/format.h>

#include <array>

#include "base/json.hpp"
#include "base/quote.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

using nlohmann::json;

// NVIDIA's data sheets and the CUDA C++ Programming Guide's table of compute capabilities. The default of
// GpuDescription is an H100 SXM.
GpuDescription h200() {
  GpuDescription gpu;
  gpu.memory_bytes = 141'000'000'000;
  gpu.memory_gbytes_per_s = 4800;
  return gpu;
}

GpuDescription a100() {
  GpuDescription gpu;
  gpu.compute_capability = 80;
  gpu.sm_count = 108;
  gpu.shared_bytes_per_block = 166912;
  gpu.shared_bytes_per_sm = 167936;
  gpu.l2_bytes = 41943040;
  gpu.max_cluster_size = 1;
  gpu.clock_ghz = 1.41;
  gpu.l2_gbytes_per_s = 4000;
  gpu.memory_gbytes_per_s = 2039;
  gpu.tensor_tflops = 312;
  gpu.fp32_tflops = 19.5;
  return gpu;
}

// Visits the fields of a description with their names and, of integers, least values: one list for reading
// and writing.
template <class Gpu, class Visit>
void gpu_fields(Gpu& gpu, Visit&& visit) {
  visit("compute_capability", gpu.compute_capability, 80);  // what the kernels need
  visit("sm_count", gpu.sm_count, 1);
  visit("registers_per_sm", gpu.registers_per_sm, 1);
  visit("max_registers_per_thread", gpu.max_registers_per_thread, 1);
  visit("shared_bytes_per_block", gpu.shared_bytes_per_block, 1);
  visit("shared_bytes_per_sm", gpu.shared_bytes_per_sm, 1);
  visit("l2_bytes", gpu.l2_bytes, 0);
  visit("memory_bytes", gpu.memory_bytes, 1);
  visit("max_cluster_size", gpu.max_cluster_size, 1);
  visit("clock_ghz", gpu.clock_ghz, 0);
  visit("l2_gbytes_per_s", gpu.l2_gbytes_per_s, 0);
  visit("memory_gbytes_per_s", gpu.memory_gbytes_per_s, 0);
  visit("tensor_tflops", gpu.tensor_tflops, 0);
  visit("fp32_tflops", gpu.fp32_tflops, 0);
}

template <class Cpu, class Visit>
void cpu_fields(Cpu& cpu, Visit&& visit) {
  visit("threads", cpu.threads, 1);
  visit("isa", cpu.isa, 0);
  visit("l1_bytes", cpu.l1_bytes, 0);
  visit("l2_bytes", cpu.l2_bytes, 0);
  visit("l3_bytes", cpu.l3_bytes, 0);
}

// Reads one field.
struct Reader {
  const json& object;

  void operator()(const char* key, std::string& out, int) const { out = value_at<std::string>(object, key); }
  // A rate. Plans divide by it, and no predicted time may become an infinity, which JSON does not have.
  void operator()(const char* key, double& out, int) const {
    constexpr double least = 1e-6, most = 1e12;
    out = value_at<double>(object, key);
    if (!(out >= least && out <= most))
      refuse(key, fmt::format("{}", out), fmt::format("{:g} to {:g}", least, most));
  }
  template <class Int>
  void operator()(const char* key, Int& out, int least) const {
    out = value_at<Int>(object, key);
    if (out < least) refuse(key, fmt::format("{}", out), fmt::format("{} or more", least));
  }
  [[noreturn]] static void refuse(const char* key, const std::string& found, const std::string& expected) {
    throw Error(ErrorCode::format, fmt::format("{} is {}, expected {}", key, found, expected));
  }
};

json json_of(const Device& device) {
  json out = {{"name", device.name}, {"kind", device.is_gpu() ? "gpu" : "cpu"}};
  const auto write = [&](const char* key, const auto& value, int) { out[key] = value; };
  if (device.is_gpu()) {
    gpu_fields(device.gpu(), write);
  } else {
    cpu_fields(device.cpu(), write);
  }
  return out;
}

// Whoever writes a key expects it to count.
void check_keys(const json& found, const json& known) {
  for (const auto& item : found.items()) {
    if (known.contains(item.key())) continue;
    std::string names;
    for (const auto& other : known.items()) names += (names.empty() ? "" : ", ") + other.key();
    throw Error(ErrorCode::format, fmt::format("unknown key {}, expected {}", quote(item.key()), names));
  }
}

}  // namespace

std::string to_json(const Device& device) { return json_of(device).dump(2); }

Device device_from_json(std::string_view text) try {
  const json in = parse_json(text);
  const Reader read{in};
  Device device;
  std::string kind;
  read("name", device.name, 0);
  read("kind", kind, 0);
  if (kind == "gpu") {
    gpu_fields(device.description.emplace<GpuDescription>(), read);
  } else if (kind == "cpu") {
    auto& cpu = device.description.emplace<CpuDescription>();
    cpu_fields(cpu, read);
    if (cpu.isa != "avx512" && cpu.isa != "avx2" && cpu.isa != "scalar")
      Reader::refuse("isa", quote(cpu.isa), "avx512, avx2 or scalar");
  } else {
    Reader::refuse("kind", kind, "gpu or cpu");
  }
  check_keys(in, json_of(device));
  return device;
} catch (const json::exception& e) {
  throw Error(ErrorCode::format,
              fmt::format("device description: {}; `sprnn devices h100 --json` prints one", e.what()));
} catch (const Error& e) {
  throw Error(e.code(), fmt::format("device description: {}", e.what()));
}

std::span<const Device> known_gpus() {
  static const std::array<Device, 3> all = {{{"h100", GpuDescription{}}, {"h200", h200()}, {"a100", a100()}}};
  return all;
}

}  // namespace sprnn
