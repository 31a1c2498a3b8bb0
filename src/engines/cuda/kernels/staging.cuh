// Strategy sparse-mma gathers what is beyond two of four: for that each warp also leaves its words of the state in an image of
// h in shared memory, [unit][batch entry], as its product goes through them.
#pragma once

#include "held_quads.cuh"
#include "types.cuh"

template <class M, class Quads, bool any = M::has_rest>
class Staging {
 public:
  __device__ __forceinline__ explicit Staging(u32) {}
};

template <class M, class Quads>
class Staging<M, Quads, true> {
 public:
  __device__ __forceinline__ explicit Staging(u32 image) {
    static_assert(Quads::planes == 1 && Element::bytes == 2, "a word of the image has all batch entries");
    const int lane = threadIdx.x % 32, four = lane % 4;
    const int unit = (column_warp<M>() * Quads::all_steps + Quads::part_of_lane(lane)) * 16 + four / 2 * 8 + four % 2 * 2;
    const u32 base = image + unit * unit_bytes + Quads::entry_of_lane(lane) * 2;
    // The lanes' stores would meet in half of the banks: the upper ones of them store neighbours in the other order.
    swaps_ = lane / (Quads::entries == 8 ? 2 : 16) % 2 == 1;
    first_ = base + (swaps_ ? apart : 0);
    second_ = base + (swaps_ ? 0 : apart);
  }

  // A word after share_halves: units 0, 1, 4 and 5 behind the lane's first of step `step`, and of the steps beside it that
  // other lanes have. `left`: how many of them there are, this one included.
  __device__ __forceinline__ void store(int step, int left, u64 word) const {
    if (left < Quads::parts && Quads::part_of_lane(threadIdx.x % 32) >= left) return;  // there they are others' steps
    const u32 at = static_cast<u32>(step) * 16 * unit_bytes;
    const u32 low = static_cast<u32>(word), high = static_cast<u32>(word >> 32);
    if constexpr (unit_bytes == 2) {
      store_shared(first_ + at, swaps_ ? high : low);
      store_shared(second_ + at, swaps_ ? low : high);
    } else {
      store_two(at, low);
      store_two(at + 4 * unit_bytes, high);
    }
  }

 private:
  static constexpr u32 unit_bytes = M::Image::word_bytes;
  static constexpr u32 apart = unit_bytes == 2 ? 8 : unit_bytes;

  __device__ __forceinline__ void store_two(u32 at, u32 two) const {
    const u32 ordered = __byte_perm(two, 0, swaps_ ? 0x1032 : 0x3210);
    store_shared_16(first_ + at, ordered);
    store_shared_16(second_ + at, ordered >> 16);
  }

  u32 first_, second_;
  bool swaps_;
};
