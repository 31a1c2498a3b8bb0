#include <algorithm>
#include <array>
#include <numeric>

#include "sprnn/plan.hpp"

namespace sprnn {

namespace {

MatrixSummary summarise(const Matrix& matrix, std::int64_t rows_per_gate) {
  MatrixSummary summary{matrix.rows, matrix.cols,
                        std::vector<std::int32_t>(static_cast<std::size_t>(matrix.rows)), 0, 0};
  for (std::int64_t gate = 0; gate < matrix.rows; gate += rows_per_gate) {
    for (std::int64_t first = gate; first < gate + rows_per_gate; first += cpu_group_rows) {
      const std::int64_t last = std::min<std::int64_t>(first + cpu_group_rows, gate + rows_per_gate);
      for (std::int64_t tile = 0; tile < matrix.cols; tile += cpu_tile_cols) {
        const std::int64_t tile_end = std::min<std::int64_t>(tile + cpu_tile_cols, matrix.cols);
        std::array<bool, cpu_tile_cols> used{};
        std::int32_t fullest = 0;
        for (std::int64_t r = first; r < last; ++r) {
          std::int32_t count = 0;
          for (std::int64_t c = tile; c < tile_end; ++c) {
            if (!is_nonzero(matrix.row(r)[c])) continue;
            ++count;
            used[static_cast<std::size_t>(c - tile)] = true;
          }
          summary.row_nonzeros[static_cast<std::size_t>(r)] += count;
          fullest = std::max(fullest, count);
        }
        summary.group_columns += std::count(used.begin(), used.end(), true);
        summary.tile_slots += fullest;
      }
    }
  }
  return summary;
}

}  // namespace

std::int64_t MatrixSummary::nonzeros() const noexcept {
  return std::accumulate(row_nonzeros.begin(), row_nonzeros.end(), std::int64_t{0});
}

double MatrixSummary::density() const noexcept {
  return rows == 0 || cols == 0 ? 0.0 : static_cast<double>(nonzeros()) / static_cast<double>(rows * cols);
}

Problem describe(const Model& model, int batch) {
  Problem problem{model.dtype, batch, model.input_size, model.hidden_size, model.projection_size, {}};
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    for (const Direction& direction : model.layers[l].directions) {
      problem.directions.push_back(
          {static_cast<int>(l), direction.reverse, direction.cell, !direction.b_ih.empty(),
           !direction.peephole.empty(), summarise(direction.w_ih, model.hidden_size),
           summarise(direction.w_hh, model.hidden_size),
           direction.w_hr.empty() ? MatrixSummary{} : summarise(direction.w_hr, model.projection_size)});
    }
  }
  return problem;
}

}  // namespace sprnn
