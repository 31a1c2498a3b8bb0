// Which entries of its CTA's slice of the state a thread owns, where tensor cores take the state from the ring's words
// (dense-mma, sparse-mma): updates their cells, and has them when they are published.
#pragma once

#include "mma.cuh"

template <class M>
struct HeldSlice {
  // Four neighbouring lanes have a word: four units of a batch entry, or where more than 2 are staged a unit's four entries, as
  // many as there would be room for.
  static constexpr bool unit_words = M::unit_words;
  static constexpr int units = M::Image::units_a_cta, entries_a_unit = unit_words ? power_of_two_from(GROUP_BATCH) : GROUP_BATCH;
  static constexpr int entries = units * entries_a_unit;
  // The threads of a CTA share out its slice, or those of a warp what its whole rows are.
  static constexpr int owners = M::whole_rows ? 32 : THREADS;
  static constexpr int entries_of_owners = M::whole_rows ? M::units_a_warp * GROUP_BATCH : entries;
  static constexpr int entries_a_thread = divide_up(entries_of_owners, owners);

  // From `entries` on: none.
  __device__ __forceinline__ static int entry(int i) {
    const int owned = threadIdx.x % owners + i * owners;
    return owned < entries_of_owners ? threadIdx.x / owners * entries_of_owners + owned : entries;
  }
  __device__ __forceinline__ static int unit_of(int entry) {
    return unit_words ? entry / entries_a_unit : entry / (4 * GROUP_BATCH) * 4 + entry % 4;
  }
  __device__ __forceinline__ static int batch_of(int entry) {
    return unit_words ? entry % entries_a_unit : entry / 4 % GROUP_BATCH;
  }
};
