// Which part of the work a CTA takes. The L2 has two sides; what one SM writes reaches an SM of its own side in 510
// cycles and one of the other in 760 (H100), so a group is kept on one side where it fits.
#pragma once

#include "arguments.cuh"
#include "plan.cuh"

struct Role {
  int group, cta;
  __device__ __forceinline__ int index() const { return group * CTAS + cta; }  // of all CTAs that work
  __device__ __forceinline__ bool any() const { return group >= 0; }
};

// CTAs of side 0 take the first `near_roles` roles from the front, those of side 1 the others from the back. There may
// be more CTAs than roles. Should a side have fewer CTAs than it was given roles, CTAs that are over on the other take
// them: whatever runs where, each role is taken once.
__device__ __forceinline__ Role claim_role(const Arguments& a) {
  // Nothing to choose from; in a cluster the hardware has placed a group.
  if (a.side_of_sm == nullptr) return {static_cast<int>(blockIdx.x) / CTAS, static_cast<int>(blockIdx.x) % CTAS};
  __shared__ int claimed;
  if (threadIdx.x == 0) {
    const int side = a.side_of_sm[sm_id()];
    const auto share = [&](int of) { return of == 0 ? a.near_roles : a.roles - a.near_roles; };
    int of = side;
    int rank = static_cast<int>(atomicAdd(a.control + Control::claims + side, 1u));
    if (rank >= share(side)) {
      const int surplus = static_cast<int>(atomicAdd(a.control + Control::surplus, 1u));
      const int missing = surplus - (static_cast<int>(gridDim.x) - a.roles);
      of = 1 - side;
      rank = missing < 0 ? -1 : share(of) - 1 - missing;
    }
    claimed = rank < 0 ? -1 : of == 0 ? rank : a.roles - 1 - rank;
  }
  __syncthreads();
  return claimed < 0 ? Role{-1, -1} : Role{claimed / CTAS, claimed % CTAS};
}
