#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "plan/cpu_tile.hpp"
#include "sprnn/plan.hpp"

namespace sprnn {

namespace {

MatrixSummary summarise(const Matrix& matrix, std::int64_t rows_per_gate) {
  MatrixSummary summary{matrix.rows, matrix.cols,
                        std::vector<std::int32_t>(static_cast<std::size_t>(matrix.rows)), 0, 0};
  std::vector<bool> used;
  for (std::int64_t gate = 0; gate < matrix.rows; gate += rows_per_gate) {
    for (std::int64_t first = gate; first < gate + rows_per_gate; first += cpu_group_rows) {
      const std::int64_t last = std::min<std::int64_t>(first + cpu_group_rows, gate + rows_per_gate);
      used.assign(static_cast<std::size_t>(matrix.cols), false);
      for (std::int64_t r = first; r < last; ++r) {
        for (std::int64_t c = 0; c < matrix.cols; ++c) {
          if (!is_nonzero(matrix.row(r)[c])) continue;
          ++summary.row_nonzeros[static_cast<std::size_t>(r)];
          used[static_cast<std::size_t>(c)] = true;
        }
      }
      summary.group_columns += std::count(used.begin(), used.end(), true);
      cpu::TileWalk walk(matrix, first, last);
      for (cpu::TileSlot slot; walk.step(slot);) ++summary.tile_slots;
    }
  }
  summary.large_weights = std::any_of(matrix.values.begin(), matrix.values.end(),
                                      [](float weight) { return std::abs(weight) > most_half_weight; });
  return summary;
}

void count_fours(const Matrix& matrix, MatrixSummary& summary) {
  constexpr int two = 2;
  int most = 0;
  std::vector<std::int32_t> rests(static_cast<std::size_t>(matrix.rows), 0);
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    for (std::int64_t c = 0; c < matrix.cols; c += 4) {
      const auto first = matrix.row(r) + c;
      const auto count =
          static_cast<int>(std::count_if(first, first + std::min<std::int64_t>(4, matrix.cols - c),
                                         [](float weight) { return is_nonzero(weight); }));
      most = std::max(most, count);
      rests[static_cast<std::size_t>(r)] += std::max(0, count - two);
    }
  }
  summary.most_of_four = most;
  if (most > two) summary.row_rests = std::move(rests);
}

MatrixSummary summarise_recurrent(const Matrix& matrix, const Cell& cell) {
  const std::int64_t units = matrix.rows / cell.gates();
  MatrixSummary summary = summarise(matrix, units);
  const int block = mma_sharing_units(cell.gates());
  std::vector<bool> used;
  for (std::int64_t first = 0; first < units; first += block) {
    used.assign(static_cast<std::size_t>(matrix.cols), false);
    for (std::int64_t unit = first; unit < std::min(first + block, units); ++unit) {
      for (std::int64_t row = unit; row < matrix.rows; row += units) {
        for (std::int64_t c = 0; c < matrix.cols; ++c) {
          if (is_nonzero(matrix.row(row)[c])) used[static_cast<std::size_t>(c)] = true;
        }
      }
    }
    summary.shared_columns.push_back(static_cast<std::int32_t>(std::count(used.begin(), used.end(), true)));
  }
  count_fours(matrix, summary);
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
           summarise_recurrent(direction.w_hh, direction.cell),
           direction.w_hr.empty() ? MatrixSummary{} : summarise(direction.w_hr, model.projection_size)});
    }
  }
  return problem;
}

}  // namespace sprnn
