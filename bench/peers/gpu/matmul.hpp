// cuBLASLt's matrix product with the algorithm that was the fastest here of all that it proposes.
#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <string>

#include "bench/peers/gpu/cuda.hpp"

namespace sprnn::bench {

// Of out [rows][outputs] = x [rows][inputs] times weights [outputs][inputs] transposed; x and weights fp16,
// sums fp32.
struct LtShape {
  std::int64_t rows = 0, inputs = 0, outputs = 0;
  bool float_out = false;
  bool transposed_weights = false;  // stored as [inputs][outputs]
  bool transposed_out = false;      // stored as [outputs][rows]
};

class LtMatmul {
 public:
  // Tries what cuBLASLt proposes on the arrays given; throws Error(unsupported) if that is nothing.
  LtMatmul(const LtShape& shape, const void* x, const void* weights, void* out);
  LtMatmul(const LtMatmul&) = delete;
  LtMatmul& operator=(const LtMatmul&) = delete;
  ~LtMatmul();

  void run(const void* x, const void* weights, void* out, cudaStream_t stream) const;
  [[nodiscard]] double microseconds() const noexcept { return microseconds_; }  // of the chosen algorithm
  [[nodiscard]] std::string found() const;                                      // in words

 private:
  [[nodiscard]] double time_of(const cublasLtMatmulAlgo_t& algorithm, const void* x, const void* weights,
                               void* out) const;
  [[nodiscard]] cublasStatus_t launch(const cublasLtMatmulAlgo_t& algorithm, const void* x,
                                      const void* weights, void* out, cudaStream_t stream) const;

  bool swapped_;  // its first operand is x
  cublasLtHandle_t handle_ = nullptr;
  cublasLtMatmulDesc_t description_ = nullptr;
  cublasLtMatrixLayout_t weights_ = nullptr, x_ = nullptr, out_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
  DeviceArray workspace_;
  int tried_ = 0;
  double microseconds_ = 0.0;
};

}  // namespace sprnn::bench
