// Threads of a warp and of a CTA: how they meet, and that what they must not do is found.
#include <gtest/gtest.h>

#include <string>

#include "emulator/test_program.hpp"

namespace sprnn::emulator {
namespace {

TEST(Warps, Shuffles) {
  const auto shuffled = [](const std::string& how) {
    return run_body("add.u32 %r2, %r0, 100; shfl.sync." + how + "; st.global.u32 [%rd1], %r3;", Words(lanes));
  };
  EXPECT_EQ(shuffled("down.b32 %r3, %r2, 3, 31, -1"),
            counted(lanes, [](u32 l) { return 100 + (l < 29 ? l + 3 : l); }));
  EXPECT_EQ(shuffled("bfly.b32 %r3|%p1, %r2, 5, 31, -1"),
            counted(lanes, [](u32 l) { return 100 + (l ^ 5); }));
  EXPECT_EQ(shuffled("idx.b32 %r3, %r2, 17, 31, -1"), Words(lanes, 117));
  // Segments of 8 lanes.
  EXPECT_EQ(shuffled("idx.b32 %r3, %r2, 2, 0x181F, -1"),
            counted(lanes, [](u32 l) { return 100 + l / 8 * 8 + 2; }));
  EXPECT_EQ(shuffled("up.b32 %r3, %r2, 1, 0x1800, -1"),
            counted(lanes, [](u32 l) { return 100 + (l % 8 ? l - 1 : l); }));
}

TEST(Warps, Votes) {
  for (const u32 below : {0U, 1U, 20U, 32U}) {
    const Words out = run_body("setp.lt.u32 %p1, %r0, " + std::to_string(below) + R"(;
      vote.sync.any.pred %p2, %p1, -1; vote.sync.all.pred %p3, %p1, -1; vote.sync.any.pred %p4, !%p1, -1;
      selp.u32 %r2, 1, 0, %p2; selp.u32 %r3, 2, 0, %p3; selp.u32 %r4, 4, 0, %p4;
      add.u32 %r2, %r2, %r3; add.u32 %r2, %r2, %r4; st.global.u32 [%rd1], %r2;)",
                               Words(lanes));
    EXPECT_EQ(out, Words(lanes, (below > 0 ? 1 : 0) + (below == 32 ? 2 : 0) + (below < 32 ? 4 : 0)));
  }
}

TEST(Warps, VotesOfMembersOnly) {
  // Both halves of the warp vote at one instruction, but not with each other.
  const Words out = run_body(R"(setp.lt.u32 %p1, %r0, 16; selp.b32 %r2, 0xFFFF, 0xFFFF0000, %p1;
    setp.lt.u32 %p2, %r0, 20; vote.sync.all.pred %p3, %p2, %r2; vote.sync.ballot.b32 %r3, %p2, %r2;
    setp.eq.u32 %p4, %r0, 3; vote.sync.any.pred %p4, %p4, %r2;
    selp.u32 %r4, 1, 0, %p3; selp.u32 %r5, 2, 0, %p4; or.b32 %r4, %r4, %r5; xor.b32 %r3, %r3, %r4;
    st.global.u32 [%rd1], %r3;)",
                             Words(lanes));
  EXPECT_EQ(out, counted(lanes, [](u32 l) { return l < 16 ? 0xFFFFU ^ 3 : 0xF0000U; }));
}

TEST(Warps, LanesThatPartMeetAgain) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    // A loop of as many turns as the lane has, for those below 24; the others have left by then.
    const Words out = run_body(R"(
      setp.ge.u32 %p1, %r0, 24; @%p1 ret;
      and.b32 %r2, %r0, 1; setp.eq.u32 %p2, %r2, 0; @%p2 bra $even;
      mul.lo.u32 %r3, %r0, 3; bra $met;
$even: mov.u32 %r3, 0; mov.u32 %r4, 0;
$loop: add.u32 %r3, %r3, 5; add.u32 %r4, %r4, 1; setp.le.u32 %p3, %r4, %r0; @%p3 bra.uni $loop;
$met: shfl.sync.bfly.b32 %r5, %r3, 1, 31, 0xFFFFFF; st.global.u32 [%rd1], %r5;)",
                               Words(lanes), {.seed = seed});
    const auto own = [](u32 l) { return l % 2 == 0 ? 5 * (l + 1) : 3 * l; };
    EXPECT_EQ(out, counted(lanes, [&](u32 l) { return l < 24 ? own(l ^ 1) : 0; }));
  }
}

TEST(Warps, ALaneMayWaitForALaterOne) {
  for (const char* writer : {"31", "0"}) {  // and the later for an earlier
    const Words out = run_body("setp.eq.u32 %p1, %r0, " + std::string(writer) + R"(; @%p1 bra $write;
$wait: ld.volatile.global.u32 %r2, [%rd0+128]; setp.eq.u32 %p2, %r2, 0; @%p2 bra $wait; bra $end;
$write: st.volatile.global.u32 [%rd0+128], 9;
$end: )");
    EXPECT_EQ(out[32], 9U);
  }
}

const std::string rotate_by_a_warp = R"(
  mov.u32 %r2, memory; mad.lo.s32 %r3, %r0, 4, %r2; add.u32 %r4, %r0, 32; rem.u32 %r4, %r4, 96;
  mad.lo.s32 %r4, %r4, 4, %r2; STORE.shared.u32 [%r3], %r0; SYNC LOAD.shared.u32 %r5, [%r4]; st.global.u32 [%rd1], %r5;)";
std::string rotated(const std::string& sync, const std::string& store = "st",
                    const std::string& load = "ld") {
  return with(with(with(rotate_by_a_warp, "SYNC", sync), "STORE", store), "LOAD", load);
}

TEST(Barriers, OrderAccessesOfACta) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Shape shape{.threads = 96, .shared_bytes = 384, .seed = seed};
    const Words expected = counted(96, [](u32 t) { return (t + 32) % 96; });
    EXPECT_EQ(run_body(rotated("bar.sync 0;"), Words(96), shape), expected);
    // What is relaxed waits for the barrier as well.
    EXPECT_EQ(run_body(rotated("bar.sync 0;", "st.relaxed.cta"), Words(96), shape), expected);
  }
}

TEST(Barriers, TellAllWhetherAnyThreadSaysSo) {
  for (const u32 who : {0U, 70U, 96U}) {
    const Words out = run_body("setp.eq.u32 %p1, %r0, " + std::to_string(who) + R"(;
      bar.red.or.pred %p2, 0, %p1; bar.red.or.pred %p3, 0, 0;
      selp.u32 %r2, 1, 0, %p2; selp.u32 %r3, 2, 0, %p3; or.b32 %r2, %r2, %r3; st.global.u32 [%rd1], %r2;)",
                               Words(96), {.threads = 96});
    EXPECT_EQ(out, Words(96, who < 96 ? 1 : 0));
  }
}

TEST(Barriers, DoNotWaitForThreadsThatHaveLeft) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    const Words out = run_body(
        "setp.gt.u32 %p1, %r0, 40; @%p1 bra $end; bar.sync 0; st.global.u32 [%rd1], 1; $end: ", Words(96),
        {.threads = 96, .seed = seed});
    EXPECT_EQ(out, counted(96, [](u32 t) { return t <= 40 ? 1 : 0; }));
  }
}

TEST(Faults, WhatCanNotGoOn) {
  EXPECT_TRUE(
      says(fault_of(R"(setp.lt.u32 %p1, %r0, 16; @%p1 bra $other; shfl.sync.idx.b32 %r2, %r0, 0, 31, -1;
                              $other: bar.sync 0;)"),
           {"test, CTA 0, thread", "waits for ever"}));
  EXPECT_TRUE(says(fault_of("trap;"), {"`trap`: trap"}));
}

TEST(Faults, AccessesOutsideNameThreadAndInstruction) {
  // 64 words: those of the second warp's threads end where the allocation does.
  EXPECT_EQ(fault_of("st.global.u32 [%rd1], %r0;", {.threads = 64}), "");
  EXPECT_TRUE(
      says(fault_of("ld.global.u8 %r2, [%rd0+255]; ld.global.u8 %r2, [%rd0+256];"),
           {"CTA 0, thread 0, instruction 6 `ld.global.u8 %r2, [%rd0+256]`", "outside of any allocation"}));
  EXPECT_TRUE(
      says(fault_of("st.global.u32 [%rd1+4], %r0;", {.threads = 64}), {"thread 63", "outside of any"}));
  EXPECT_TRUE(says(fault_of("st.global.u32 [%rd1+-4], %r0;"), {"thread 0,", "outside of any"}));
  EXPECT_TRUE(
      says(fault_of("mov.u64 %rd2, -4; ld.global.u32 %r2, [%rd2];"), {"thread 0,", "outside of any"}));
  EXPECT_TRUE(
      says(fault_of("ld.global.v2.u32 {%r2, %r3}, [%rd1];"), {"thread 1,", "`ld.global.v2", "misaligned"}));
  EXPECT_TRUE(says(fault_of("red.global.add.u32 [%rd0+256], 1;"), {"thread 0,", "outside of any"}));
  const std::string shared = "mov.u32 %r2, memory; mad.lo.s32 %r2, %r0, 4, %r2;";
  EXPECT_EQ(fault_of(shared + "st.shared.u32 [%r2], 0;", {.shared_bytes = 128}), "");
  EXPECT_TRUE(says(fault_of(shared + "st.shared.u32 [%r2], 0;", {.shared_bytes = 124}),
                   {"thread 31,", "`st.shared.u32 [%r2], 0`", "outside of shared memory: byte 124 of 124"}));
  EXPECT_TRUE(says(fault_of(shared + "ld.shared.u32 %r3, [%r2+-4];", {.shared_bytes = 128}),
                   {"thread 0,", "outside of shared memory: byte -4"}));
  EXPECT_TRUE(says(fault_of("ld.param.u64 %rd2, [test_param_0+8];"), {"behind the parameters"}));
}

TEST(Races, OfTwoWarpsWithoutABarrier) {
  const Shape shape{.threads = 64, .shared_bytes = 384};
  EXPECT_TRUE(says(fault_of(rotated("bar.warp.sync -1;"), shape), {"thread", "no barrier between"}));
  EXPECT_TRUE(
      says(fault_of("mov.u32 %r2, memory; st.shared.u32 [%r2], %r0;", shape), {"is written by thread"}));
  EXPECT_TRUE(says(fault_of("mov.u32 %r2, memory; ld.shared.u32 %r3, [%r2]; bar.warp.sync -1;"
                            "setp.eq.u32 %p1, %r0, 40; @%p1 st.shared.u32 [%r2], %r0;",
                            shape),
                   {"no barrier between"}));
  EXPECT_EQ(fault_of("mov.u32 %r2, memory; ld.shared.u32 %r3, [%r2]; ld.shared.u32 %r3, [%r2];", shape), "");
  EXPECT_EQ(fault_of(rotated("", "st.volatile", "ld.volatile"), shape), "");
}

TEST(Races, OfTwoLanesWithoutABarrierOfTheWarp) {
  const std::string swap = R"(mov.u32 %r2, memory; mad.lo.s32 %r3, %r0, 4, %r2; xor.b32 %r4, %r0, 1;
    mad.lo.s32 %r4, %r4, 4, %r2; st.shared.u32 [%r3], %r0; SYNC ld.shared.u32 %r5, [%r4];)";
  const Shape shape{.shared_bytes = 128};
  EXPECT_TRUE(says(fault_of(with(swap, "SYNC", ""), shape), {"is written by thread", "no barrier between"}));
  EXPECT_EQ(fault_of(with(swap, "SYNC", "bar.warp.sync -1;"), shape), "");
  EXPECT_EQ(fault_of(with(swap, "SYNC", "bar.sync 0;"), shape), "");
  // A read and then a write.
  EXPECT_TRUE(says(fault_of(with(swap, "SYNC", "bar.warp.sync -1;") + "st.shared.u32 [%r3], 0;", shape),
                   {"is read by thread", "no barrier between"}));
}

}  // namespace
}  // namespace sprnn::emulator
