// What the parser makes of PTX, and what it refuses.
#include <gtest/gtest.h>

#include "emulator/test_program.hpp"

namespace sprnn::emulator {
namespace {

TEST(Parser, ScopesLabelsGuardsAndAddresses) {
  // What is inside of a scope hides what is outside, and ends with it; a label is its own line or not.
  const Words out = run_body(R"(
    .reg .b32 a;  // of the kernel's scope
    mov.b32 a, 7;
    mov.u32 %r2, 0x20001;
    { .reg .b16 low, high; .reg .b32 a;
      mov.b32 {low, high}, %r2;
      mov.b32 a, {high, low};
      { .reg .pred p; setp.eq.u32 p, %r0, 3; @p add.u32 a, a, 100; @!p add.u32 a, a, 200; }
      st.global.u32 [%rd1], a; }
    setp.ne.u32 %p1, %r0, 0;
    @%p1 bra $end;
    add.s64 %rd2, %rd0, 16;
    st.global.u32 [%rd2+-16], a;
    st.global.u32 [%rd2+4], 0f3F800000;
$end: )");
  EXPECT_EQ(out[0], 7U);
  EXPECT_EQ(out[3], 0x10002U + 100);
  EXPECT_EQ(out[4], 0x10002U + 200);
  EXPECT_EQ(out[5], 0x3F800000U);
}

TEST(Parser, ParametersLieWhereTheirTypesSay) {
  const std::string ptx = R"(.visible .entry test(
    .param .u32 test_param_0, .param .u8 test_param_1, .param .u64 .ptr .align 1 test_param_2,
    .param .u16 test_param_3, .param .align 8 .b8 test_param_4[12], .param .f32 test_param_5)
  .maxntid 32, 1, 1
  { .reg .b64 %rd<2>; .reg .b32 %r<2>;
    ld.param.u64 %rd0, [test_param_2];
    ld.param.u32 %r0, [test_param_4+8];
    st.global.u32 [%rd0], %r0;
    ret; })";
  std::vector<std::size_t> places;
  const auto kernel = parse(ptx).at("test");
  for (const auto& parameter : kernel->parameters) {
    places.push_back(parameter.at);
    places.push_back(parameter.bytes);
  }
  EXPECT_EQ(places, (std::vector<std::size_t>{0, 4, 4, 1, 8, 8, 16, 2, 24, 12, 36, 4}));
  Words data(1);
  launch(ptx, {0, reinterpret_cast<Bits>(data.data()), 0, 0, 77}, data);
  EXPECT_EQ(data[0], 77U);
}

TEST(Parser, SharedVariablesAndBehindThemTheLaunchesOwn) {
  const Words out = run_body(R"(
    .shared .align 4 .b8 one[20];
    .shared .align 8 .b8 two[8];
    mov.u32 %r2, one;  mov.u32 %r3, two;  mov.u32 %r4, memory;
    st.global.v4.u32 [%rd0], {%r2, %r3, %r4, %r4};)");
  EXPECT_EQ(out[1] - out[0], 24U);
  EXPECT_EQ(out[2] - out[0], 32U);
}

TEST(Parser, RefusesWhatItDoesNotKnow) {
  EXPECT_TRUE(says(fault_of("frobnicate.b32 %r2, %r3;"), {"does not know", "frobnicate.b32 %r2, %r3"}));
  EXPECT_TRUE(says(fault_of("add.sat.s32 %r2, %r2, %r2;"), {"does not know", "add.sat.s32"}));
  EXPECT_TRUE(says(fault_of("mov.u32 %r2, %tid.q;"), {"unknown operand", "%tid.q"}));
  EXPECT_TRUE(says(fault_of("bra $nowhere;"), {"unknown label", "$nowhere"}));
  EXPECT_TRUE(says(fault_of("{ A: bra A; } { A: bra A; }"), {"label", "A"}));
  EXPECT_TRUE(says(fault_of(".tex .u32 t;"), {"unknown directive", ".tex .u32 t"}));
}

}  // namespace
}  // namespace sprnn::emulator
