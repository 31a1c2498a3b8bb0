#include "engines/reference/reference.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

namespace sprnn::reference {
namespace {

// Vectors of one timestep are [n, B]: entry b of element i is v[i * B + b].
using Vector = std::vector<double>;

double apply(const Activation& activation, double x) {
  const double alpha = activation.alpha;
  const double beta = activation.beta;
  // Written so that a NaN always comes out as a NaN.
  switch (activation.kind) {
    case ActivationKind::sigmoid:
      return 1.0 / (1.0 + std::exp(-x));
    case ActivationKind::tanh:
      return std::tanh(x);
    case ActivationKind::relu:
      return x <= 0.0 ? 0.0 : x;
    case ActivationKind::affine:
      return alpha * x + beta;
    case ActivationKind::leaky_relu:
      return x >= 0.0 ? x : alpha * x;
    case ActivationKind::thresholded_relu:
      return x < alpha ? 0.0 : x;
    case ActivationKind::scaled_tanh:
      return alpha * std::tanh(beta * x);
    case ActivationKind::hard_sigmoid:
      return std::clamp(alpha * x + beta, 0.0, 1.0);
    case ActivationKind::elu:
      return x >= 0.0 ? x : alpha * std::expm1(x);
    case ActivationKind::softsign:
      return x / (1.0 + std::abs(x));
    case ActivationKind::softplus:
      return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
  }
  return std::nan("");
}

// The activation of a gate, f or g of the cell, its argument clipped.
double activate(const Cell& cell, std::size_t which, double x) {
  if (cell.clip) x = std::clamp(x, -static_cast<double>(*cell.clip), static_cast<double>(*cell.clip));
  return apply(cell.activations[which], x);
}

// Rows [first, last) of out = W v + bias. Every sum runs over the columns in order.
void product_rows(const Matrix& w, std::int64_t first, std::int64_t last, const Vector& v,
                  const std::vector<float>& bias, std::int64_t batch, Vector& out) {
  for (std::int64_t r = first; r < last; ++r) {
    double* sum = out.data() + r * batch;
    std::fill_n(sum, batch, 0.0);
    for (std::int64_t k = 0; k < w.cols; ++k) {
      const float weight = w.row(r)[k];
      if (std::bit_cast<std::uint32_t>(weight) == 0) continue;  // +0.0: pruned, so not even NaN comes through
      for (std::int64_t b = 0; b < batch; ++b) sum[b] += static_cast<double>(weight) * v[k * batch + b];
    }
    if (!bias.empty()) {
      for (std::int64_t b = 0; b < batch; ++b) sum[b] += bias[static_cast<std::size_t>(r)];
    }
  }
}

// out = W v + bias (an empty bias is none), its rows [first, last) only, split over threads.
void product(const Matrix& w, std::int64_t first, std::int64_t last, const Vector& v,
             const std::vector<float>& bias, std::int64_t batch, int threads, Vector& out) {
  // Starting a thread costs tens of microseconds: each must get more work than that.
  constexpr std::int64_t least_work = 1 << 17;
  const std::int64_t worthwhile = 1 + (last - first) * w.cols / least_work;
  const std::int64_t parts = std::min<std::int64_t>(threads, worthwhile);
  const auto bound = [&](std::int64_t part) { return first + (last - first) * part / parts; };
  std::vector<std::jthread> helpers;
  std::int64_t shared = 1;  // the parts before this one have a thread, the first the caller's
  try {
    for (; shared < parts; ++shared) {
      // Numbers by value: read from this frame, which the caller writes, they made products a third slower.
      helpers.emplace_back([&, batch, begin = bound(shared), end = bound(shared + 1)] {
        product_rows(w, begin, end, v, bias, batch, out);
      });
    }
  } catch (const std::system_error&) {
    // No more threads to be had: the caller does the rest.
  }
  product_rows(w, first, bound(1), v, bias, batch, out);
  product_rows(w, bound(shared), last, v, bias, batch, out);
}

// One direction of one layer: step() is the equations of sprnn/cell.hpp.
class Recurrence {
 public:
  Recurrence(const Direction& weights, std::int64_t hidden, std::int64_t batch, int threads)
      : w_(weights),
        cell_(weights.cell),
        hidden_(hidden),
        batch_(batch),
        threads_(threads),
        a_(static_cast<std::size_t>(weights.w_ih.rows * batch)),
        u_(a_.size()),
        cell_output_(static_cast<std::size_t>(hidden * batch)),
        next_c_(weights.cell.kind == CellKind::lstm ? cell_output_.size() : 0),
        next_h_(static_cast<std::size_t>(weights.w_hh.cols * batch)) {}

  // x [I, B], h [R, B], c [H, B] -> next_h() [R, B], next_c() [H, B].
  void step(const Vector& x, const Vector& h, const Vector& c) {
    multiply(w_.w_ih, x, w_.b_ih, a_);
    switch (cell_.kind) {
      case CellKind::rnn:
        rnn(h);
        break;
      case CellKind::gru:
        gru(h);
        break;
      case CellKind::lstm:
        lstm(h, c);
        break;
    }
    if (w_.w_hr.empty()) {
      next_h_ = cell_output_;
    } else {
      multiply(w_.w_hr, cell_output_, {}, next_h_);
    }
  }

  [[nodiscard]] const Vector& next_h() const { return next_h_; }
  [[nodiscard]] const Vector& next_c() const { return next_c_; }

 private:
  void multiply(const Matrix& w, const Vector& v, const std::vector<float>& bias, Vector& out) const {
    product(w, 0, w.rows, v, bias, batch_, threads_, out);
  }

  void rnn(const Vector& h) {
    multiply(w_.w_hh, h, w_.b_hh, u_);
    for (std::size_t i = 0; i < cell_output_.size(); ++i) cell_output_[i] = activate(cell_, 0, a_[i] + u_[i]);
  }

  void gru(const Vector& h) {
    const std::size_t n = cell_output_.size();
    multiply(w_.w_hh, h, w_.b_hh, u_);
    Vector r(n), z(n);
    for (std::size_t i = 0; i < n; ++i) {
      r[i] = activate(cell_, 0, a_[i] + u_[i]);
      z[i] = activate(cell_, 0, a_[n + i] + u_[n + i]);
    }
    if (cell_.reset_before_product) {
      Vector reset_h(n);
      for (std::size_t i = 0; i < n; ++i) reset_h[i] = r[i] * h[i];
      product(w_.w_hh, 2 * hidden_, 3 * hidden_, reset_h, w_.b_hh, batch_, threads_, u_);
    } else {
      for (std::size_t i = 0; i < n; ++i) u_[2 * n + i] *= r[i];
    }
    for (std::size_t i = 0; i < n; ++i) {
      const double candidate = activate(cell_, 1, a_[2 * n + i] + u_[2 * n + i]);
      cell_output_[i] = (1.0 - z[i]) * candidate + z[i] * h[i];
    }
  }

  void lstm(const Vector& h, const Vector& c) {
    const std::size_t n = cell_output_.size();
    multiply(w_.w_hh, h, w_.b_hh, u_);
    for (std::size_t i = 0; i < n; ++i) {
      double input = a_[i] + u_[i];
      double forget = a_[n + i] + u_[n + i];
      double output = a_[3 * n + i] + u_[3 * n + i];
      if (!w_.peephole.empty()) {
        input += peephole(0, i) * c[i];
        forget += peephole(2, i) * c[i];
      }
      input = activate(cell_, 0, input);
      forget = cell_.input_forget ? 1.0 - input : activate(cell_, 0, forget);
      next_c_[i] = forget * c[i] + input * activate(cell_, 1, a_[2 * n + i] + u_[2 * n + i]);
      if (!w_.peephole.empty()) output += peephole(1, i) * next_c_[i];
      cell_output_[i] = activate(cell_, 0, output) * apply(cell_.activations[2], next_c_[i]);
    }
  }

  // `gate` counts ONNX's order i o f; `i` an entry of an [H, B] vector.
  [[nodiscard]] double peephole(std::int64_t gate, std::size_t i) const {
    return w_.peephole[static_cast<std::size_t>(gate * hidden_) + i / static_cast<std::size_t>(batch_)];
  }

  const Direction& w_;
  const Cell& cell_;
  std::int64_t hidden_, batch_;
  int threads_;
  Vector a_, u_;        // [G*H, B]: W_ih x + b_ih and W_hh h + b_hh
  Vector cell_output_;  // [H, B]: h before the projection
  Vector next_c_;       // [H, B]
  Vector next_h_;       // [R, B]
};

// One state [B, n], in the caller's order, to [n, B] and back.
Vector transposed(const double* state, std::int64_t batch, std::int64_t n) {
  Vector out(static_cast<std::size_t>(n * batch));
  for (std::int64_t b = 0; b < batch; ++b) {
    for (std::int64_t i = 0; i < n; ++i) out[i * batch + b] = state[b * n + i];
  }
  return out;
}

// Entry b of `from` [n, B] to `to` [n].
void copy_entry(const Vector& from, std::int64_t batch, std::int64_t b, double* to) {
  const std::int64_t n = static_cast<std::int64_t>(from.size()) / batch;
  for (std::int64_t i = 0; i < n; ++i) to[i] = from[i * batch + b];
}

struct Batch {
  std::int64_t steps, size;
  const std::int64_t* lengths;
  [[nodiscard]] std::int64_t length(std::int64_t b) const { return lengths == nullptr ? steps : lengths[b]; }
};

// x [T, B, I] -> columns [y_begin, y_begin + R) of y [T, B, y_size]; h [B, R] and c [B, H] in and out.
void run_direction(const Direction& weights, std::int64_t hidden, const Batch& batch, int threads,
                   const double* x, double* y, std::int64_t y_size, std::int64_t y_begin, double* h_state,
                   double* c_state) {
  const std::int64_t inputs = weights.w_ih.cols;
  const std::int64_t state = weights.w_hh.cols;
  Recurrence recurrence(weights, hidden, batch.size, threads);
  Vector step_x(static_cast<std::size_t>(inputs * batch.size));
  Vector h = transposed(h_state, batch.size, state);
  Vector c = c_state == nullptr ? Vector{} : transposed(c_state, batch.size, hidden);

  // The s-th step of a reverse direction is the s-th from each sequence's own end.
  const auto time = [&](std::int64_t s, std::int64_t b) {
    return weights.reverse ? batch.length(b) - 1 - s : s;
  };
  for (std::int64_t s = 0; s < batch.steps; ++s) {
    for (std::int64_t b = 0; b < batch.size; ++b) {
      if (s >= batch.length(b)) continue;
      const double* from = x + (time(s, b) * batch.size + b) * inputs;
      for (std::int64_t i = 0; i < inputs; ++i) step_x[i * batch.size + b] = from[i];
    }
    recurrence.step(step_x, h, c);
    for (std::int64_t b = 0; b < batch.size; ++b) {
      if (s >= batch.length(b)) continue;  // the state of a finished sequence stays
      for (std::int64_t i = 0; i < state; ++i)
        h[i * batch.size + b] = recurrence.next_h()[i * batch.size + b];
      copy_entry(h, batch.size, b, y + (time(s, b) * batch.size + b) * y_size + y_begin);
      if (c_state == nullptr) continue;
      for (std::int64_t i = 0; i < hidden; ++i)
        c[i * batch.size + b] = recurrence.next_c()[i * batch.size + b];
    }
  }
  for (std::int64_t b = 0; b < batch.size; ++b) {
    copy_entry(h, batch.size, b, h_state + b * state);
    if (c_state != nullptr) copy_entry(c, batch.size, b, c_state + b * hidden);
  }
}

}  // namespace

Output run(const Model& model, std::int64_t steps, std::int64_t batch, const double* x,
           const std::int64_t* lengths, const State& initial, int threads) {
  const auto directions = static_cast<std::int64_t>(model.layers.front().directions.size());
  const std::int64_t hidden = model.hidden_size;
  const std::int64_t state = model.projection_size > 0 ? model.projection_size : hidden;
  const std::int64_t states = static_cast<std::int64_t>(model.layers.size()) * directions * batch;
  const bool has_c = model.layers.front().directions.front().cell.kind == CellKind::lstm;

  Output out;
  out.final = initial;
  out.final.h.resize(static_cast<std::size_t>(states * state));
  out.final.c.resize(static_cast<std::size_t>(has_c ? states * hidden : 0));
  double* h = out.final.h.data();
  double* c = has_c ? out.final.c.data() : nullptr;
  for (const Layer& layer : model.layers) {
    const Vector layer_input = std::move(out.y);
    out.y.assign(static_cast<std::size_t>(steps * batch * directions * state), 0.0);
    std::int64_t y_begin = 0;
    for (const Direction& direction : layer.directions) {
      run_direction(direction, hidden, {steps, batch, lengths}, threads,
                    &layer == &model.layers.front() ? x : layer_input.data(), out.y.data(),
                    directions * state, y_begin, h, c);
      y_begin += state;
      h += batch * state;
      if (has_c) c += batch * hidden;
    }
  }
  return out;
}

}  // namespace sprnn::reference
