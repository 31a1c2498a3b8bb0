// The bytes of one matrix in each of the CPU engine's layouts, and the view through which the engine
// reads them. The layouts are documented in docs/cpu.md; this header is their exact definition.
//
// A matrix of G gates with U rows each is cut into groups of 16 rows of one gate; the last group of a gate
// has empty lanes when 16 does not divide U. Group `gate * groups_per_gate + j` holds units 16 j and on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sprnn/pack.hpp"

namespace sprnn::cpu {

// Lists are padded with +0.0 values at column 0 to multiples of these: the kernels' unrolling, and the
// number of partial sums of a row (docs/cpu.md, "Order of summation").
inline constexpr int column_step = 4;
inline constexpr int row_step = 8;
inline constexpr int tile_step = 6;

// Six slots: bits 5 k to 5 k + 4 of offsets[lane] say which column of its window slot k takes for the lane.
struct TileBlock {
  std::uint32_t offsets[cpu_group_rows];
  float values[tile_step][cpu_group_rows];
};
static_assert(sizeof(TileBlock) == 448);

struct MatrixShape {
  std::int64_t gates = 0;
  std::int64_t units = 0;  // rows a gate
  std::int64_t cols = 0;
  [[nodiscard]] std::int64_t groups_per_gate() const { return (units + cpu_group_rows - 1) / cpu_group_rows; }
  [[nodiscard]] std::int64_t groups() const { return gates * groups_per_gate(); }
  [[nodiscard]] std::int64_t rows() const { return gates * units; }
};

// dense    values [groups][cols][16]
// columns  starts [groups + 1] in steps of 4 columns; columns [steps * 4]; values [steps * 4][16]
// tile     starts [groups + 1] in blocks; columns [blocks * 6]: the windows' first column / 16; blocks
// row      starts [rows + 1] in steps of 8; columns [steps * 8]; values [steps * 8]
struct MatrixView {
  CpuLayout layout = CpuLayout::none;
  MatrixShape shape;
  const std::uint32_t* starts = nullptr;
  const std::uint16_t* columns = nullptr;
  const float* values = nullptr;
  const TileBlock* blocks = nullptr;
};

// The sections of a matrix are named "<name>.starts", "<name>.columns", "<name>.values" or "<name>.blocks".
void pack_matrix(const Matrix& matrix, const MatrixShape& shape, CpuLayout layout, const std::string& name,
                 std::vector<Section>& sections);
// Sizes only: throws Error(format) unless every section is there and all sizes follow from the starts.
[[nodiscard]] MatrixView view_matrix(const std::vector<Section>& sections, const MatrixShape& shape,
                                     CpuLayout layout, const std::string& name);
// Throws Error(format): columns in range and ascending, padding in its place, values finite and on the grid,
// as many non-zeros a row as `summary` says.
void validate_matrix(const MatrixView& view, DType dtype, const std::string& name,
                     const MatrixSummary& summary);
void unpack_matrix(const MatrixView& view, Matrix& matrix);
// Values stored, padding and pruned entries included.
[[nodiscard]] std::int64_t stored_values(const MatrixView& view);

// The matrices of a direction: their shapes follow from the problem.
struct DirectionShapes {
  MatrixShape w_ih, w_hh, w_hr;  // w_hr all zero without a projection
};
[[nodiscard]] DirectionShapes shapes_of(const Problem& problem, const DirectionPlan& plan);

}  // namespace sprnn::cpu
