// exp, the logistic function and tanh, within 2 ulp of the true value, from fused multiply-adds and
// divisions only: so every instruction set and every lane gives the same bits.
#if defined(SPRNN_CPU_ACTIVATION_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPRNN_CPU_ACTIVATION_INL_H_
#undef SPRNN_CPU_ACTIVATION_INL_H_
#else
#define SPRNN_CPU_ACTIVATION_INL_H_
#endif

#include "engines/cpu/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace sprnn::cpu::HWY_NAMESPACE {

// e^x = 2^shift scale (1 + fraction), |fraction| < 0.42, while scale is in [2^-126, 2^127].
template <int P>
struct Exponential {
  Vec<P> scale, fraction;
};

template <int P>
HWY_INLINE Exponential<P> exponential(Vec<P> x, float shift = 0.0F) {
  const Vec<P> n = nearest(x * broadcast<P>(1.44269504F));
  // ln 2 in two parts, the first with few enough bits that n times it is exact (Cody and Waite).
  const Vec<P> high = fma(n, broadcast<P>(-0.693359375F), x);
  const Vec<P> r = fma(n, broadcast<P>(2.12194440e-4F), high);
  // Cephes' expf: e^r - 1 = r + r^2 q(r) on [-ln 2 / 2, ln 2 / 2].
  Vec<P> q = broadcast<P>(1.9875691500e-4F);
  q = fma(q, r, broadcast<P>(1.3981999507e-3F));
  q = fma(q, r, broadcast<P>(8.3334519073e-3F));
  q = fma(q, r, broadcast<P>(4.1665795894e-2F));
  q = fma(q, r, broadcast<P>(1.6666665459e-1F));
  q = fma(q, r, broadcast<P>(5.0000001201e-1F));
  return {power_of_two(n - broadcast<P>(shift)), fma(q, r * r, r)};
}

template <int P>
HWY_INLINE Vec<P> logistic(Vec<P> x) {
  // Half of e^-x, so that e^89 overflows and -inf gives 0: a gru multiplies that by what may be infinite.
  const Exponential<P> e = exponential(clamp(broadcast<P>(0.0F) - x, -86.0F, 89.0F), 1.0F);
  const Vec<P> half = fma(e.scale, e.fraction, e.scale);
  const Vec<P> one = broadcast<P>(1.0F);
  return one / (one + (half + half));
}

// (e^2x - 1) / (e^2x + 1), with e^2x - 1 computed without cancellation near 0.
template <int P>
HWY_INLINE Vec<P> hyperbolic_tangent(Vec<P> x) {
  const Exponential<P> e = exponential(clamp(x + x, -20.0F, 20.0F));
  const Vec<P> less_one = fma(e.scale, e.fraction, e.scale - broadcast<P>(1.0F));
  return less_one / (less_one + broadcast<P>(2.0F));
}

}  // namespace sprnn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
