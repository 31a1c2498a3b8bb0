// What CTAs see of one another: the order of memory, clusters, and what of it a seed decides.
#include <gtest/gtest.h>

#include <set>
#include <string>

#include "emulator/test_program.hpp"

namespace sprnn::emulator {
namespace {

// How often of 200 runs CTA 1 reads 0 for the data once it has seen the flag.
int stale_runs(const std::string& flag) {
  int stale = 0;
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    const Words out = run_body(R"(
      setp.ne.u32 %p1, %r0, 0; @%p1 ret; setp.eq.u32 %p2, %r1, 1; @%p2 bra $poll;
      st.relaxed.gpu.global.u32 [%rd0+64], 7; )" +
                                   flag + R"( ret;
$poll: ld.relaxed.gpu.global.u32 %r2, [%rd0+128]; setp.eq.u32 %p3, %r2, 0; @%p3 bra $poll;
      ld.relaxed.gpu.global.u32 %r3, [%rd0+64]; st.global.u32 [%rd0], %r3;)",
                               Words(64), {.blocks = 2, .seed = seed});
    EXPECT_TRUE(out[0] == 7 || out[0] == 0);
    EXPECT_EQ(out[16], 7U);
    stale += out[0] == 0 ? 1 : 0;
  }
  return stale;
}

TEST(MemoryOrder, AFlagMayOvertakeItsDataUnlessReleased) {
  const std::string relaxed = "st.relaxed.gpu.global.u32 [%rd0+128], 1;";
  EXPECT_GT(stale_runs(relaxed), 0);
  EXPECT_GT(stale_runs("fence.acq_rel.cta;" + relaxed), 0);
  EXPECT_GT(stale_runs("red.relaxed.gpu.global.add.u32 [%rd0+128], 1;"), 0);
  EXPECT_GT(stale_runs("red.global.add.u32 [%rd0+128], 1;"), 0);  // which is relaxed too
  EXPECT_EQ(stale_runs("fence.acq_rel.gpu;" + relaxed), 0);
  EXPECT_EQ(stale_runs("red.release.gpu.global.add.u32 [%rd0+128], 1;"), 0);
  EXPECT_EQ(stale_runs("st.release.gpu.global.u32 [%rd0+128], 1;"), 0);
}

TEST(MemoryOrder, AWordNeverGoesBack) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    const Words out = run_body(R"(
      setp.ne.u32 %p1, %r0, 0; @%p1 ret; mov.u32 %r2, 0; setp.eq.u32 %p2, %r1, 1; @%p2 bra $poll;
$more: add.u32 %r2, %r2, 1; st.relaxed.gpu.global.v2.u32 [%rd0+64], {%r2, %r2};
      add.u32 %r2, %r2, 1; st.global.u32 [%rd0+64], %r2;
      atom.global.add.u32 %r3, [%rd0+64], 1; setp.ne.u32 %p4, %r3, %r2; @%p4 trap; add.u32 %r2, %r2, 1;
      setp.lt.u32 %p3, %r2, 60; @%p3 bra $more; ret;
$poll: mov.u32 %r3, %r2; ld.relaxed.gpu.global.u32 %r2, [%rd0+64];
      setp.lt.u32 %p4, %r2, %r3; @%p4 trap; setp.lt.u32 %p3, %r2, 60; @%p3 bra $poll;)",
                               Words(64), {.blocks = 2, .seed = seed});
    EXPECT_EQ(out[16], 60U);
    EXPECT_EQ(out[17], 58U);
  }
}

TEST(MemoryOrder, SixteenBytesStayTogether) {
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    run_body(R"(
      .reg .b128 %rq<1>; mov.u64 %rd2, 0;
      setp.ne.u32 %p1, %r0, 0; @%p1 ret; setp.eq.u32 %p2, %r1, 1; @%p2 bra $poll;
$more: add.s64 %rd2, %rd2, 1; not.b64 %rd3, %rd2; mov.b128 %rq0, {%rd2, %rd3};
      st.relaxed.gpu.global.b128 [%rd1+64], %rq0; setp.lt.u64 %p3, %rd2, 20; @%p3 bra $more; ret;
$poll: ld.relaxed.gpu.global.b128 %rq0, [%rd1+64]; mov.b128 {%rd2, %rd3}, %rq0; not.b64 %rd3, %rd3;
      setp.eq.u64 %p3, %rd2, 0; @%p3 bra $poll;
      setp.ne.u64 %p4, %rd2, %rd3; @%p4 trap; setp.lt.u64 %p3, %rd2, 20; @%p3 bra $poll;)",
             Words(64), {.blocks = 2, .seed = seed});
  }
}

TEST(MemoryOrder, AtomicsCompareWholeWords) {
  Words data(64, ~0U);
  data[1] = 5;
  const Words out = run_body(R"(setp.ne.u32 %p1, %r0, 0; @%p1 ret; atom.global.cas.b32 %r2, [%rd0], -1, 3;
    red.global.max.u32 [%rd0+4], -7; st.global.u32 [%rd0+8], %r2;)",
                             data);
  EXPECT_EQ(out[0], 3U);
  EXPECT_EQ(out[1], 0U - 7U);
  EXPECT_EQ(out[2], ~0U);
}

// Words go to and fro between two CTAs: each adds one to what it gets. Word 0 is the last that CTA 0 gets.
const std::string ping_pong = R"(
  .shared .align 8 .b8 counter[8]; .shared .align 4 .b8 slot[4];
  setp.ne.u32 %p1, %r0, 0; mov.u32 %r2, counter; mov.u32 %r3, slot;
  @!%p1 mbarrier.init.shared.b64 [%r2], 1;
  xor.b32 %r4, %r1, 1; mapa.shared::cluster.u32 %r5, %r2, %r4; mapa.shared::cluster.u32 %r6, %r3, %r4;
  barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;
  @%p1 bra $end;
  mov.u32 %r7, 0; mov.u32 %r8, 100; setp.eq.u32 %p2, %r1, 0;
$loop: mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 4; AGAIN
  @%p2 st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%r6], %r8, [%r5];
  and.b32 %r9, %r7, 1;
$wait: mbarrier.try_wait.parity.shared::cta.b64 %p3, [%r2], %r9; @!%p3 bra $wait;
  ld.shared.u32 %r8, [%r3]; add.u32 %r8, %r8, 1;
  @!%p2 st.async.shared::cluster.mbarrier::complete_tx::bytes.u32 [%r6], %r8, [%r5];
  add.u32 %r7, %r7, 1; setp.lt.u32 %p4, %r7, 5; @%p4 bra $loop;
  @%p2 st.global.u32 [%rd0], %r8;
$end: barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;)";

TEST(Clusters, AnMbarrierCountsWhatComes) {
  for (std::uint64_t seed = 0; seed < 20; ++seed)
    EXPECT_EQ(run_body(with(ping_pong, "AGAIN", ""), Words(64), {.blocks = 2, .cluster = 2, .seed = seed})[0],
              110U);
}

TEST(Clusters, Faults) {
  const Shape shape{.blocks = 2, .cluster = 2, .shared_bytes = 8};
  EXPECT_TRUE(
      says(fault_of(with(ping_pong, "AGAIN", "mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 4;"), shape),
           {"thread 0,", "an arrival too many"}));
  const std::string map = "mov.u32 %r2, memory; mapa.shared::cluster.u32 %r3, %r2, RANK;";
  EXPECT_TRUE(says(fault_of(with(map, "RANK", "2") + "ld.shared::cluster.u32 %r4, [%r3];", shape),
                   {"not in the cluster"}));
  EXPECT_TRUE(says(fault_of(with(map, "RANK", "0") + R"(setp.eq.u32 %p1, %r1, 0; @%p1 ret;
                $loop: ld.shared::cluster.u32 %r4, [%r3]; bra $loop;)",
                            shape),
                   {"a CTA that has left"}));
}

TEST(Seeds, SayInWhichOrderThingsHappen) {
  const auto order_of = [](std::uint64_t seed) {
    return run_body(R"(atom.global.add.u32 %r2, [%rd0], 1; bar.warp.sync -1; mad.lo.s32 %r3, %r1, 64, %r0;
      mul.wide.u32 %rd2, %r3, 4; add.s64 %rd2, %rd0, %rd2; st.global.u32 [%rd2+4], %r2;)",
                    Words(257), {.blocks = 4, .threads = 64, .seed = seed});
  };
  std::set<Words> orders;
  for (std::uint64_t seed = 0; seed < 10; ++seed) {
    const Words order = order_of(seed);
    EXPECT_EQ(order, order_of(seed));
    orders.insert(order);
  }
  EXPECT_GT(orders.size(), 5U);
}

}  // namespace
}  // namespace sprnn::emulator
