// The cells' equations in fp32, and their activations.
#pragma once

#include "plan.cuh"
#include "types.cuh"

// fp32 models get the accurate functions. 16-bit ones get the one instruction there is: its error, 2^-11 of the value
// (PTX ISA, tanh), is that of rounding to fp16; against the float64 reference no difference was seen (2.2e-4 for LSTM
// 1024 either way), and a timestep is 0.04 to 0.1 us shorter.
__device__ __forceinline__ float hyperbolic_tangent(float x) {
  if constexpr (Element::bytes == 4) return tanhf(x);
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float sigmoid(float x) {
  if constexpr (Element::bytes == 4) return 1.0f / (1.0f + expf(-x));
  return fmaf(0.5f, hyperbolic_tangent(0.5f * x), 0.5f);
}

// x: W_ih x and the biases, sums: W_hh h, a value a gate; n_bias: b_hh of a gru's n, which r scales. h is the old state; c in and out.
__device__ __forceinline__ float update_cell(const float (&x)[GATES], const float (&sums)[GATES], float n_bias, float h,
                                             float& c) {
  if constexpr (CELL == Cell::tanh) {
    return hyperbolic_tangent(x[0] + sums[0]);
  } else if constexpr (CELL == Cell::relu) {
    const float a = x[0] + sums[0];
    return a > 0.0f ? a : a != a ? a : 0.0f;  // NaN stays NaN, and -0.0 becomes 0
  } else if constexpr (CELL == Cell::gru) {
    const float r = sigmoid(x[0] + sums[0]);
    const float z = sigmoid(x[1] + sums[1]);
    const float n = hyperbolic_tangent(x[2] + r * (sums[2] + n_bias));
    return (1.0f - z) * n + z * h;
  } else {
    const float i = sigmoid(x[0] + sums[0]);
    const float f = sigmoid(x[1] + sums[1]);
    const float g = hyperbolic_tangent(x[2] + sums[2]);
    const float o = sigmoid(x[3] + sums[3]);
    c = f * c + i * g;
    return o * hyperbolic_tangent(c);
  }
}
