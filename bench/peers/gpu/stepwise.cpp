#include "bench/peers/gpu/stepwise.hpp"

#include <algorithm>

namespace sprnn::bench {
namespace {

constexpr std::size_t half_bytes = 2;
constexpr std::size_t piece_steps = 256;

CellUpdate update_of(const Cell& cell) {
  switch (cell.kind) {
    case CellKind::rnn:
      return cell == relu_cell() ? CellUpdate::relu : CellUpdate::tanh;
    case CellKind::gru:
      return CellUpdate::gru;
    case CellKind::lstm:
      break;
  }
  return CellUpdate::lstm;
}

}  // namespace

StepwisePeer::StepwisePeer(const GpuJob& job, int padded, StateOrder h, StateOrder product,
                           bool float_product)
    : job_(job), padded_(padded), order_(h) {
  const std::int64_t hidden = job.hidden(), rows = job.gates() * hidden;
  const auto state = static_cast<std::size_t>(padded * hidden);
  h_ = zeros(static_cast<std::size_t>(job.workload.lengths.front() + 1) * state * half_bytes);
  c_ = DeviceArray(state * sizeof(float));
  product_ = zeros(static_cast<std::size_t>(padded * rows) * (float_product ? sizeof(float) : half_bytes));
  x_ = padded_input(job, true, padded);

  const bool outer = product == StateOrder::batch_outer, h_outer = h == StateOrder::batch_outer;
  step_.product = product_.get();
  step_.product_is_float = float_product;
  step_.product_unit = outer ? 1 : padded;
  step_.product_batch = outer ? rows : 1;
  step_.x_batch = hidden;
  const Direction& layer = job.direction();
  std::vector<float> bias = layer.b_ih;
  const auto added = layer.cell.kind == CellKind::gru ? static_cast<std::size_t>(2 * hidden) : bias.size();
  for (std::size_t i = 0; i < added; ++i) bias[i] += layer.b_hh[i];
  bias_ = upload(bias.data(), bias.size());
  bias_n_ = upload(layer.b_hh.data() + (rows - hidden), static_cast<std::size_t>(hidden));
  step_.bias = bias_.get<float>();
  step_.bias_n = bias_n_.get<float>();
  step_.c = c_.get<float>();
  step_.h_unit = h_outer ? 1 : padded;
  step_.h_batch = h_outer ? hidden : 1;
  step_.hidden = static_cast<int>(hidden);
  step_.batch = padded;
  if (!job.whole_layer) return;
  step_.x_batch = rows;
  step_.x_gate = hidden;
  projection_ =
      DeviceArray(static_cast<std::size_t>(job.workload.lengths.front() * padded * rows) * half_bytes);
  for (const std::int64_t steps : job.workload.lengths) {
    project_.push_back(std::make_unique<LtMatmul>(LtShape{steps * padded, hidden, rows}, x_.get(),
                                                  job.w_ih_half.get(), projection_.get()));
  }
}

std::size_t StepwisePeer::pieces(std::size_t length) const {
  const auto steps = static_cast<std::size_t>(job_.workload.lengths[length]);
  return (steps + piece_steps - 1) / piece_steps;
}

void StepwisePeer::enqueue(std::size_t length, std::size_t input_set, std::size_t piece,
                           cudaStream_t stream) {
  const CellUpdate cell = update_of(job_.direction().cell);
  const std::size_t state = static_cast<std::size_t>(padded_ * job_.hidden()) * half_bytes;
  const char* x = x_.get<char>() + input_set * state;
  std::size_t x_step = state;
  if (job_.whole_layer) {
    if (piece == 0) project_[length]->run(x, job_.w_ih_half.get(), projection_.get(), stream);
    x = projection_.get<char>();
    x_step *= static_cast<std::size_t>(job_.gates());
  }
  const auto steps = static_cast<std::size_t>(job_.workload.lengths[length]);
  for (std::size_t t = piece * piece_steps; t < std::min(steps, (piece + 1) * piece_steps); ++t) {
    CellStep step = step_;
    step.x = x + t * x_step;
    step.h_before = h_.get<char>() + t * state;
    step.h = h_.get<char>() + (t + 1) * state;
    step.first = t == 0;
    multiply(step.h_before, stream);
    launch_cell(cell, step, stream);
  }
}

std::vector<float> StepwisePeer::output(std::size_t length) {
  const std::int64_t steps = job_.workload.lengths[length], hidden = job_.hidden();
  const int batch = job_.workload.batch;
  // As one array with the zeros in front, all entries of the padded batch.
  const std::vector<float> all = download_steps(h_, true, steps + 1, padded_, padded_, hidden);
  std::vector<float> values(static_cast<std::size_t>(steps * batch * hidden));
  for (std::int64_t t = 0; t < steps; ++t) {
    for (std::int64_t b = 0; b < batch; ++b) {
      for (std::int64_t u = 0; u < hidden; ++u) {
        const std::int64_t from = order_ == StateOrder::batch_outer ? b * hidden + u : u * padded_ + b;
        values[static_cast<std::size_t>((t * batch + b) * hidden + u)] =
            all[static_cast<std::size_t>((t + 1) * padded_ * hidden + from)];
      }
    }
  }
  return values;
}

}  // namespace sprnn::bench
