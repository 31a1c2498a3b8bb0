// A recurrent model in memory: dense weights, as float rounded to the model's dtype.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sprnn/cell.hpp"
#include "sprnn/dtype.hpp"

namespace sprnn {

// Row-major, owning.
struct Matrix {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<float> values;  // [rows * cols]

  [[nodiscard]] bool empty() const noexcept { return values.empty(); }
  [[nodiscard]] float* row(std::int64_t r) noexcept { return values.data() + r * cols; }
  [[nodiscard]] const float* row(std::int64_t r) const noexcept { return values.data() + r * cols; }
  [[nodiscard]] std::int64_t nonzeros() const noexcept;  // stored bit patterns other than +0.0
  bool operator==(const Matrix&) const = default;
};

// One direction of one layer. G = gates, H = hidden size, I = input size of the layer, P = projection
// size (0: none), R = P or H: what is fed back.
struct Direction {
  Cell cell;
  bool reverse = false;         // runs from the last step of each sequence to its first
  Matrix w_ih;                  // [G*H, I]
  Matrix w_hh;                  // [G*H, R]
  std::vector<float> b_ih;      // [G*H] or empty (no bias)
  std::vector<float> b_hh;      // [G*H] or empty; empty if and only if b_ih is
  Matrix w_hr;                  // [P, H] or empty; lstm only
  std::vector<float> peephole;  // [3*H], order i o f as in ONNX, or empty; lstm only
  bool operator==(const Direction&) const = default;
};

// One or two directions; two are forward then reverse, and the layer's output is their concatenation.
struct Layer {
  std::vector<Direction> directions;
  bool operator==(const Layer&) const = default;
};

struct Model {
  DType dtype = DType::fp32;
  std::int64_t input_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t projection_size = 0;  // 0: none
  std::vector<Layer> layers;
  bool operator==(const Model&) const = default;

  [[nodiscard]] std::int64_t num_layers() const noexcept { return static_cast<std::int64_t>(layers.size()); }
  [[nodiscard]] std::int64_t num_directions() const noexcept;  // 1 or 2
  [[nodiscard]] std::int64_t state_size() const noexcept;      // R: width of h of one direction, P or H
  [[nodiscard]] std::int64_t output_size() const noexcept;     // directions * R
  [[nodiscard]] bool is_bidirectional() const noexcept;        // num_directions() == 2
  [[nodiscard]] bool is_streamable() const noexcept;   // no direction runs in reverse: chunks make sense
  [[nodiscard]] bool has_cell_state() const noexcept;  // lstm
  // Input size of layer l: input_size for the first, output_size() for the others.
  [[nodiscard]] std::int64_t layer_input_size(std::int64_t layer) const noexcept;
};

// PyTorch's suffix of a parameter: "_l0", "_l1_reverse".
[[nodiscard]] std::string parameter_suffix(std::int64_t layer, bool reverse);

// Throws Error(invalid_argument) that names the first thing wrong: a shape, a missing matrix, a
// non-finite weight (by name and index), a value that is not on the grid of the dtype.
void validate(const Model& model);

// The same model with every weight rounded to `dtype`. Throws Error(invalid_argument) naming the weight
// (tensor and index) that would overflow it.
[[nodiscard]] Model convert(const Model& model, DType dtype);

}  // namespace sprnn
