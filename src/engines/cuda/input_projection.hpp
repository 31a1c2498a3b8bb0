// W_ih x and the biases of one direction for a tile of timesteps, in the order in which the kernel reads
// them.
#pragma once

#include <memory>
#include <optional>

#include "engines/cuda/kernel_code.hpp"
#include "engines/cuda/matmul.hpp"
#include "pack/gpu_sections.hpp"

namespace sprnn::cuda {

// The kernels of kernels/input.cu for one element type.
struct InputKernels {
  // widest: pitch of the widest rows that project_tiles will read, which must fit; 0: it reads none.
  InputKernels(DType dtype, std::int64_t widest, int compute_capability, const CodeSource& code);
  Kernel gather_input, project_rows, widen_output, load_state, store_state;
  std::optional<Kernel> project_tiles;
  std::int64_t tile_pitch = 0;

 private:
  InputKernels(const std::string& cubin, DType dtype, std::int64_t widest);
};

// Elements of a row of x as the products read it: filled up to 16 bytes.
[[nodiscard]] std::int64_t input_pitch(std::int64_t columns, DType dtype);

class InputProjection {
 public:
  InputProjection(const PackedDirection& packed, const KernelShape& shape, const DirectionProblem& direction,
                  std::int64_t most_rows);

  // x [rows][input_pitch]; nonfinite [rows] from gather_input; out [rows][projection_columns].
  void run(const InputKernels& kernels, DevicePointer x, DevicePointer nonfinite, std::int64_t rows,
           DevicePointer out, Stream stream) const;

 private:
  std::int64_t columns_, pitch_, tile_bytes_, outputs_;
  bool pruned_ = false;  // has zeros among its weights
  Buffer weights_, row_begin_, column_, bias_;
  std::unique_ptr<Matmul> matmul_;  // null: CSR
};

}  // namespace sprnn::cuda
