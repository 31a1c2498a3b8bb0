// 16 floats at a time, whatever the instruction set: Highway's vectors on AVX2 and AVX-512, an array where
// there is neither. Included once for each target.
#if defined(SPRNN_CPU_SIMD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef SPRNN_CPU_SIMD_INL_H_
#undef SPRNN_CPU_SIMD_INL_H_
#else
#define SPRNN_CPU_SIMD_INL_H_
#endif

#include <hwy/highway.h>

#include <cmath>
#include <cstring>

#include "engines/cpu/exact_fma.hpp"
#include "sprnn/dtype.hpp"

#ifdef __clang__
#define SPRNN_UNROLL _Pragma("clang loop unroll(full)")
#else
#define SPRNN_UNROLL _Pragma("GCC unroll 32")
#endif

#undef SPRNN_SCALAR_TARGET
#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128
#define SPRNN_SCALAR_TARGET 1
#else
#define SPRNN_SCALAR_TARGET 0
#endif

HWY_BEFORE_NAMESPACE();
namespace sprnn::cpu::HWY_NAMESPACE {

#if SPRNN_SCALAR_TARGET

inline constexpr int kLanes = 16;  // of a native vector
template <int P>
struct Vec {
  float v[P * kLanes];
};

#define SPRNN_EACH(expression)                                \
  Vec<P> r;                                                   \
  for (int i = 0; i < P * kLanes; ++i) r.v[i] = (expression); \
  return r

template <int P>
Vec<P> load(const float* p) {
  SPRNN_EACH(p[i]);
}
template <int P>
Vec<P> broadcast(float x) {
  SPRNN_EACH(x);
}
template <int P>
void store(Vec<P> a, float* p) {
  std::memcpy(p, a.v, sizeof a.v);
}
template <int P>
Vec<P> fma(Vec<P> a, Vec<P> b, Vec<P> c) {
  SPRNN_EACH(exact_fma(a.v[i], b.v[i], c.v[i]));
}
template <int P>
Vec<P> operator+(Vec<P> a, Vec<P> b) {
  SPRNN_EACH(a.v[i] + b.v[i]);
}
template <int P>
Vec<P> operator-(Vec<P> a, Vec<P> b) {
  SPRNN_EACH(a.v[i] - b.v[i]);
}
template <int P>
Vec<P> operator*(Vec<P> a, Vec<P> b) {
  SPRNN_EACH(a.v[i] * b.v[i]);
}
template <int P>
Vec<P> operator/(Vec<P> a, Vec<P> b) {
  SPRNN_EACH(a.v[i] / b.v[i]);
}
// A NaN of x stays.
template <int P>
Vec<P> clamp(Vec<P> x, float low, float high) {
  SPRNN_EACH(x.v[i] < low ? low : (high < x.v[i] ? high : x.v[i]));
}
template <int P>
Vec<P> positive_part(Vec<P> x) {
  SPRNN_EACH(x.v[i] <= 0.0F ? 0.0F : x.v[i]);
}
// To the nearest whole number, |x| < 2^22.
template <int P>
Vec<P> nearest(Vec<P> x) {
  SPRNN_EACH((x.v[i] + 12582912.0F) - 12582912.0F);
}
// 2^n for whole n in [-126, 127]; anything for a NaN.
template <int P>
Vec<P> power_of_two(Vec<P> n) {
  SPRNN_EACH(std::bit_cast<float>(
      (n.v[i] >= -126.0F && n.v[i] <= 127.0F ? static_cast<std::int32_t>(n.v[i]) + 127 : 0) << 23));
}
template <int P>
Vec<P> round_to_grid(Vec<P> x, DType dtype) {
  round_to(dtype, std::span<float>(x.v, P * kLanes));
  return x;
}
#undef SPRNN_EACH

#else

namespace hn = hwy::HWY_NAMESPACE;
using D = hn::CappedTag<float, 16>;
using DI = hn::RebindToSigned<D>;
using DU = hn::RebindToUnsigned<D>;
using Native = hn::Vec<D>;
inline constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));

template <int P>
struct Vec {
  Native v[P];
};

#define SPRNN_EACH(expression)                                    \
  Vec<P> r;                                                       \
  SPRNN_UNROLL for (int i = 0; i < P; ++i) r.v[i] = (expression); \
  return r

template <int P>
HWY_INLINE Vec<P> load(const float* p) {
  SPRNN_EACH(hn::LoadU(D(), p + i * kLanes));
}
template <int P>
HWY_INLINE Vec<P> broadcast(float x) {
  SPRNN_EACH(hn::Set(D(), x));
}
template <int P>
HWY_INLINE void store(Vec<P> a, float* p) {
  SPRNN_UNROLL for (int i = 0; i < P; ++i) hn::StoreU(a.v[i], D(), p + i * kLanes);
}
template <int P>
HWY_INLINE Vec<P> fma(Vec<P> a, Vec<P> b, Vec<P> c) {
  SPRNN_EACH(hn::MulAdd(a.v[i], b.v[i], c.v[i]));
}
template <int P>
HWY_INLINE Vec<P> operator+(Vec<P> a, Vec<P> b) {
  SPRNN_EACH(hn::Add(a.v[i], b.v[i]));
}
template <int P>
HWY_INLINE Vec<P> operator-(Vec<P> a, Vec<P> b) {
  SPRNN_EACH(hn::Sub(a.v[i], b.v[i]));
}
template <int P>
HWY_INLINE Vec<P> operator*(Vec<P> a, Vec<P> b) {
  SPRNN_EACH(hn::Mul(a.v[i], b.v[i]));
}
template <int P>
HWY_INLINE Vec<P> operator/(Vec<P> a, Vec<P> b) {
  SPRNN_EACH(hn::Div(a.v[i], b.v[i]));
}
// A NaN of x stays: the hardware's min and max return their second operand then.
template <int P>
HWY_INLINE Vec<P> clamp(Vec<P> x, float low, float high) {
  SPRNN_EACH(hn::Max(hn::Set(D(), low), hn::Min(hn::Set(D(), high), x.v[i])));
}
// A NaN stays, -0.0 becomes +0.0.
template <int P>
HWY_INLINE Vec<P> positive_part(Vec<P> x) {
  SPRNN_EACH(hn::Add(hn::Max(hn::Zero(D()), x.v[i]), hn::Zero(D())));
}
// To the nearest whole number, |x| < 2^22.
template <int P>
HWY_INLINE Vec<P> nearest(Vec<P> x) {
  const Native shift = hn::Set(D(), 12582912.0F);
  SPRNN_EACH(hn::Sub(hn::Add(x.v[i], shift), shift));
}
// 2^n for whole n in [-126, 127]; anything for a NaN.
template <int P>
HWY_INLINE Vec<P> power_of_two(Vec<P> n) {
  SPRNN_EACH(hn::BitCast(D(), hn::ShiftLeft<23>(hn::Add(hn::ConvertTo(DI(), n.v[i]), hn::Set(DI(), 127)))));
}
HWY_INLINE Native round_native(Native x, DType dtype) {
  if (dtype == DType::fp16) {
    const hn::Rebind<hwy::float16_t, D> half;
    return hn::PromoteTo(D(), hn::DemoteTo(half, x));
  }
  const auto bits = hn::BitCast(DU(), x);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(DU(), 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(DU(), 0x7FFF)));
  const auto nan = hn::Or(bits, hn::Set(DU(), 0x400000));
  const Native kept = hn::IfThenElse(hn::IsNaN(x), hn::BitCast(D(), nan), hn::BitCast(D(), rounded));
  return hn::BitCast(D(), hn::And(hn::BitCast(DU(), kept), hn::Set(DU(), 0xFFFF0000)));
}
template <int P>
HWY_INLINE Vec<P> round_to_grid(Vec<P> x, DType dtype) {
  if (dtype == DType::fp32) return x;
  SPRNN_EACH(round_native(x.v[i], dtype));
}
#undef SPRNN_EACH

#endif

inline constexpr int kParts = 16 / kLanes;
using V16 = Vec<kParts>;

template <int P>
HWY_INLINE bool any_nan(Vec<P> x) {
  float lanes[P * kLanes];
  store(x, lanes);
  bool nan = false;
  for (const float lane : lanes) nan = nan || std::isnan(lane);
  return nan;
}

}  // namespace sprnn::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif  // include guard
