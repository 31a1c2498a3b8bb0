// The cells' equations in fp32, and activations that are right at both ends.
#pragma once

#include "plan.cuh"
#include "types.cuh"

// fp32 models get the accurate functions; what 16-bit ones lose by the fast ones is far below their rounding.
__device__ __forceinline__ float sigmoid(float x) {
  if constexpr (Element::bytes == 4) return 1.0f / (1.0f + expf(-x));
  return __fdividef(1.0f, 1.0f + __expf(-x));
}

__device__ __forceinline__ float hyperbolic_tangent(float x) {
  if constexpr (Element::bytes == 4) return tanhf(x);
  return 1.0f - __fdividef(2.0f, __expf(2.0f * x) + 1.0f);
}

// x: W_ih x and the biases, a value a gate; sums: the first gate's row, whose gates lie `stride` apart;
// n_bias: b_hh of a gru's n, which r scales. h is the old state; c in and out.
__device__ __forceinline__ float update_cell(const float (&x)[GATES], const float* sums, int stride, float n_bias, float h,
                                             float& c) {
  if constexpr (CELL == Cell::tanh) {
    return hyperbolic_tangent(x[0] + sums[0]);
  } else if constexpr (CELL == Cell::relu) {
    const float a = x[0] + sums[0];
    return a > 0.0f ? a : a != a ? a : 0.0f;  // NaN stays NaN, and -0.0 becomes 0
  } else if constexpr (CELL == Cell::gru) {
    const float r = sigmoid(x[0] + sums[0]);
    const float z = sigmoid(x[1] + sums[stride]);
    const float n = hyperbolic_tangent(x[2] + r * (sums[2 * stride] + n_bias));
    return (1.0f - z) * n + z * h;
  } else {
    const float i = sigmoid(x[0] + sums[0]);
    const float f = sigmoid(x[1] + sums[stride]);
    const float g = hyperbolic_tangent(x[2] + sums[2 * stride]);
    const float o = sigmoid(x[3] + sums[3 * stride]);
    c = f * c + i * g;
    return o * hyperbolic_tangent(c);
  }
}
