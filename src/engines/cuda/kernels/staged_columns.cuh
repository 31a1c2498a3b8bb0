// The state of a column warp in shared memory, where sparse-mma gathers what is beyond two of four: products take operand B from
// there by ldmatrix, and a pair of the rest reads all batch entries of a unit.
//
// Its columns lie in blocks of 16 rows of ldmatrix, 8 halves each. A block is of `parts` steps of 16 columns (held_quads.cuh),
// whose unit j of four f lies in row `row_of(f, j)`: batch entry b of the block's step p in half p * entries + b.
// plan/mma_layout.hpp counts the same way: MatrixLayout::staged_position.
#pragma once

#include "held_quads.cuh"
#include "held_slice.cuh"
#include "types.cuh"

template <class M, Word W>
class StagedColumns {
 public:
  using Quads = HeldQuads<M, W>;
  static constexpr int parts = Quads::parts, words_a_quad = Quads::words;
  static constexpr bool unit_words = HeldSlice<M>::unit_words;
  static constexpr int blocks = divide_up(Quads::all_steps, Quads::parts), columns = 16 * Quads::all_steps;

  // A word of the ring is four batch entries of a unit, which lie side by side, or else four units of an entry, which lie in
  // four rows. What a lane has of its quads:
  //   unit words   two neighbouring ones (of tags one) in the order of the image
  //   else         its lane's word of a block, a quad of two blocks
  // Of a unit of the column warp and a batch entry: in 64-bit words of the warp's part of a slot.
  __device__ __forceinline__ static int word_at(int unit, int b) {
    const int step = unit / 16, block = step / parts, part = step % parts, four = unit / 4 % 4;
    if constexpr (unit_words) {
      const int word = (block * 16 + row_of(four, unit % 4)) * 2 + (parts == 2 ? part : b / 4);
      return W == Word::tag ? 2 * word : word;
    }
    const int lane = Quads::lane_of(b, part, four);
    return W == Word::tag ? 2 * (block * 32 + lane) : 2 * (block / 2 * 32 + lane) + block % 2;
  }
  // The unit of a lane's first word, and how much further that of word `w` of quad `quad` lies.
  __device__ __forceinline__ static int first_unit() {
    const int lane = threadIdx.x % 32;
    if constexpr (!unit_words) return Quads::part_of_lane(lane) * 16 + lane % 4 * 4;
    const int word = W == Word::tag ? lane : 2 * lane, row = word / 2 % 16, four = row / 8 + row / 4 % 2 * 2;
    return word / 32 * 16 * parts + (parts == 2 ? word % 2 * 16 : 0) + four * 4 + (row % 4 ^ four % 2);
  }
  __device__ __forceinline__ static constexpr int units_behind(int quad, int w) {
    return (quad * words_a_quad * parts + (unit_words ? (parts == 2 ? w : 0) : w * parts)) * 16;
  }

  // Whether the column warp's blocks have word `w` of a lane's quad.
  __device__ __forceinline__ static bool has(int quad, int w) {
    if ((quad + 1) * words_a_quad <= blocks) return w < words_a_quad;
    return quad * words_a_quad + (unit_words ? threadIdx.x % 32 / 16 : w) < blocks;
  }

  __device__ __forceinline__ explicit StagedColumns(u32 image) {
    static_assert(Quads::planes == 1 && Element::bytes == 2, "a row has all batch entries of a unit");
    const int lane = threadIdx.x % 32, row = lane % 16;
    own_ = image + column_warp<M>() * blocks * block_bytes;
    // Of lane l the row of matrix l / 8 that gives its lanes the units that share_halves would.
    read_ = own_ + (lane / 16 * 16 + (row ^ row / 8)) * row_bytes;
  }

  // The words of a quad.
  __device__ __forceinline__ void store(int quad, const u64 (&words)[words_a_quad]) const {
    const int lane = threadIdx.x % 32;
    if constexpr (unit_words) {
      if (!has(quad, 0)) return;
      const u32 to = own_ + (quad * 32 + lane) * 8 * words_a_quad;
      if constexpr (words_a_quad == 2) {
        store_shared(to, words[0], words[1]);
      } else {
        store_shared(to, words[0]);
      }
    } else {
#pragma unroll
      for (int w = 0; w < words_a_quad; ++w) {
        const int block = quad * words_a_quad + w;
        if (!has(quad, w)) continue;
        // In one wavefront each: the rows of a unit of all fours lie in different banks.
        const u32 even = own_ + block * block_bytes + row_of(lane % 4, 0) * row_bytes + lane / 4 * 2;
        const u32 odd = own_ + block * block_bytes + row_of(lane % 4, 1) * row_bytes + lane / 4 * 2;
        const u32 low = static_cast<u32>(words[w]), high = static_cast<u32>(words[w] >> 32);
        store_shared_16(even, low);
        store_shared_16(odd, low >> 16);
        store_shared_16(even + 2 * row_bytes, high);
        store_shared_16(odd + 2 * row_bytes, high >> 16);
      }
    }
  }

  // Operand B of a step of the weights, after the warp has met.
  __device__ __forceinline__ void operand(int step, OperandB<M>& b) const {
    if constexpr (parts == 1) {
      asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                   : "=r"(b.words[0]), "=r"(b.words[1]), "=r"(b.words[2]), "=r"(b.words[3])
                   : "r"(read_ + 2 * step * block_bytes)
                   : "memory");
    } else {
      u32 words[2];
      asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                   : "=r"(words[0]), "=r"(words[1])
                   : "r"(read_ + 2 * step / parts * block_bytes)
                   : "memory");
      const u64 word = static_cast<u64>(words[1]) << 32 | words[0];
#pragma unroll
      for (int i = 0; i < 2; ++i) put<Quads>(b, i, word, (2 * step + i) % parts);
    }
  }

  // Four units' state of a step of 16 columns and one batch entry.
  __device__ __forceinline__ void units(int step, int four, int entry, u32 (&h)[2]) const {
    const u32 from = own_ + step / parts * block_bytes + (step % parts * Quads::entries + entry) * 2;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      h[i] = load_shared_16(from + row_of(four, 2 * i) * row_bytes) |
             load_shared_16(from + row_of(four, 2 * i + 1) * row_bytes) << 16;
    }
  }

 private:
  static constexpr u32 row_bytes = 16, block_bytes = 16 * row_bytes;
  // So that both the rows of a unit of all fours and those of a matrix, of fours 0 and 2 or of 1 and 3, lie in different banks.
  __device__ __forceinline__ static constexpr int row_of(int four, int unit) {
    return four % 2 * 8 + four / 2 * 4 + (unit ^ four % 2);
  }

  u32 own_, read_;
};
