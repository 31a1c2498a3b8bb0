#include "engines/cuda/gpu.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>

#include "sprnn/error.hpp"

namespace sprnn::cuda {

namespace {

constexpr int portable_cluster_size = 8;  // CUDA C++ Programming Guide, "Thread Block Clusters"

int attribute(int device, int which) {
  int value = 0;
  check(driver().device_attribute(&value, which, device), "cuDeviceGetAttribute");
  return value;
}

// What can be asked for is asked for; the rest is that of the nearest data sheet, scaled by SMs and clock.
GpuDescription describe(int device) {
  const int capability =
      10 * attribute(device, attribute_capability_major) + attribute(device, attribute_capability_minor);
  const std::span<const Device> known = known_gpus();
  const auto nearest = std::find_if(known.begin(), known.end(), [&](const Device& sheet_of) {
    return sheet_of.gpu().compute_capability <= capability;
  });
  GpuDescription gpu = (nearest == known.end() ? known.back() : *nearest).gpu();
  const GpuDescription sheet = gpu;
  gpu.compute_capability = capability;
  gpu.sm_count = attribute(device, attribute_sm_count);
  gpu.registers_per_sm = attribute(device, attribute_registers_per_sm);
  gpu.shared_bytes_per_block = attribute(device, attribute_shared_bytes_per_block);
  gpu.shared_bytes_per_sm = attribute(device, attribute_shared_bytes_per_sm);
  gpu.l2_bytes = attribute(device, attribute_l2_bytes);
  if (attribute(device, attribute_cluster_launch) == 0) gpu.max_cluster_size = 1;
  if (capability != sheet.compute_capability)
    gpu.max_cluster_size = std::min(gpu.max_cluster_size, portable_cluster_size);
  std::size_t memory = 0;
  check(driver().device_memory(&memory, device), "cuDeviceTotalMem");
  gpu.memory_bytes = static_cast<std::int64_t>(memory);
  gpu.clock_ghz = attribute(device, attribute_clock_rate) * 1e-6;
  // Twice: both edges of the clock.
  gpu.memory_gbytes_per_s = 2.0 * attribute(device, attribute_memory_clock_rate) *
                            attribute(device, attribute_memory_bus_width) / 8e6;
  const double scale = gpu.sm_count * gpu.clock_ghz / (sheet.sm_count * sheet.clock_ghz);
  gpu.l2_gbytes_per_s *= scale;
  gpu.tensor_tflops *= scale;
  gpu.fp32_tflops *= scale;
  return gpu;
}

}  // namespace

Gpu::Gpu(int ordinal) {
  const Driver& cuda = driver();
  int count = 0;
  check(cuda.device_count(&count), "cuDeviceGetCount");
  if (ordinal < 0 || ordinal >= count) {
    throw Error(ErrorCode::device, fmt::format("GPU {} was asked for, this machine has {}", ordinal, count));
  }
  int device = 0;
  check(cuda.device_get(&device, ordinal), "cuDeviceGet");
  std::array<char, 256> text{};
  check(cuda.device_name(text.data(), static_cast<int>(text.size()), device), "cuDeviceGetName");
  name_ = text.data();
  if (attribute(device, attribute_cooperative_launch) == 0 ||
      attribute(device, attribute_capability_major) < 8) {
    throw Error(ErrorCode::device,
                fmt::format("{}: compute capability {}.{}, expected 8.0 or newer with cooperative launch",
                            name_, attribute(device, attribute_capability_major),
                            attribute(device, attribute_capability_minor)));
  }
  description_ = describe(device);
  check(cuda.retain_primary_context(&context_, device), "cuDevicePrimaryCtxRetain");
}

std::shared_ptr<const Gpu> gpu(int ordinal) {
  static std::mutex mutex;
  static std::map<int, std::shared_ptr<const Gpu>> all;
  const std::lock_guard lock(mutex);
  std::shared_ptr<const Gpu>& found = all[ordinal];
  if (!found) found = std::make_shared<Gpu>(ordinal);
  return found;
}

int gpu_count() {
  int count = 0;
  try {
    return driver().device_count(&count) == 0 ? count : 0;
  } catch (const Error&) {
    return 0;
  }
}

Context current_context() {
  Context context = nullptr;
  check(driver().current_context(&context), "cuCtxGetCurrent");
  return context;
}

Buffer::Buffer(std::size_t bytes) : bytes_(bytes), context_(current_context()) {
  const Result result = driver().allocate(&pointer_, std::max<std::size_t>(bytes, 16));
  if (result == result_out_of_memory) {
    throw Error(ErrorCode::out_of_memory,
                fmt::format("the GPU has no {:.1f} MiB of memory left: a smaller batch needs less",
                            double(bytes) / (1 << 20)));
  }
  check(result, "cuMemAlloc");
}

Buffer upload(const void* from, std::size_t bytes) {
  Buffer to(bytes);
  if (bytes == 0) return to;
  check(driver().to_device(to.get(), from, bytes, nullptr), "cuMemcpyHtoDAsync");
  check(driver().synchronize(nullptr), "cuStreamSynchronize");
  return to;
}

HostWord::HostWord() : context_(current_context()) {
  void* memory = nullptr;
  check(driver().allocate_host(&memory, sizeof(std::uint32_t), host_memory_portable), "cuMemHostAlloc");
  word_ = static_cast<std::uint32_t*>(memory);
  clear();
}

LastWork::LastWork() : context_(current_context()) {
  check(driver().create_event(&event_, event_without_timing), "cuEventCreate");
}

void LastWork::precede(Stream stream) const {
  if (!is_capturing(stream)) check(driver().wait_event(stream, event_, 0), "cuStreamWaitEvent");
}

void LastWork::is_in(Stream stream) const {
  check(driver().record_event_with_flags(event_, stream, is_capturing(stream) ? event_record_external : 0),
        "cuEventRecordWithFlags");
}

void LastWork::wait() const { check(driver().synchronize_event(event_), "cuEventSynchronize"); }

void LastWork::settle() const noexcept {
  int mode = capture_mode_relaxed;
  driver().exchange_capture_mode(&mode);
  driver().synchronize_event(event_);
  driver().exchange_capture_mode(&mode);
}

OwnStream::OwnStream() : context_(current_context()) {
  check(driver().create_stream(&stream_, stream_non_blocking), "cuStreamCreate");
}

Moment::Moment(Stream stream) : context_(current_context()) {
  check(driver().create_event(&event_, 0), "cuEventCreate");
  check(driver().record_event(event_, stream), "cuEventRecord");
}

double Moment::microseconds_since(const Moment& earlier) const {
  float milliseconds = 0.0F;
  check(driver().elapsed_ms(&milliseconds, earlier.event_, event_), "cuEventElapsedTime");
  return 1e3 * static_cast<double>(milliseconds);
}

bool is_capturing(Stream stream) {
  if (stream == nullptr) return false;  // the default stream cannot be captured
  int status = 0;
  check(driver().is_capturing(stream, &status), "cuStreamIsCapturing");
  return status != 0;
}

Kernel::Kernel(const std::string& cubin, const char* name, std::int64_t shared_bytes)
    : shared_bytes_(shared_bytes), context_(current_context()) {
  check(driver().load_module(&module_, cubin.data()), "cuModuleLoadData");
  try {
    check(driver().get_function(&function_, module_, name), "cuModuleGetFunction");
    if (shared_bytes > 0) {
      check(driver().set_function_attribute(function_, function_max_dynamic_shared_bytes,
                                            static_cast<int>(shared_bytes)),
            "cuFuncSetAttribute");
    }
  } catch (const Error&) {
    driver().unload_module(module_);
    throw;
  }
}

int Kernel::most_clusters(unsigned cluster, unsigned threads) const {
  // Beyond 8 blocks a kernel must say that it wants so many.
  check(driver().set_function_attribute(function_, function_any_cluster_size, 1), "cuFuncSetAttribute");
  const LaunchAttribute attribute = LaunchAttribute::cluster(cluster);
  const LaunchConfig config = {cluster, 1,          1, threads, 1, 1, static_cast<unsigned>(shared_bytes_),
                               nullptr, &attribute, 1};
  int count = 0;
  const Result result = driver().most_clusters(&count, function_, &config);
  if (result == result_invalid_cluster_size) return 0;
  check(result, "cuOccupancyMaxActiveClusters");
  return count;
}

}  // namespace sprnn::cuda
