// The dense input projection's matrix product, by cuBLASLt with one fixed algorithm, so that any split of the
// timesteps over calls gives the same bits.
#pragma once

#include <array>
#include <cstdint>

#include "engines/cuda/gpu.hpp"
#include "sprnn/dtype.hpp"

namespace sprnn::cuda {

// out [rows][outputs] fp32 = x [rows][inputs] times weights [outputs][inputs] transposed, plus bias
// [outputs]. `inputs` and `outputs` are pitches too, multiples of 16 bytes of their type.
class Matmul {
 public:
  // For calls of at most `most_rows` rows. `bias` must stay where it is.
  Matmul(DType dtype, std::int64_t inputs, std::int64_t outputs, std::int64_t most_rows, DevicePointer bias);
  Matmul(const Matmul&) = delete;
  Matmul& operator=(const Matmul&) = delete;
  ~Matmul();

  void run(DevicePointer x, std::int64_t rows, DevicePointer weights, DevicePointer out, Stream stream) const;

 private:
  using Algorithm = std::array<std::uint64_t, 8>;  // cublasLtMatmulAlgo_t

  int type_;  // cudaDataType_t of x and weights
  std::int64_t inputs_, outputs_;
  void* description_ = nullptr;  // cublasLtMatmulDesc_t
  Algorithm algorithm_{};
  Buffer workspace_;
};

}  // namespace sprnn::cuda
