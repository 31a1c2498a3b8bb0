// One matrix of pairs, packed, unpacked, checked and looked at: of strategy gather, or the rest of one of
// sparse-mma.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "pack/gather_view.hpp"

namespace sprnn::gather {

// Which of a row's columns the matrix has.
using Has = bool (*)(const float* row, std::int64_t column);

// What to pack, and where it goes.
struct MatrixSource {
  const Matrix& matrix;
  std::span<const std::int32_t> row_nonzeros;  // those that it has
  Has has;
  std::span<const std::int32_t> unit_map;
  const std::vector<std::int64_t>& positions;  // of the columns
};
void pack_matrix(const MatrixSource& source, const MatrixLayout& layout, DType dtype, bool bank_order,
                 std::vector<Section>& sections);
// Sets what the matrix has; leaves the others.
void unpack_matrix(const MatrixView& view, DType dtype, Matrix& matrix);
// Throws Error(format): everything engines rely on. Returns the largest magnitude of a weight, its bits.
[[nodiscard]] std::uint32_t check_matrix(const MatrixView& view, std::span<const std::int32_t> row_nonzeros,
                                         DType dtype);
void report_matrix(const MatrixView& view, std::span<const std::int32_t> row_nonzeros,
                   std::vector<PackFigure>& figures);

}  // namespace sprnn::gather
