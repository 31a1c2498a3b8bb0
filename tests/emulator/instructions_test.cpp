// Arithmetic and conversions, held against plain C++.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "emulator/half_by_search.hpp"
#include "emulator/lanes.hpp"
#include "emulator/test_program.hpp"

namespace sprnn::emulator {
namespace {

// To an s32.
std::int64_t rounded(float value) {
  if (std::isnan(value)) return 0;
  return static_cast<std::int32_t>(std::max(-0x1p31, std::min(0x1p31 - 1, static_cast<double>(value))));
}

using s16 = std::int16_t;
using s32 = std::int32_t;
using s64 = std::int64_t;
using u16 = std::uint16_t;

// Calls f with as many of an instruction's inputs as it takes, each a T.
template <class T, class F>
auto of(F f) {
  return [f](Bits a, Bits b, Bits c) {
    const auto result = [&] {
      if constexpr (std::is_invocable_v<F, T>)
        return f(as<T>(a));
      else if constexpr (std::is_invocable_v<F, T, T>)
        return f(as<T>(a), as<T>(b));
      else
        return f(as<T>(a), as<T>(b), as<T>(c));
    }();
    if constexpr (std::is_floating_point_v<decltype(result)>)
      return bits_of(result);
    else
      return static_cast<Bits>(result);
  };
}

struct Row {
  std::string text;                                // fills a register 5 from registers 2, 3 and 4
  std::function<Bits(Bits, Bits, Bits)> expected;  // its lower bits are compared
};

// Random bits, a count of bits, a power of two or all ones below it, or a special float.
Bits edge_or_random(Random& random) {
  const Bits bits = random(), which = random() % 8;
  if (which == 0) return bits % 70;
  if (which == 1) return Bits{1} << bits % 64;
  if (which == 2) return (Bits{1} << bits % 64) - 1;
  if (which == 3) return (bits & 0x80000000) | (bits % 2 == 0 ? 0x7F800000 : 0x7FC00000);
  if (which == 4) return (bits & 0x807FFFFF) | 0x3F800000;
  return which == 5 ? 0 : bits;
}

void check(const std::vector<Row>& rows) {
  Random random(7);
  for (const Row& row : rows) {
    for (int round = 0; round < 12; ++round) {
      std::vector<Bits> values(4 * lanes);
      for (Bits& value : values) value = edge_or_random(random);
      Words data(2 * values.size());
      std::memcpy(data.data(), values.data(), 4 * data.size());
      const std::string result = row.text.substr(row.text.find("5,") - 2, 2);  // "%r", "rd", "rs" or "%p"
      const auto is = [&](const char* kind) { return result == kind; };
      const Bits used = is("%p") ? 1 : is("rs") ? 0xFFFF : is("%r") ? ~0U : ~Bits{0};
      const Words out = run_body(
          "mul.wide.u32 %rd1, %r0, 32; add.s64 %rd1, %rd0, %rd1;"
          "ld.global.v2.u64 {%rd2, %rd3}, [%rd1]; ld.global.u64 %rd4, [%rd1+16];"
          "cvt.u32.u64 %r2, %rd2; cvt.u32.u64 %r3, %rd3; cvt.u32.u64 %r4, %rd4;"
          "cvt.u16.u64 %rs2, %rd2; cvt.u16.u64 %rs3, %rd3; cvt.u16.u64 %rs4, %rd4;" +
              row.text +
              (is("%r")   ? "cvt.u64.u32 %rd5, %r5;"
               : is("rs") ? "cvt.u64.u16 %rd5, %rs5;"
               : is("%p") ? "selp.b64 %rd5, 1, 0, %p5;"
                          : "") +
              "st.global.u64 [%rd1+24], %rd5;",
          data);
      std::vector<Bits> results(values.size());
      std::memcpy(results.data(), out.data(), 4 * out.size());
      for (std::size_t l = 0; l < values.size(); l += 4) {
        const Bits expected = row.expected(values[l], values[l + 1], values[l + 2]) & used,
                   got = results[l + 3];
        const bool both_nan = (row.text.find(".f32 %r5") & row.text.find("cvt.f32")) != std::string::npos &&
                              std::isnan(as<float>(expected)) && std::isnan(as<float>(got));
        ASSERT_TRUE(both_nan || got == expected)
            << row.text << std::hex << " of 0x" << values[l] << ", 0x" << values[l + 1] << ", 0x"
            << values[l + 2] << " is 0x" << got << ", not 0x" << expected;
      }
    }
  }
}

TEST(Instructions, Integers) {
  const auto bytes_selected = [](Bits a, Bits b, Bits selector) {
    u32 value = 0;
    for (u32 i = 0; i < 4; ++i) {
      const u32 n = static_cast<u32>(selector >> (4 * i)) & 15;
      const u32 byte = static_cast<u32>((n % 8 < 4 ? a : b) >> (8 * (n % 4))) & 0xFF;
      value |= (n < 8 ? byte : byte >= 128 ? 255 : 0) << (8 * i);
    }
    return Bits{value};
  };
  // Bit by bit, as the PTX ISA describes them.
  const auto extracted = [](Bits a, Bits b, Bits c, bool sign) {
    const u32 position = b & 0xFF, length = c & 0xFF, most = 31;
    const bool fill = sign && length > 0 && (a >> std::min(position + length - 1, most) & 1) != 0;
    u32 value = 0;
    for (u32 i = 0; i < 32; ++i)
      value |= (i < length && position + i <= most ? static_cast<u32>(a >> (position + i) & 1) : fill) << i;
    return Bits{value};
  };
  check({
      {"add.s32 %r5, %r2, %r3;", of<u32>([](u32 a, u32 b) { return a + b; })},
      {"sub.s16 %rs5, %rs2, %rs3;", of<u16>([](u16 a, u16 b) { return a - b; })},
      {"sub.s64 %rd5, %rd2, %rd3;", of<Bits>([](Bits a, Bits b) { return a - b; })},
      {"mul.lo.s32 %r5, %r2, %r3;", of<u32>([](u32 a, u32 b) { return a * b; })},
      {"mul.hi.s32 %r5, %r2, %r3;", of<s32>([](s64 a, s64 b) { return a * b >> 32; })},
      {"mul.hi.u32 %r5, %r2, %r3;", of<u32>([](Bits a, Bits b) { return a * b >> 32; })},
      {"mul.wide.s32 %rd5, %r2, %r3;", of<s32>([](s64 a, s64 b) { return a * b; })},
      {"mul.wide.u16 %r5, %rs2, %rs3;", of<u16>([](u32 a, u32 b) { return a * b; })},
      {"mad.lo.s32 %r5, %r2, %r3, %r4;", of<u32>([](u32 a, u32 b, u32 c) { return a * b + c; })},
      {"mad.wide.u32 %rd5, %r2, %r3, %rd4;",
       of<Bits>([](Bits a, Bits b, Bits c) { return Bits{u32(a)} * u32(b) + c; })},
      {"shl.b32 %r5, %r2, %r3;", of<u32>([](u32 a, u32 n) { return n > 31 ? 0 : a << n; })},
      {"shl.b64 %rd5, %rd2, %r3;", of<Bits>([](Bits a, Bits n) { return u32(n) > 63 ? 0 : a << u32(n); })},
      {"shr.u32 %r5, %r2, %r3;", of<u32>([](u32 a, u32 n) { return n > 31 ? 0 : a >> n; })},
      {"shr.s32 %r5, %r2, %r3;", of<Bits>([](Bits a, Bits n) { return s32(a) >> std::min(u32(n), 31U); })},
      {"shr.s16 %rs5, %rs2, %r3;", of<Bits>([](Bits a, Bits n) { return s16(a) >> std::min(u32(n), 15U); })},
      {"shf.r.wrap.b32 %r5, -1, %r3, %r4;",
       of<Bits>([](Bits, Bits b, Bits n) { return (b << 32 | ~0U) >> (n & 31); })},
      {"bfi.b32 %r5, %r2, %r3, %r4, 5;", of<u32>([](u32 a, u32 b, u32 c) {
         for (u32 i = c & 0xFF, first = i; i < first + 5 && i < 32; ++i)
           b = (b & ~(1U << i)) | (a >> (i - first) & 1) << i;
         return b;
       })},
      {"bfe.u32 %r5, %r2, %r3, %r4;", [&](Bits a, Bits b, Bits c) { return extracted(a, b, c, false); }},
      {"bfe.s32 %r5, %r2, %r3, %r4;", [&](Bits a, Bits b, Bits c) { return extracted(a, b, c, true); }},
      {"prmt.b32 %r5, %r2, %r3, %r4;", bytes_selected},
      {"prmt.b32 %r5, -2, %r3, 0x7432;",
       of<Bits>([&](Bits, Bits b) { return bytes_selected(~1UL, b, 0x7432); })},
      {"lop3.b32 %r5, %r2, %r3, %r4, 0x96;", of<u32>([](u32 a, u32 b, u32 c) { return a ^ b ^ c; })},
      {"lop3.b32 %r5, %r2, %r3, %r4, 0xCA;", of<u32>([](u32 a, u32 b, u32 c) { return (a & b) | (~a & c); })},
      {"min.s32 %r5, %r2, %r3;", of<s32>([](s32 a, s32 b) { return std::min(a, b); })},
      {"max.u32 %r5, %r2, %r3;", of<u32>([](u32 a, u32 b) { return std::max(a, b); })},
      {"setp.lt.s32 %p5, %r2, %r3;", of<s32>([](s32 a, s32 b) { return a < b; })},
      {"setp.hs.u32 %p5, %r2, %r3;", of<u32>([](u32 a, u32 b) { return a >= b; })},
      {"setp.gt.s64 %p1, %rd2, %rd3; selp.b32 %r5, %r4, -1, %p1;",
       of<s64>([](s64 a, s64 b, s64 c) { return a > b ? c : -1; })},
      {"cvt.s64.s32 %rd5, %r2;", of<s32>([](s32 a) { return s64{a}; })},
      {"cvt.s32.s8 %r5, %rs2;", of<std::int8_t>([](std::int8_t a) { return s32{a}; })},
      {"cvt.u32.u8 %r5, %rs2;", of<std::uint8_t>([](std::uint8_t a) { return u32{a}; })},
  });
}

TEST(Instructions, Floats) {
  const auto fp16 = [](float a) { return nearest_half(static_cast<long double>(a), false); };
  const auto bf16 = [](float a) { return nearest_half(static_cast<long double>(a), true); };
  const auto fused = [](Bits a, Bits b, Bits c) {
    const auto half = [&](int by) {
      const auto value = [&](Bits two) { return finite_or_not(u16(two >> by)); };
      return Bits{nearest_half(value(a) * value(b) + value(c), false)};
    };
    return half(16) << 16 | half(0);
  };
  check({
      {"add.f32 %r5, %r2, %r3;", of<float>([](float a, float b) { return a + b; })},
      {"fma.rn.f32 %r5, %r2, %r3, %r4;",
       of<float>([](float a, float b, float c) { return std::fma(a, b, c); })},
      // Of a NaN and a number the number.
      {"max.f32 %r5, %r2, 0f3F000000;", of<float>([](float a) { return a > 0.5F ? a : 0.5F; })},
      {"min.f32 %r5, %r2, 0f3F000000;", of<float>([](float a) { return a < 0.5F ? a : 0.5F; })},
      {"setp.lt.f32 %p5, %r2, %r3;", of<float>([](float a, float b) { return a < b; })},
      {"setp.ne.f32 %p5, %r2, %r3;", of<float>([](float a, float b) { return a < b || b < a; })},
      {"setp.neu.f32 %p5, %r2, %r3;", of<float>([](float a, float b) { return !(a == b); })},
      {"setp.geu.f32 %p5, %r2, %r3;", of<float>([](float a, float b) { return !(a < b); })},
      {"setp.nan.f32 %p5, %r2, %r3;", of<float>([](float a, float b) { return a != a || b != b; })},
      {"cvt.rn.f16.f32 %rs5, %r2;", of<float>(fp16)},
      // Random bits are seldom within the range of fp16: these are.
      {"lop3.b32 %r2, %r2, 0x8FFFFFFF, 0x30000000, 0xEA; cvt.rn.f16.f32 %rs5, %r2;",
       of<u32>([&](u32 a) { return fp16(as<float>((a & 0x8FFFFFFF) | 0x30000000)); })},
      {"cvt.rn.f16x2.f32 %r5, %r2, %r3;",
       of<float>([&](float a, float b) { return Bits{fp16(a)} << 16 | fp16(b); })},
      {"cvt.rn.bf16x2.f32 %r5, %r2, %r3;",
       of<float>([&](float a, float b) { return Bits{bf16(a)} << 16 | bf16(b); })},
      {"cvt.f32.f16 %r5, %rs2;", of<u16>([](u16 a) { return static_cast<float>(finite_or_not(a)); })},
      {"cvt.rn.f32.s32 %r5, %r2;", of<s32>([](s32 a) { return static_cast<float>(a); })},
      {"cvt.rzi.s32.f32 %r5, %r2;", of<float>(rounded)},
      {"cvt.rni.s32.f32 %r5, %r2;", of<float>([](float a) { return rounded(std::nearbyint(a)); })},
      {"fma.rn.f16x2 %r5, %r2, %r3, %r4;", fused},
  });
}

}  // namespace
}  // namespace sprnn::emulator
