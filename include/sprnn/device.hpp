// Device descriptions: plain values, so a plan for an H100 is made and tested on a laptop.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <variant>

namespace sprnn {

struct GpuDescription {
  int compute_capability = 90;  // 80, 90, ...
  int sm_count = 132;
  int registers_per_sm = 65536;  // 32-bit
  int max_registers_per_thread = 255;
  std::int64_t shared_bytes_per_block = 232448;  // the opt-in limit
  std::int64_t shared_bytes_per_sm = 233472;
  std::int64_t l2_bytes = 52428800;
  std::int64_t memory_bytes = 85000000000;
  int max_cluster_size = 16;      // 1: no clusters
  double clock_ghz = 1.98;        // under load: the boost clock
  double l2_gbytes_per_s = 5500;  // streamed weights
  double memory_gbytes_per_s = 3350;
  double tensor_tflops = 990;  // dense fp16 and bf16
  double fp32_tflops = 67;
  bool operator==(const GpuDescription&) const = default;
};

struct CpuDescription {
  int threads = 1;                  // as many as affinity and the cgroup quota allow
  std::string isa = "scalar";       // "avx512", "avx2", "scalar": the best that the processor has
  std::int64_t l1_bytes = 32768;    // data, a core
  std::int64_t l2_bytes = 1048576;  // a core
  std::int64_t l3_bytes = 0;        // shared
  bool operator==(const CpuDescription&) const = default;
};

struct Device {
  std::string name;  // "h100", "cpu", ...
  std::variant<CpuDescription, GpuDescription> description;
  [[nodiscard]] bool is_gpu() const noexcept { return std::holds_alternative<GpuDescription>(description); }
  [[nodiscard]] const GpuDescription& gpu() const { return std::get<GpuDescription>(description); }
  [[nodiscard]] const CpuDescription& cpu() const { return std::get<CpuDescription>(description); }
  bool operator==(const Device&) const = default;
};

// "h100", "h200", "a100", "cpu" (this machine's processor), "local" (the GPU of this machine if engine cuda
// can use it, else its processor), or the path of a JSON file as to_json writes it. Throws
// Error(invalid_argument) for another name that is no file's, Error(io) or Error(format) for a file.
[[nodiscard]] Device find_device(std::string_view name_or_path);
// Those with a name of their own, by data sheet; never destroyed.
[[nodiscard]] std::span<const Device> known_gpus();
[[nodiscard]] Device this_cpu();
[[nodiscard]] std::string to_json(const Device& device);
// What to_json writes, with no key missing or more; throws Error(format).
[[nodiscard]] Device device_from_json(std::string_view json);

}  // namespace sprnn
