// The buffers of a session of the CPU engine: the plan reports what they take, the session allocates them.
#pragma once

#include <algorithm>
#include <cstdint>

#include "sprnn/plan.hpp"

namespace sprnn::cpu {

[[nodiscard]] constexpr std::int64_t round_up(std::int64_t value, std::int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// From one sample to the next in arrays by rows: room for the kernels to read 16 beyond the last group, and
// an odd number of cache lines where it can be, so that samples do not share a cache set.
[[nodiscard]] constexpr std::int64_t row_stride(std::int64_t values) {
  return round_up(values, cpu_group_rows) + cpu_group_rows;
}

// Vectors that workers hand to each other lie by rows [sample][value] and by columns [value][sample].
[[nodiscard]] constexpr std::int64_t by_rows(std::int64_t samples, std::int64_t values) {
  return samples * row_stride(values);
}
[[nodiscard]] constexpr std::int64_t by_columns(std::int64_t samples, std::int64_t values) {
  return round_up(samples, 16) * round_up(values, 16);
}

struct Workspace {
  std::int64_t tile_steps = 0;   // timesteps whose input projection is computed together
  std::int64_t layer_steps = 0;  // timesteps of an intermediate layer's output that are held at a time
  std::int64_t samples = 0;      // of a tile: tile_steps x batch
  // Values a sample, the most of any direction; 0: no such buffer.
  std::int64_t inputs = 0;  // a tile of x
  std::int64_t state = 0;   // two of h
  std::int64_t inner = 0;   // o * tanh(c) before the projection, or r * h before n's product
  std::int64_t gates = 0;   // a tile of the input projection, then the gates
  std::int64_t cells = 0;   // c
};

[[nodiscard]] Workspace workspace_of(const Problem& problem, int batch);
// Of a session with `threads`. What a model with a reverse direction holds between its layers grows with the
// sequence and is not in it.
[[nodiscard]] std::int64_t workspace_bytes(const Problem& problem, int batch, int threads);

// Blocks of H values that the gates of a sample take: n's recurrent product of a gru lies apart where the
// reset comes after it.
[[nodiscard]] inline std::int64_t gate_blocks(const Cell& cell) {
  return cell.gates() + (cell.kind == CellKind::gru && !cell.reset_before_product ? 1 : 0);
}

}  // namespace sprnn::cpu
