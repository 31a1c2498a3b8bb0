// The recurrent cells: PyTorch's RNN (tanh, relu), GRU and LSTM, and ONNX's variants of them.
//
// Equations, gate order and parameter names are PyTorch's (torch.nn.RNN, GRU, LSTM); the variants are
// those of the ONNX operators RNN, GRU and LSTM, opset 22. With a = W_ih x + b_ih and u = W_hh h + b_hh
// (each split into G gates of H rows):
//   rnn   h' = f(a + u)
//   gru   r = f(a_r + u_r), z = f(a_z + u_z), n = g(a_n + r * u_n), h' = (1 - z) * n + z * h
//         reset_before_product: n = g(a_n + W_hn (r * h) + b_hn)
//   lstm  i = f(a_i + u_i + p_i * c), f = f(a_f + u_f + p_f * c), g = g(a_g + u_g), c' = f * c + i * g,
//         o = f(a_o + u_o + p_o * c'), h' = o * h(c'), with a projection h' = W_hr (o * h(c'))
//         input_forget: f = 1 - i
// clip bounds the argument of every activation to [-clip, clip], except that of h(c'): so onnxruntime
// does, the only one of ONNX's implementations at hand that clips.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace sprnn {

enum class CellKind : std::uint8_t { rnn, gru, lstm };

// ONNX's activation functions; alpha and beta as ONNX defines them for each.
enum class ActivationKind : std::uint8_t {
  sigmoid,
  tanh,
  relu,
  affine,            // alpha x + beta
  leaky_relu,        // x >= 0 ? x : alpha x
  thresholded_relu,  // x >= alpha ? x : 0
  scaled_tanh,       // alpha tanh(beta x)
  hard_sigmoid,      // min(max(alpha x + beta, 0), 1)
  elu,               // x >= 0 ? x : alpha (e^x - 1)
  softsign,          // x / (1 + |x|)
  softplus,          // log(1 + e^x)
};

struct Activation {
  ActivationKind kind = ActivationKind::tanh;
  float alpha = 0.0F;
  float beta = 0.0F;
  bool operator==(const Activation&) const = default;
};

// Everything of a cell that is not a weight.
struct Cell {
  CellKind kind = CellKind::rnn;
  // rnn: {f}; gru: {f, g}; lstm: {f, g, h}; the unused tail stays default.
  std::array<Activation, 3> activations{};
  bool reset_before_product = false;  // gru; ONNX linear_before_reset = 0
  bool input_forget = false;          // lstm
  std::optional<float> clip;
  bool operator==(const Cell&) const = default;

  [[nodiscard]] int gates() const noexcept;  // G: rnn 1, gru 3, lstm 4
  // True for the four cells of PyTorch: no clip, no variant, the usual activations. (Peepholes are
  // weights: see Direction::peephole.)
  [[nodiscard]] bool is_standard() const noexcept;
  // True when |h| < 2 holds for every step whatever the weights (given |h0| < 2 for a gru).
  [[nodiscard]] bool is_bounded() const noexcept;
};

[[nodiscard]] Cell tanh_cell() noexcept;
[[nodiscard]] Cell relu_cell() noexcept;
[[nodiscard]] Cell gru_cell() noexcept;
[[nodiscard]] Cell lstm_cell() noexcept;

[[nodiscard]] std::string_view to_string(CellKind kind) noexcept;  // "rnn", "gru", "lstm"
[[nodiscard]] std::string_view to_string(
    ActivationKind kind) noexcept;  // ONNX's name: "Sigmoid", "HardSigmoid"
// ONNX's name in any case; throws Error(invalid_argument) that lists them. Alpha and beta are the caller's.
[[nodiscard]] ActivationKind parse_activation(std::string_view name);
// "tanh", "relu", "gru", "lstm" for the standard cells; else the kind and its variants:
// "lstm(input_forget, clip=3)".
[[nodiscard]] std::string to_string(const Cell& cell);
// "tanh", "relu", "gru" or "lstm"; throws Error(invalid_argument) that lists them.
[[nodiscard]] Cell parse_cell(std::string_view name);

}  // namespace sprnn
