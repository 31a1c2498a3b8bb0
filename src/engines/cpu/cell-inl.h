// One step of PyTorch's cells, 16 units at a time. Empty lanes of the last group stay zero: their
// weights, biases and states are.
#if defined(SPRNN_CPU_CELL_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPRNN_CPU_CELL_INL_H_
#undef SPRNN_CPU_CELL_INL_H_
#else
#define SPRNN_CPU_CELL_INL_H_
#endif

#include "engines/cpu/activation-inl.h"
#include "engines/cpu/kernels.hpp"

HWY_BEFORE_NAMESPACE();
namespace sprnn::cpu::HWY_NAMESPACE {

enum class Step { tanh, relu, gru, lstm };

// New h of 16 units; `pre` is at gate 0 of the first of them.
template <Step S>
HWY_INLINE V16 new_hidden(const float* pre, std::int64_t gate, const float* h, float* c) {
  const auto a = [&](int g) HWY_ATTR { return load<kParts>(pre + g * gate); };
  if constexpr (S == Step::tanh) {
    return hyperbolic_tangent(a(0));
  } else if constexpr (S == Step::relu) {
    return positive_part(a(0));
  } else if constexpr (S == Step::gru) {
    const V16 r = logistic(a(0));
    const V16 z = logistic(a(1));
    const V16 n = hyperbolic_tangent(fma(r, a(3), a(2)));
    return fma(z, load<kParts>(h) - n, n);
  } else {
    const V16 i = logistic(a(0));
    const V16 f = logistic(a(1));
    const V16 g = hyperbolic_tangent(a(2));
    const V16 o = logistic(a(3));
    const V16 cell = fma(f, load<kParts>(c), i * g);
    store(cell, c);
    return o * hyperbolic_tangent(cell);
  }
}

template <Step S>
bool update_step(const UpdateArgs& args) {
  const V16 zero = broadcast<kParts>(0.0F);
  V16 bad = zero;  // a NaN once an h is not finite
  for (std::int64_t b = 0; b < args.batch; ++b) {
    const bool active = args.active(b);
    const float* h_in = args.h_in + b * args.h_stride;
    float* h_out = args.h_out + b * args.h_stride;
    for (std::int64_t u = args.begin * cpu_group_rows; u < args.end * cpu_group_rows; u += cpu_group_rows) {
      const V16 h =
          active ? round_to_grid(new_hidden<S>(args.pre + b * args.pre_stride + u, args.gate_stride, h_in + u,
                                               args.c + (S == Step::lstm ? b * args.c_stride + u : 0)),
                                 args.dtype)
                 : load<kParts>(h_in + u);
      store(h, h_out + u);
      bad = fma(h, zero, bad);
    }
  }
  return any_nan(bad);
}

bool update(const UpdateArgs& args) noexcept {
  switch (args.cell->kind) {
    case CellKind::gru:
      return update_step<Step::gru>(args);
    case CellKind::lstm:
      return update_step<Step::lstm>(args);
    case CellKind::rnn:
      break;
  }
  return args.cell->activations[0].kind == ActivationKind::relu ? update_step<Step::relu>(args)
                                                                : update_step<Step::tanh>(args);
}

bool round_values(const float* in, float* out, std::int64_t count, DType dtype) noexcept {
  const V16 zero = broadcast<kParts>(0.0F);
  V16 bad = zero;
  std::int64_t i = 0;
  for (; i + cpu_group_rows <= count; i += cpu_group_rows) {
    const V16 x = round_to_grid(load<kParts>(in + i), dtype);
    store(x, out + i);
    bad = fma(x, zero, bad);
  }
  bool finite = true;
  for (; i < count; ++i) {
    out[i] = round_to(dtype, in[i]);
    finite = finite && std::isfinite(out[i]);
  }
  return any_nan(bad) || !finite;
}

}  // namespace sprnn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
