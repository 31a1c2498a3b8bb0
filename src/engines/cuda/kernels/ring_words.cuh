// Where a ring's words are: in global memory, of all groups together, or in a cluster. There each CTA has a ring of its
// own in shared memory; a word is stored to all of them, and read at home.
#pragma once

#include "arguments.cuh"
#include "place.cuh"
#include "plan.cuh"
#include "types.cuh"

#if IN_CLUSTER
struct RingWords {
  u32 address;  // in this CTA's shared memory
  __device__ __forceinline__ RingWords operator+(i64 words) const { return {address + 8 * static_cast<u32>(words)}; }
};
#else
using RingWords = u64*;
#endif

struct RingOfGroup {
  RingWords words;  // [slot][group] quads
  int groups, group;
};

__device__ __forceinline__ RingOfGroup ring_of_h(const Arguments& a, const Role& role, int groups, u32 shared) {
#if IN_CLUSTER
  return {{shared}, 1, 0};
#else
  return {a.ring, groups, role.group};
#endif
}

// Of the CTA's threads, or those of its cluster.
__device__ __forceinline__ void meet() {
#if IN_CLUSTER
  asm volatile("barrier.cluster.arrive.release;\n barrier.cluster.wait.acquire;" ::: "memory");
#else
  __syncthreads();
#endif
}

#if IN_CLUSTER
// Relaxed, at the scope of the cluster; each 64-bit element is single-copy atomic.
__device__ __forceinline__ Quad load_relaxed_2x64(RingWords p) {
  Quad v;
  asm volatile("ld.relaxed.cluster.shared::cta.v2.u64 {%0, %1}, [%2];" : "=l"(v.low), "=l"(v.high) : "r"(p.address));
  return v;
}
__device__ __forceinline__ void store_relaxed_64(RingWords p, u64 v) {
#pragma unroll
  for (int cta = 0; cta < CTAS; ++cta) {
    asm volatile(
        "{.reg .u32 there; mapa.shared::cluster.u32 there, %0, %1; st.relaxed.cluster.shared::cluster.u64 [there], %2;}" ::"r"(
            p.address),
        "r"(cta), "l"(v)
        : "memory");
  }
}
#endif
