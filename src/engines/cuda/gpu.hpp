// One GPU of this machine: its primary context, which PyTorch and the CUDA runtime use too, and what is owned
// on it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "engines/cuda/driver.hpp"
#include "sprnn/device.hpp"

namespace sprnn::cuda {

class Gpu {
 public:
  // Throws Error(device) when there is no such GPU.
  explicit Gpu(int ordinal);

  [[nodiscard]] Context context() const noexcept { return context_; }
  [[nodiscard]] const GpuDescription& description() const noexcept { return description_; }
  [[nodiscard]] const std::string& name() const noexcept { return name_; }

 private:
  std::string name_;
  GpuDescription description_;
  Context context_ = nullptr;
};

// Made on first use, one a GPU, kept: a primary context that is released while a library still holds it dies.
[[nodiscard]] std::shared_ptr<const Gpu> gpu(int ordinal);
[[nodiscard]] int gpu_count();  // 0 without a driver

// Makes a GPU the calling thread's, and gives back what was before.
class Current {
 public:
  explicit Current(const Gpu& gpu) { check(driver().push_context(gpu.context()), "cuCtxPushCurrent"); }
  ~Current() {
    Context ours = nullptr;
    driver().pop_context(&ours);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;
};

// The context that is current: what is made in it is freed in it, whatever is current then.
[[nodiscard]] Context current_context();
// For destructors: frees with a context current; a driver that has ended has freed everything already.
template <class Free>
void free_in(Context context, Free&& free) noexcept {
  if (driver().push_context(context) != 0) return;
  free();
  driver().pop_context(&context);
}

// Device memory of the current GPU. Empty or alive; 256-byte aligned, as cuMemAlloc gives it.
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::size_t bytes);
  Buffer(Buffer&& other) noexcept
      : pointer_(std::exchange(other.pointer_, 0)),
        bytes_(std::exchange(other.bytes_, 0)),
        context_(other.context_) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(pointer_, other.pointer_);
    std::swap(bytes_, other.bytes_);
    std::swap(context_, other.context_);
    return *this;
  }
  ~Buffer() {
    if (pointer_ != 0) free_in(context_, [&] { driver().free(pointer_); });
  }

  [[nodiscard]] DevicePointer get() const noexcept { return pointer_; }
  [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

 private:
  DevicePointer pointer_ = 0;
  std::size_t bytes_ = 0;
  Context context_ = nullptr;
};

// Copies of host memory, complete when they return.
[[nodiscard]] Buffer upload(const void* from, std::size_t bytes);
template <class T>
[[nodiscard]] Buffer upload(std::span<const T> values) {
  return upload(values.data(), values.size_bytes());
}

// A word of the host's memory that kernels can write too.
class HostWord {
 public:
  HostWord();
  HostWord(const HostWord&) = delete;
  HostWord& operator=(const HostWord&) = delete;
  ~HostWord() {
    free_in(context_, [&] { driver().free_host(const_cast<std::uint32_t*>(word_)); });
  }

  [[nodiscard]] std::uint32_t read() const noexcept { return *word_; }
  void clear() const noexcept { *word_ = 0; }
  [[nodiscard]] DevicePointer on_device() const noexcept { return reinterpret_cast<DevicePointer>(word_); }

 private:
  volatile std::uint32_t* word_ = nullptr;
  Context context_ = nullptr;
};

// The last work of a session, in whichever stream it is: the streams themselves may be gone.
class LastWork {
 public:
  LastWork();
  LastWork(const LastWork&) = delete;
  LastWork& operator=(const LastWork&) = delete;
  ~LastWork() {
    free_in(context_, [&] { driver().destroy_event(event_); });
  }

  // What is enqueued from now on comes after it. Nothing in a stream that is being captured: what is outside
  // of a graph is no dependency within it.
  void precede(Stream stream) const;
  // What was enqueued is it; of a captured stream what the graph's last replay has done.
  void is_in(Stream stream) const;
  void wait() const;
  // For destructors: waits as well, also while a stream is captured, and says nothing of an error: of other
  // work in the context, whose owner is told.
  void settle() const noexcept;

 private:
  Event event_ = nullptr;
  Context context_ = nullptr;
};

// A stream that does not wait for the default stream.
class OwnStream {
 public:
  OwnStream();
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  ~OwnStream() {
    free_in(context_, [&] { driver().destroy_stream(stream_); });
  }
  operator Stream() const noexcept { return stream_; }

 private:
  Stream stream_ = nullptr;
  Context context_ = nullptr;
};

// A moment of a stream.
class Moment {
 public:
  explicit Moment(Stream stream);
  Moment(const Moment&) = delete;
  Moment& operator=(const Moment&) = delete;
  ~Moment() {
    free_in(context_, [&] { driver().destroy_event(event_); });
  }
  // Of moments that have come.
  [[nodiscard]] double microseconds_since(const Moment& earlier) const;

 private:
  Event event_ = nullptr;
  Context context_ = nullptr;
};

[[nodiscard]] bool is_capturing(Stream stream);

// Lets the calling thread allocate and load while it captures a stream, whatever the mode of the capture.
class WhileCapturing {
 public:
  WhileCapturing() { check(driver().exchange_capture_mode(&mode_), "cuThreadExchangeStreamCaptureMode"); }
  ~WhileCapturing() { driver().exchange_capture_mode(&mode_); }
  WhileCapturing(const WhileCapturing&) = delete;
  WhileCapturing& operator=(const WhileCapturing&) = delete;

 private:
  int mode_ = capture_mode_relaxed;
};

// A loaded cubin and a kernel of it.
class Kernel {
 public:
  Kernel(const std::string& cubin, const char* name, std::int64_t shared_bytes = 0);
  Kernel(Kernel&& other) noexcept
      : module_(std::exchange(other.module_, nullptr)),
        function_(other.function_),
        shared_bytes_(other.shared_bytes_),
        context_(other.context_) {}
  Kernel& operator=(Kernel&& other) noexcept {
    std::swap(module_, other.module_);
    std::swap(function_, other.function_);
    std::swap(shared_bytes_, other.shared_bytes_);
    std::swap(context_, other.context_);
    return *this;
  }
  ~Kernel() {
    if (module_ != nullptr) free_in(context_, [&] { driver().unload_module(module_); });
  }

  // Arguments by value, in the kernel's order.
  template <class... Arguments>
  void launch(Stream stream, unsigned blocks, unsigned threads, Arguments... arguments) const {
    launch_with(shared_bytes_, stream, blocks, threads, arguments...);
  }
  // With less shared memory than the most.
  template <class... Arguments>
  void launch_with(std::int64_t shared_bytes, Stream stream, unsigned blocks, unsigned threads,
                   Arguments... arguments) const {
    void* pointers[] = {&arguments...};
    check(driver().launch(function_, blocks, 1, 1, threads, 1, 1, static_cast<unsigned>(shared_bytes), stream,
                          pointers, nullptr),
          "cuLaunchKernel");
  }
  // All blocks run at the same time; each `cluster` of neighbouring ones, if not 0, in a thread block
  // cluster.
  template <class Arguments>
  void launch_cooperative(Stream stream, unsigned blocks, unsigned cluster, unsigned threads,
                          Arguments arguments) const {
    void* pointers[] = {&arguments};
    const LaunchAttribute attributes[] = {LaunchAttribute::cooperative(), LaunchAttribute::cluster(cluster)};
    const LaunchConfig config = {blocks,
                                 1,
                                 1,
                                 threads,
                                 1,
                                 1,
                                 static_cast<unsigned>(shared_bytes_),
                                 stream,
                                 attributes,
                                 cluster > 0 ? 2U : 1U};
    check(driver().launch_with_attributes(&config, function_, pointers, nullptr), "cuLaunchKernelEx");
  }
  // Clusters of so many blocks that the GPU runs side by side.
  [[nodiscard]] int most_clusters(unsigned cluster, unsigned threads) const;

 private:
  Module module_ = nullptr;
  Function function_ = nullptr;
  std::int64_t shared_bytes_ = 0;
  Context context_ = nullptr;
};

}  // namespace sprnn::cuda
