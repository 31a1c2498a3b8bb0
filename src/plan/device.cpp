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

// The least and the greatest that makes sense of any device that may come.
struct Range {
  double least = 0, most = 0;
};
constexpr Range on_chip{1, 1 << 30}, bytes{0, 1LL << 50};
// Plans divide by rates, and no predicted time may become an infinity, which JSON does not have.
constexpr Range rate{1e-6, 1e12};

// Visits the fields of a description with their names and ranges: one list for reading and writing.
template <class Gpu, class Visit>
void gpu_fields(Gpu& gpu, Visit&& visit) {
  visit("compute_capability", gpu.compute_capability, Range{80, 999});  // 80: what the kernels need
  visit("sm_count", gpu.sm_count, Range{1, 4096});
  visit("registers_per_sm", gpu.registers_per_sm, on_chip);
  visit("max_registers_per_thread", gpu.max_registers_per_thread, Range{1, 1024});
  visit("shared_bytes_per_block", gpu.shared_bytes_per_block, on_chip);
  visit("shared_bytes_per_sm", gpu.shared_bytes_per_sm, on_chip);
  visit("l2_bytes", gpu.l2_bytes, bytes);
  visit("memory_bytes", gpu.memory_bytes, bytes);
  visit("max_cluster_size", gpu.max_cluster_size, Range{1, 64});
  visit("clock_ghz", gpu.clock_ghz, rate);
  visit("l2_gbytes_per_s", gpu.l2_gbytes_per_s, rate);
  visit("memory_gbytes_per_s", gpu.memory_gbytes_per_s, rate);
  visit("tensor_tflops", gpu.tensor_tflops, rate);
  visit("fp32_tflops", gpu.fp32_tflops, rate);
}

template <class Cpu, class Visit>
void cpu_fields(Cpu& cpu, Visit&& visit) {
  visit("threads", cpu.threads, Range{1, 4096});
  visit("isa", cpu.isa, Range{});
  visit("l1_bytes", cpu.l1_bytes, bytes);
  visit("l2_bytes", cpu.l2_bytes, bytes);
  visit("l3_bytes", cpu.l3_bytes, bytes);
}

// Reads one field.
struct Reader {
  const json& object;

  void operator()(const char* key, std::string& out, Range) const {
    out = value_at<std::string>(object, key);
  }
  template <class Number>
  void operator()(const char* key, Number& out, Range range) const {
    out = value_at<Number>(object, key);
    const auto value = static_cast<double>(out);
    if (!(value >= range.least && value <= range.most))
      refuse(key, fmt::format("{}", out), fmt::format("{:.16g} to {:.16g}", range.least, range.most));
  }
  [[noreturn]] static void refuse(const char* key, const std::string& found, const std::string& expected) {
    throw Error(ErrorCode::format, fmt::format("{} is {}, expected {}", key, found, expected));
  }
};

json json_of(const Device& device) {
  json out = {{"name", device.name}, {"kind", device.is_gpu() ? "gpu" : "cpu"}};
  const auto write = [&](const char* key, const auto& value, Range) { out[key] = value; };
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
  read("name", device.name, {});
  read("kind", kind, {});
  if (device.name.empty()) Reader::refuse("name", "''", "what the device is called");
  if (kind == "gpu") {
    if (device.name == "cpu" || device.name == "local")
      Reader::refuse("name", quote(device.name), "another: that one stands for this machine");
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
