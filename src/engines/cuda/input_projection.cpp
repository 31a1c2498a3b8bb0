#include "engines/cuda/input_projection.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "base/float_environment.hpp"
#include "plan/gpu_cost.hpp"

namespace sprnn::cuda {

namespace {

// The row of W_ih behind each column of the projection, -1 for none.
std::vector<std::int64_t> rows_of_columns(const KernelShape& shape, const std::int32_t* unit_map) {
  const gpu::Frame& frame = shape.frame;
  std::vector<std::int64_t> rows(static_cast<std::size_t>(projection_columns(shape)), -1);
  std::size_t column = 0;
  for (std::int64_t position = 0; position < frame.positions(); ++position) {
    for (int gate = 0; gate < frame.gates; ++gate, ++column) {
      if (unit_map[position] >= 0) rows[column] = gate * frame.units + unit_map[position];
    }
  }
  return rows;
}

}  // namespace

InputKernels::InputKernels(DType dtype, std::int64_t widest, int compute_capability, const CodeSource& code)
    : InputKernels(code(input_kernel(dtype), compute_capability), dtype, widest) {}

InputKernels::InputKernels(const std::string& cubin, DType dtype, std::int64_t widest)
    : gather_input(cubin, "gather_input"),
      project_rows(cubin, "project_rows"),
      widen_output(cubin, "widen_output"),
      load_state(cubin, "load_state"),
      store_state(cubin, "store_state"),
      tile_pitch(widest) {
  if (widest > 0) project_tiles.emplace(cubin, "project_tiles", gpu::input_tile_bytes(widest, dtype));
}

std::int64_t input_pitch(std::int64_t columns, DType dtype) {
  const std::int64_t unit = 16 / static_cast<std::int64_t>(size_of(dtype));
  return (columns + unit - 1) / unit * unit;
}

InputProjection::InputProjection(const PackedDirection& packed, const KernelShape& shape,
                                 const DirectionProblem& direction, std::int64_t most_rows)
    : columns_(direction.w_ih.cols),
      pitch_(input_pitch(columns_, shape.dtype)),
      tile_bytes_(gpu::input_tile_bytes(pitch_, shape.dtype)),
      outputs_(projection_columns(shape)) {
  const std::vector<std::int64_t> rows =
      rows_of_columns(shape, gpu::view_maps(packed.sections, shape.frame).units);
  const DefaultFloatEnvironment environment;
  std::vector<float> bias(rows.size(), 0.0F);
  for (std::size_t n = 0; n < rows.size() && !packed.b_ih.empty(); ++n) {
    if (rows[n] < 0) continue;
    const auto row = static_cast<std::size_t>(rows[n]);
    // A gru's b_hh of n is scaled by r: the kernel adds it.
    const bool later = shape.cell.kind == CellKind::gru && rows[n] >= 2 * shape.frame.units;
    bias[n] = packed.b_ih[row] + (later ? 0.0F : packed.b_hh[row]);
  }
  bias_ = upload<float>(bias);

  const std::size_t element = size_of(shape.dtype);
  if (shape.plan.w_ih == InputStorage::dense) {
    const std::byte* const from = gpu::find_section(packed.sections, "w_ih.dense").data();
    const std::size_t width = static_cast<std::size_t>(columns_) * element,
                      pitch = static_cast<std::size_t>(pitch_) * element;
    std::vector<std::byte> weights(rows.size() * pitch);
    for (std::size_t n = 0; n < rows.size(); ++n) {
      if (rows[n] >= 0)
        std::memcpy(weights.data() + n * pitch, from + static_cast<std::size_t>(rows[n]) * width, width);
    }
    pruned_ = direction.w_ih.nonzeros() < direction.w_ih.rows * direction.w_ih.cols;
    weights_ = upload<std::byte>(weights);
    matmul_ = std::make_unique<Matmul>(shape.dtype, pitch_, outputs_, most_rows, bias_.get());
    return;
  }
  const auto* const begin = gpu::find_section(packed.sections, "w_ih.row_begin").as<std::int64_t>();
  const auto* const columns = gpu::find_section(packed.sections, "w_ih.columns").as<std::int32_t>();
  const std::byte* const values = gpu::find_section(packed.sections, "w_ih.values").data();
  std::vector<std::int64_t> row_begin{0};
  std::vector<std::int32_t> column;
  std::vector<std::byte> value;
  for (const std::int64_t row : rows) {
    if (row >= 0) {
      column.insert(column.end(), columns + begin[row], columns + begin[row + 1]);
      value.insert(value.end(), values + begin[row] * static_cast<std::int64_t>(element),
                   values + begin[row + 1] * static_cast<std::int64_t>(element));
    }
    row_begin.push_back(static_cast<std::int64_t>(column.size()));
  }
  weights_ = upload<std::byte>(value);
  row_begin_ = upload<std::int64_t>(row_begin);
  column_ = upload<std::int32_t>(column);
}

void InputProjection::run(const InputKernels& kernels, DevicePointer x, DevicePointer nonfinite,
                          std::int64_t rows, DevicePointer out, Stream stream) const {
  // Enough blocks to fill the GPU when there are few rows.
  const auto splits_of = [&](std::int64_t parts, std::int64_t outputs_a_block) {
    const std::int64_t most = (outputs_ + outputs_a_block - 1) / outputs_a_block;
    return static_cast<std::int32_t>(std::clamp<std::int64_t>(512 / parts, 1, most));
  };
  const auto columns = static_cast<std::int32_t>(columns_), pitch = static_cast<std::int32_t>(pitch_),
             outputs = static_cast<std::int32_t>(outputs_);
  if (matmul_) {
    matmul_->run(x, rows, weights_.get(), out, stream);
    if (!pruned_) return;
  } else if (pitch_ <= kernels.tile_pitch) {
    const std::int64_t tiles = (rows + gpu::input_tile_rows - 1) / gpu::input_tile_rows;
    const std::int32_t splits = splits_of(tiles, 256 / gpu::input_tile_rows);
    kernels.project_tiles->launch_with(tile_bytes_, stream, static_cast<unsigned>(tiles * splits), 256U, x,
                                       columns, pitch, rows, weights_.get(), row_begin_.get(), column_.get(),
                                       bias_.get(), outputs, out, splits);
    return;
  }
  const std::int32_t splits = splits_of(rows, 256 / gpu::warp_lanes);
  kernels.project_rows.launch(stream, static_cast<unsigned>(rows * splits), 256U, x, columns, pitch,
                              matmul_ ? nonfinite : DevicePointer{0}, weights_.get(), row_begin_.get(),
                              column_.get(), bias_.get(), outputs, out, splits);
}

}  // namespace sprnn::cuda
