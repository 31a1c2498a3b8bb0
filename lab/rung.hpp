// What the programs of all rungs share: CUDA's errors, arrays on the GPU, times, how a program ends.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

inline void check(cudaError_t status, const char* what) {
  if (status != cudaSuccess) throw std::runtime_error(std::string(what) + ": " + cudaGetErrorString(status));
}

// Zeros, or a copy.
template <class T>
class DeviceArray {
 public:
  explicit DeviceArray(std::size_t size) : size_(size) {
    check(cudaMalloc(&data_, size * sizeof(T)), "cudaMalloc");
    clear();
  }
  explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
    check(cudaMemcpy(data_, values.data(), size_ * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
  }
  DeviceArray(const DeviceArray&) = delete;
  DeviceArray& operator=(const DeviceArray&) = delete;
  ~DeviceArray() { cudaFree(data_); }

  T* data() const { return data_; }
  std::size_t size() const { return size_; }
  void clear() { check(cudaMemset(data_, 0, size_ * sizeof(T)), "cudaMemset"); }
  std::vector<T> host() const {
    check(cudaGetLastError(), "launch");
    std::vector<T> values(size_);
    check(cudaMemcpy(values.data(), data_, size_ * sizeof(T), cudaMemcpyDeviceToHost), "a kernel");
    return values;
  }

 private:
  T* data_ = nullptr;
  std::size_t size_;
};

// Of what is launched between `start` and `stop`.
class Stopwatch {
 public:
  Stopwatch() {
    check(cudaEventCreate(&begin_), "cudaEventCreate");
    check(cudaEventCreate(&end_), "cudaEventCreate");
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    cudaEventDestroy(begin_);
    cudaEventDestroy(end_);
  }

  void start() { check(cudaEventRecord(begin_), "cudaEventRecord"); }
  // Waits; the kernel's status.
  [[nodiscard]] cudaError_t stop() {
    check(cudaEventRecord(end_), "cudaEventRecord");
    return cudaEventSynchronize(end_);
  }
  float milliseconds() const {
    float elapsed = 0;
    check(cudaEventElapsedTime(&elapsed, begin_, end_), "cudaEventElapsedTime");
    return elapsed;
  }

 private:
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

// Microseconds a timestep, by slope: `milliseconds(timesteps)`, the median of five of few and of many.
template <class Milliseconds>
double microseconds_a_timestep(int few, int many, Milliseconds&& milliseconds) {
  const auto median = [&](int timesteps) {
    float times[5];
    for (float& time : times) time = milliseconds(timesteps);
    std::nth_element(times, times + 2, times + 5);
    return times[2];
  };
  const float of_few = median(few);
  return (median(many) - of_few) * 1000 / (many - few);
}

// Nothing, and the reason is printed, where there is no GPU, or one without thread block clusters.
inline std::optional<cudaDeviceProp> gpu_with_clusters() {
  int devices = 0;
  cudaDeviceProp device{};
  if (cudaGetDeviceCount(&devices) != cudaSuccess || devices == 0) {
    std::printf("no CUDA device here: nothing was run\n");
    return std::nullopt;
  }
  check(cudaGetDeviceProperties(&device, 0), "cudaGetDeviceProperties");
  if (device.major < 9) {
    std::printf("%s has no clusters, which come with compute capability 9.0: nothing was run\n", device.name);
    return std::nullopt;
  }
  return device;
}

// The exit status that `run` returns; 1, and a line on stderr, if it throws.
inline int exit_status(int (*run)()) {
  try {
    return run();
  } catch (const std::exception& error) {
    std::fflush(stdout);
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
