// One direction of one layer as the engine runs it: views of the packed weights, biases in the order of
// the groups, and which worker owns what.
#pragma once

#include <cstdint>
#include <vector>

#include "engines/cpu/buffer.hpp"
#include "pack/cpu_layout.hpp"
#include "plan/cpu_workspace.hpp"
#include "sprnn/pack.hpp"

namespace sprnn::cpu {

// Workers own groups of 16 consecutive units (all gates), so the cell update needs no exchange; worker w
// owns bounds[w] to bounds[w + 1].
using Bounds = std::vector<std::int64_t>;

// Which of `workers` owns what.
struct Shares {
  int workers = 1;
  Bounds unit_groups;
  Bounds state_groups;  // of the projection's rows
};

struct DirectionData {
  // `workers`: the numbers of workers that it may be run by.
  DirectionData(const Packed& packed, std::size_t direction, const std::vector<int>& workers);

  const Cell* cell = nullptr;
  bool standard = false;  // PyTorch's, without peephole: the vector kernels have it
  bool reverse = false;
  MatrixView w_ih, w_hh, w_hr;
  std::int64_t units = 0;  // H
  std::int64_t state = 0;  // R
  std::int64_t inputs = 0;
  const float* peephole = nullptr;
  // [blocks][units rounded up to 16]: what is added to the input projection, b_ih + b_hh; but a gru whose
  // reset comes after the product has n's b_hh apart, in the fourth block, for the recurrent product.
  std::int64_t blocks = 0;
  Buffer bias;
  std::vector<Shares> shares;   // for each number of workers
  std::int64_t part_steps = 0;  // timesteps of a part of a long run

  [[nodiscard]] bool separate_n() const { return cell->kind == CellKind::gru && !cell->reset_before_product; }
  [[nodiscard]] bool projected() const { return w_hr.layout != CpuLayout::none; }
};

}  // namespace sprnn::cpu
