// The scalar parts of the engine: products that meet infinities or NaNs, and the cells that only ONNX has.
#include <algorithm>
#include <cmath>

#include "engines/cpu/exact_fma.hpp"
#include "engines/cpu/kernels.hpp"

namespace sprnn::cpu {

namespace {

// Adds the products of one row (a lane of a group) and one sample in the kernels' order.
class RowSum {
 public:
  RowSum(const ProductArgs& args, std::int64_t sample) : args_(args), sample_(sample) {}

  void add(std::size_t partial, float weight, std::int64_t column) {
    if (!is_nonzero(weight)) return;
    const float x = args_.x_by_columns ? args_.x[column * args_.x_stride + sample_]
                                       : args_.x[sample_ * args_.x_stride + column];
    sums_[partial] = exact_fma(weight, x, sums_[partial]);
  }
  // The partial sums that a layout does not use are +0.0, and adding those changes no finite sum but a -0.0,
  // which adding the bias turns to +0.0 in either case.
  [[nodiscard]] float total() const {
    return ((sums_[0] + sums_[1]) + (sums_[2] + sums_[3])) + ((sums_[4] + sums_[5]) + (sums_[6] + sums_[7]));
  }

 private:
  const ProductArgs& args_;
  std::int64_t sample_;
  float sums_[8] = {};
};

float strict_sum(const ProductArgs& args, std::int64_t group, std::int64_t lane, std::int64_t sample) {
  const MatrixView& w = *args.matrix;
  RowSum sum(args, sample);
  switch (w.layout) {
    case CpuLayout::none:
      break;
    case CpuLayout::dense:
      for (std::int64_t c = 0; c < w.shape.cols; ++c) {
        sum.add(0, w.values[(group * w.shape.cols + c) * cpu_group_rows + lane], c);
      }
      break;
    case CpuLayout::columns: {
      const std::int64_t begin = std::int64_t{w.starts[group]} * column_step;
      for (std::int64_t i = begin; i < std::int64_t{w.starts[group + 1]} * column_step; ++i) {
        sum.add(static_cast<std::size_t>((i - begin) % column_step), w.values[i * cpu_group_rows + lane],
                w.columns[i]);
      }
      break;
    }
    case CpuLayout::tile:
      for (std::int64_t b = w.starts[group]; b < w.starts[group + 1]; ++b) {
        for (std::int64_t k = 0; k < tile_step; ++k) {
          const std::int64_t window = std::int64_t{w.columns[b * tile_step + k]} * 16;
          sum.add(static_cast<std::size_t>(k % 3), w.blocks[b].values[k][lane],
                  window + (w.blocks[b].offsets[lane] >> (5 * k) & 31U));
        }
      }
      break;
    case CpuLayout::row: {
      const std::int64_t unit = group % w.shape.groups_per_gate() * cpu_group_rows + lane;
      if (unit >= w.shape.units) break;
      const std::int64_t row = group / w.shape.groups_per_gate() * w.shape.units + unit;
      const std::int64_t begin = std::int64_t{w.starts[row]} * row_step;
      for (std::int64_t i = begin; i < std::int64_t{w.starts[row + 1]} * row_step; ++i) {
        sum.add(static_cast<std::size_t>((i - begin) % row_step), w.values[i], w.columns[i]);
      }
      break;
    }
  }
  return sum.total();
}

double apply(const Activation& activation, double x) {
  const double alpha = activation.alpha;
  const double beta = activation.beta;
  // Written so that a NaN stays.
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

// What one unit of one batch entry reads and writes.
struct Unit {
  const UpdateArgs& args;
  std::int64_t b, u;
  [[nodiscard]] double pre(int gate) const {
    return args.pre[b * args.pre_stride + gate * args.gate_stride + u];
  }
  [[nodiscard]] double h() const { return args.h_in[b * args.h_stride + u]; }
  [[nodiscard]] float& c() const { return args.c[b * args.c_stride + u]; }
  [[nodiscard]] double peephole(int gate) const {
    return args.peephole == nullptr ? 0.0 : args.peephole[gate * args.units + u];
  }
  [[nodiscard]] double activate(std::size_t which, double x) const {
    const Cell& cell = *args.cell;
    if (cell.clip) x = std::clamp(x, -static_cast<double>(*cell.clip), static_cast<double>(*cell.clip));
    return apply(cell.activations[which], x);
  }
};

double rnn_step(const Unit& unit) { return unit.activate(0, unit.pre(0)); }

double gru_step(const Unit& unit) {
  const double z = unit.activate(0, unit.pre(1));
  const double n = unit.args.cell->reset_before_product
                       ? unit.activate(1, unit.pre(2))
                       : unit.activate(1, unit.pre(2) + unit.activate(0, unit.pre(0)) * unit.pre(3));
  return (1.0 - z) * n + z * unit.h();
}

double lstm_step(const Unit& unit) {
  // A missing peephole must not turn an infinite c into 0 * inf.
  const bool peephole = unit.args.peephole != nullptr;
  const double c = unit.c();
  const double i = unit.activate(0, unit.pre(0) + (peephole ? unit.peephole(0) * c : 0.0));
  const double f = unit.args.cell->input_forget
                       ? 1.0 - i
                       : unit.activate(0, unit.pre(1) + (peephole ? unit.peephole(2) * c : 0.0));
  const double g = unit.activate(1, unit.pre(2));
  const double next = f * c + i * g;
  unit.c() = static_cast<float>(next);
  const double o = unit.activate(0, unit.pre(3) + (peephole ? unit.peephole(1) * next : 0.0));
  return o * apply(unit.args.cell->activations[2], next);  // never clipped (cell.hpp)
}

// h_out = step(unit) of the active entries, rounded; the others keep their h.
template <class Step>
bool for_each_unit(const UpdateArgs& args, DType dtype, Step step) {
  bool finite = true;
  const std::int64_t end = std::min(args.end * cpu_group_rows, args.units);
  for (std::int64_t b = 0; b < args.batch; ++b) {
    for (std::int64_t u = args.begin * cpu_group_rows; u < end; ++u) {
      const Unit unit{args, b, u};
      float& out = args.h_out[b * args.h_stride + u];
      out =
          args.active(b) ? round_to(dtype, static_cast<float>(step(unit))) : args.h_in[b * args.h_stride + u];
      finite = finite && std::isfinite(out);
    }
  }
  return !finite;
}

}  // namespace

void multiply_strictly(const ProductArgs& args) noexcept {
  for (std::int64_t group = args.group_begin; group < args.group_end; ++group) {
    for (std::int64_t s = 0; s < args.samples; ++s) {
      const std::int64_t at = (group - args.group_begin) * cpu_group_rows;
      for (std::int64_t lane = 0; lane < cpu_group_rows; ++lane) {
        const float add = args.add == nullptr ? 0.0F : args.add[s * args.add_stride + at + lane];
        args.out[s * args.out_stride + at + lane] = strict_sum(args, group, lane, s) + add;
      }
    }
  }
}

bool update_any(const UpdateArgs& args) noexcept {
  switch (args.cell->kind) {
    case CellKind::rnn:
      return for_each_unit(args, args.dtype, rnn_step);
    case CellKind::gru:
      return for_each_unit(args, args.dtype, gru_step);
    case CellKind::lstm:
      return for_each_unit(args, args.dtype, lstm_step);
  }
  return false;
}

bool reset_hidden(const UpdateArgs& args) noexcept {
  return for_each_unit(args, DType::fp32,
                       [](const Unit& unit) { return unit.activate(0, unit.pre(0)) * unit.h(); });
}

}  // namespace sprnn::cpu
