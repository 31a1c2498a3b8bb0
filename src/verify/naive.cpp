#include "verify/naive.hpp"

#include <algorithm>
#include <cmath>
#include <span>

namespace sprnn {

namespace {

using Vector = std::vector<float>;

float apply(const Activation& activation, float x) {
  const float alpha = activation.alpha;
  const float beta = activation.beta;
  switch (activation.kind) {
    case ActivationKind::sigmoid:
      return 1.0F / (1.0F + std::exp(-x));
    case ActivationKind::tanh:
      return std::tanh(x);
    case ActivationKind::relu:
      return x <= 0.0F ? 0.0F : x;
    case ActivationKind::affine:
      return alpha * x + beta;
    case ActivationKind::leaky_relu:
      return x >= 0.0F ? x : alpha * x;
    case ActivationKind::thresholded_relu:
      return x < alpha ? 0.0F : x;
    case ActivationKind::scaled_tanh:
      return alpha * std::tanh(beta * x);
    case ActivationKind::hard_sigmoid:
      return std::clamp(alpha * x + beta, 0.0F, 1.0F);
    case ActivationKind::elu:
      return x >= 0.0F ? x : alpha * std::expm1(x);
    case ActivationKind::softsign:
      return x / (1.0F + std::abs(x));
    case ActivationKind::softplus:
      return std::max(x, 0.0F) + std::log1p(std::exp(-std::abs(x)));
  }
  return x;
}

float product(const Matrix& w, std::int64_t row, const float* v) {
  float sum = 0.0F;
  for (std::int64_t k = 0; k < w.cols; ++k) {
    if (is_nonzero(w.row(row)[k])) sum += w.row(row)[k] * v[k];
  }
  return sum;
}

// One sequence through one direction; h and c in and out.
class NaiveCell {
 public:
  NaiveCell(const Direction& w, const Model& model)
      : w_(w),
        hidden_(model.hidden_size),
        dtype_(model.dtype),
        next_(static_cast<std::size_t>(hidden_)),
        reset_h_(next_) {}

  void step(const float* x, std::span<float> h, std::span<float> c) {
    if (w_.cell.reset_before_product) {
      for (std::int64_t i = 0; i < hidden_; ++i) {
        reset_h_[static_cast<std::size_t>(i)] =
            activate(0, a(0, i, x) + u(0, i, h.data())) * h[static_cast<std::size_t>(i)];
      }
    }
    for (std::int64_t i = 0; i < hidden_; ++i)
      next_[static_cast<std::size_t>(i)] = unit(i, x, h.data(), c.data());
    if (w_.w_hr.empty()) {
      std::copy(next_.begin(), next_.end(), h.begin());
    } else {
      // What is multiplied by W_hr crosses the chip, so it has the state's type too.
      round_to(dtype_, next_);
      for (std::size_t p = 0; p < h.size(); ++p)
        h[p] = product(w_.w_hr, static_cast<std::int64_t>(p), next_.data());
    }
    round_to(dtype_, h);
  }

 private:
  float unit(std::int64_t i, const float* x, const float* h, float* c) {
    switch (w_.cell.kind) {
      case CellKind::gru:
        return gru_unit(i, x, h);
      case CellKind::lstm:
        return lstm_unit(i, x, h, c[i]);
      case CellKind::rnn:
        break;
    }
    return activate(0, a(0, i, x) + u(0, i, h));
  }

  float gru_unit(std::int64_t i, const float* x, const float* h) {
    const float r = activate(0, a(0, i, x) + u(0, i, h));
    const float z = activate(0, a(1, i, x) + u(1, i, h));
    const float reset = w_.cell.reset_before_product ? u(2, i, reset_h_.data()) : r * u(2, i, h);
    const float n = activate(1, a(2, i, x) + reset);
    return (1.0F - z) * n + z * h[i];
  }

  float lstm_unit(std::int64_t i, const float* x, const float* h, float& c) {
    const float in = activate(0, a(0, i, x) + u(0, i, h) + peephole(0, i) * c);
    const float forget =
        w_.cell.input_forget ? 1.0F - in : activate(0, a(1, i, x) + u(1, i, h) + peephole(2, i) * c);
    c = forget * c + in * activate(1, a(2, i, x) + u(2, i, h));
    const float out = activate(0, a(3, i, x) + u(3, i, h) + peephole(1, i) * c);
    return out * apply(w_.cell.activations[2], c);  // never clipped
  }

  [[nodiscard]] float a(std::int64_t gate, std::int64_t i, const float* x) const {
    return product(w_.w_ih, gate * hidden_ + i, x) + bias(w_.b_ih, gate, i);
  }
  [[nodiscard]] float u(std::int64_t gate, std::int64_t i, const float* h) const {
    return product(w_.w_hh, gate * hidden_ + i, h) + bias(w_.b_hh, gate, i);
  }
  [[nodiscard]] float bias(const Vector& b, std::int64_t gate, std::int64_t i) const {
    return b.empty() ? 0.0F : b[static_cast<std::size_t>(gate * hidden_ + i)];
  }
  // Order i o f.
  [[nodiscard]] float peephole(std::int64_t which, std::int64_t i) const {
    return bias(w_.peephole, which, i);
  }

  [[nodiscard]] float activate(std::size_t which, float x) const {
    if (w_.cell.clip) x = std::clamp(x, -*w_.cell.clip, *w_.cell.clip);
    return apply(w_.cell.activations[which], x);
  }

  const Direction& w_;
  std::int64_t hidden_;
  DType dtype_;
  Vector next_;     // [H] h before the projection
  Vector reset_h_;  // [H] r * h, of reset_before_product
};

}  // namespace

NaiveOutput run_naively(const Model& model, std::int64_t steps, std::int64_t batch, const float* x,
                        const std::int64_t* lengths, std::vector<float> h0, std::vector<float> c0) {
  const auto state = static_cast<std::size_t>(model.state_size());
  const auto cells = static_cast<std::size_t>(model.has_cell_state() ? model.hidden_size : 0);
  const std::int64_t width = model.output_size();
  NaiveOutput out{{}, std::move(h0), std::move(c0)};
  std::size_t row = 0;  // of the states: (layer, direction, batch entry)
  for (std::int64_t l = 0; l < model.num_layers(); ++l) {
    const std::int64_t inputs = model.layer_input_size(l);
    const Vector between = std::move(out.y);
    const float* in = l == 0 ? x : between.data();
    out.y.assign(static_cast<std::size_t>(steps * batch * width), 0.0F);
    const Layer& layer = model.layers[static_cast<std::size_t>(l)];
    for (std::size_t d = 0; d < layer.directions.size(); ++d) {
      NaiveCell cell(layer.directions[d], model);
      for (std::int64_t b = 0; b < batch; ++b, ++row) {
        const std::span<float> h(out.h.data() + row * state, state);
        const std::span<float> c(out.c.data() + row * cells, cells);
        const std::int64_t length = lengths == nullptr ? steps : lengths[b];
        for (std::int64_t s = 0; s < length; ++s) {
          const std::int64_t t = layer.directions[d].reverse ? length - 1 - s : s;
          cell.step(in + (t * batch + b) * inputs, h, c);
          std::copy(h.begin(), h.end(),
                    out.y.begin() + (t * batch + b) * width + static_cast<std::int64_t>(d * state));
        }
      }
    }
  }
  return out;
}

}  // namespace sprnn
