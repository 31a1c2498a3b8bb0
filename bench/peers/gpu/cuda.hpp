// What the peers on the GPU share of the CUDA runtime: checked calls and device memory.
#pragma once

#include <cuda_runtime.h>
#include <fmt/format.h>

#include <cstddef>
#include <utility>

#include "sprnn/error.hpp"

namespace sprnn::bench {

inline void expect(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  (void)cudaGetLastError();  // else the next call reports it again
  throw Error(ErrorCode::device, fmt::format("{}: {}", call, cudaGetErrorString(status)));
}

class DeviceArray {
 public:
  DeviceArray() = default;
  explicit DeviceArray(std::size_t bytes) { expect(cudaMalloc(&data_, bytes > 0 ? bytes : 1), "cudaMalloc"); }
  DeviceArray(DeviceArray&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  DeviceArray& operator=(DeviceArray&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }
  ~DeviceArray() { cudaFree(data_); }

  template <class T = void>
  [[nodiscard]] T* get() const noexcept {
    return static_cast<T*>(data_);
  }

 private:
  void* data_ = nullptr;
};

[[nodiscard]] inline DeviceArray zeros(std::size_t bytes) {
  DeviceArray array(bytes);
  expect(cudaMemset(array.get(), 0, bytes), "cudaMemset");
  return array;
}

template <class T>
[[nodiscard]] DeviceArray upload(const T* values, std::size_t count) {
  DeviceArray array(count * sizeof(T));
  expect(cudaMemcpy(array.get(), values, count * sizeof(T), cudaMemcpyHostToDevice), "cudaMemcpy");
  return array;
}

}  // namespace sprnn::bench
