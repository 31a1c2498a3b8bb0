// How words of the state lie in a ring, where tensor cores take it from there (dense-mma, sparse-mma), and what a lane has of them.
//
// A word is four neighbouring units of one batch entry (but see held_slice.cuh: unit_words). Operand B has room for 8 batch
// entries, a lane for each and four units of a step's 16; where a group has 4, 2 or 1, the lanes behind them hold the next
// steps' words.
#pragma once

#include "late_order.cuh"
#include "mma.cuh"

// Which quad of a lane holds the words of which steps. `M` is the matrix that reads the state (plan.cuh), `W` its word.
template <class M, Word W>
struct HeldQuads {
  static constexpr int planes = M::Image::planes;  // of 8 batch entries
  static constexpr int entries = planes > 1 ? 8 : power_of_two_from(GROUP_BATCH);
  static constexpr int parts = 8 / entries;  // steps side by side in a warp's lanes
  static constexpr int words = W == Word::tag ? 1 : 2;  // a quad; a tag takes the upper half
  // Here a step is one of operand B of mma.m16n8k16; a step of sparse weights has two.
  static constexpr int steps = words * parts;  // a quad
  static constexpr int operands_a_step = M::sparse ? 2 : 1;
  static constexpr int all_steps = M::steps * operands_a_step;
  static constexpr int held_steps = M::held_steps * operands_a_step, streamed_steps = all_steps - held_steps;
  static constexpr int held = divide_up(held_steps, steps);  // quads of a lane, of a plane
  static constexpr int streamed = divide_up(streamed_steps, steps);
  static constexpr int a_plane = held + streamed;
  static constexpr int a_lane = planes * a_plane;
  static constexpr int a_slot = M::column_warps * 32 * a_lane;  // of a group: [column warp][plane][quad][lane]

  // Of a step: its quad of a plane, and its place among the quad's: word * parts + part.
  __device__ __forceinline__ static int quad_of(int step) {
    return step < held_steps ? step / steps : held + (LateOrder<M>::position_of(step) - held_steps) / steps;
  }
  __device__ __forceinline__ static int place_in_quad(int step) {
    return step < held_steps ? step % steps : (LateOrder<M>::position_of(step) - held_steps) % steps;
  }
  // Of lane l: batch entry of a plane, which of the steps side by side; l % 4: which four units of 16.
  __device__ __forceinline__ static int entry_of_lane(int lane) { return lane / 4 % entries; }
  __device__ __forceinline__ static int part_of_lane(int lane) { return lane / 4 / entries; }
  __device__ __forceinline__ static int lane_of(int entry, int part, int four) { return (part * entries + entry) * 4 + four; }
  // Of a batch entry and of four units of a column warp, the first of which is its `unit`th: in 64-bit words of a slot.
  __device__ __forceinline__ static int word_at(int column_warp, int unit, int b) {
    const int step = unit / 16;
    return word_at(column_warp, quad_of(step), place_in_quad(step), unit % 16 / 4, b);
  }
  // The same of a unit that the last held words have room for, behind the held steps.
  __device__ __forceinline__ static int word_behind_held(int column_warp, int unit, int b) {
    const int step = unit / 16;
    return word_at(column_warp, step / steps, step % steps, unit % 16 / 4, b);
  }

 private:
  __device__ __forceinline__ static int word_at(int column_warp, int quad, int place, int four, int b) {
    const int at = (column_warp * planes + b / 8) * a_plane + quad;
    return 2 * (at * 32 + lane_of(b % 8, place % parts, four)) + place / parts;
  }
};

// The words of two neighbouring lanes, as operand B of mma.m16n8k32 has them: each lane half of either, so that both have two of
// the four units that a word is of.
__device__ __forceinline__ u64 share_halves(u64 word) {
  const u32 low = static_cast<u32>(word), high = static_cast<u32>(word >> 32);
  const bool odd = threadIdx.x % 2 == 1;
  const u32 other = __shfl_xor_sync(~0u, odd ? low : high, 1);
  return static_cast<u64>(odd ? high : other) << 32 | (odd ? other : low);
}

// Of a step of the weights. What it has of entries that there are not is anything.
template <class M>
struct OperandB {
  u32 words[M::sparse ? 4 : 2];
};
// The `i`th word of it, from the lanes that have its part.
template <class Quads, class B>
__device__ __forceinline__ void put(B& b, int i, u64 word, int part) {
  const u32 halves[] = {static_cast<u32>(word), static_cast<u32>(word >> 32)};
#pragma unroll
  for (int h = 0; h < 2; ++h)
    b.words[2 * i + h] = part > 0 ? __shfl_down_sync(~0u, halves[h], part * Quads::entries * 4) : halves[h];
}
