// The product of pairs: every lane sums its slots of (offset, value) pairs times words of the state in shared memory, then
// the lanes of a row group meet by shuffles, and a row's sum is that of its row groups. `M` is a matrix of plan.cuh.
#pragma once

#include "plan.cuh"
#include "types.cuh"

// The pairs of a lane that live in registers: offset << 16 | value; of fp32 the value, and two slots' offsets.
template <class M>
struct RegisterPairs {
  static constexpr int slots = M::register_slots;
  u32 word[at_least_one(slots)];
  u32 offsets[at_least_one(M::wide_values ? divide_up(slots, 2) : 0)];

  __device__ __forceinline__ void load(const u32* blocks, int cta) {
    const u32* const block = blocks + static_cast<i64>(cta) * M::register_block_words + threadIdx.x;
#pragma unroll
    for (int s = 0; s < slots; ++s) word[s] = block[s * THREADS];
    if constexpr (M::wide_values) {
#pragma unroll
      for (int s = 0; s < divide_up(slots, 2); ++s) offsets[s] = block[(slots + s) * THREADS];
    }
  }

  // The compiler sees that pairs never change, unpacks them once before the time loop, and spills: 2 to 3
  // registers a pair instead of 1. An opaque pair stays as it is.
  __device__ __forceinline__ void hide() {
    if constexpr (OPAQUE_PAIRS) {
#pragma unroll
      for (int s = 0; s < slots; ++s) asm volatile("" : "+r"(word[s]));
      if constexpr (M::wide_values) {
#pragma unroll
        for (int s = 0; s < divide_up(slots, 2); ++s) asm volatile("" : "+r"(offsets[s]));
      }
    }
  }
};

// One lane's sums over the batch entries of the group, [plane][entry of a word].
template <class M>
class LaneSums {
 public:
  using Image = typename M::Image;
  static constexpr int words = divide_up(Image::word_bytes, 4);  // registers of a word

  // One pair: `value` has the bits of the weight in its low end.
  __device__ __forceinline__ void add(u32 offset, u32 value, const unsigned char* image) {
    const unsigned char* const at = image + offset * M::offset_unit;
#pragma unroll
    for (int plane = 0; plane < Image::planes; ++plane) {
      u32 word[words];
      load_word(at + plane * Image::plane_bytes, word);
      if constexpr (M::half_sums) {
        u32 both;  // the value in both halves
        asm("{.reg .b16 a, b; mov.b32 {a, b}, %1; mov.b32 %0, {a, a};}" : "=r"(both) : "r"(value));
#pragma unroll
        for (int i = 0; i < words; ++i) {
          asm("fma.rn.f16x2 %0, %1, %2, %0;" : "+r"(half_[plane][i]) : "r"(both), "r"(word[i]));
        }
      } else {
        const float weight = Element::decode(value);
#pragma unroll
        for (int e = 0; e < Image::entries; ++e) {
          float& sum = sum_[plane * Image::entries + e];
          sum = fmaf(weight, entry(word, e), sum);
        }
      }
    }
  }

  // After every fourth slot: sums of four products in half precision go to fp32.
  __device__ __forceinline__ void flush() {
    if constexpr (M::half_sums) {
#pragma unroll
      for (int plane = 0; plane < Image::planes; ++plane) {
#pragma unroll
        for (int i = 0; i < words; ++i) {
#pragma unroll
          for (int e = 0; e < 2 && 2 * i + e < Image::entries; ++e) {
            sum_[plane * Image::entries + 2 * i + e] +=
                e == 0 ? Fp16::decode(half_[plane][i]) : Fp16::decode_high(half_[plane][i]);
          }
          half_[plane][i] = 0;
        }
      }
    }
  }

  // The butterfly over a row group's lanes, as the interpreter does it; but while a lane has several batch entries left, it
  // gives away half of them and keeps the sums of the others: B/2 + B/4 + ... shuffles instead of B each time.
  // Returns the batch entry of the first sum that this lane kept.
  __device__ __forceinline__ int reduce() {
    int first = 0;
    reduce<width, M::lanes / 2>(first);
    return first;
  }
  __device__ __forceinline__ void store(u32 sums, int place, int first) const {
    constexpr int repeated = at_least_one(M::lanes / width);  // lanes that end with the same entry
    if (place < 0 || threadIdx.x % repeated != 0) return;
#pragma unroll
    for (int j = 0; j < kept; ++j) {
      if (GROUP_BATCH == width || first + j < GROUP_BATCH) store_shared(sums + 4 * (place * GROUP_BATCH + first + j), sum_[j]);
    }
  }

  static constexpr int width = power_of_two_from(GROUP_BATCH), kept = at_least_one(width / M::lanes);

 private:
  // A template, since the compiler does not unroll the loop over steps for 16 entries and more, and an array that is
  // indexed by a variable lies in local memory.
  template <int Left, int Offset>
  __device__ __forceinline__ void reduce(int& first) {
    if constexpr (Offset > 0) {
      if constexpr (Left > 1) {
        constexpr int half = Left / 2;
        const bool upper = threadIdx.x & Offset;
#pragma unroll
        for (int j = 0; j < half; ++j) {
          const float mine = upper ? sum_[j + half] : sum_[j];
          const float theirs = upper ? sum_[j] : sum_[j + half];
          sum_[j] = mine + __shfl_xor_sync(~0u, theirs, Offset);
        }
        if (upper) first += half;
        reduce<half, Offset / 2>(first);
      } else {
        sum_[0] += __shfl_xor_sync(~0u, sum_[0], Offset);
        reduce<1, Offset / 2>(first);
      }
    }
  }

  __device__ __forceinline__ static void load_word(const unsigned char* at, u32 (&word)[words]) {
    if constexpr (Image::word_bytes == 2) {
      word[0] = *reinterpret_cast<const u16*>(at);
    } else if constexpr (Image::word_bytes == 4) {
      word[0] = *reinterpret_cast<const u32*>(at);
    } else if constexpr (Image::word_bytes == 8) {
      const uint2 v = *reinterpret_cast<const uint2*>(at);
      word[0] = v.x, word[1] = v.y;
    } else {
      const uint4 v = *reinterpret_cast<const uint4*>(at);
      word[0] = v.x, word[1] = v.y, word[2] = v.z, word[3] = v.w;
    }
  }
  __device__ __forceinline__ static float entry(const u32 (&word)[words], int e) {
    return entry_of<Element>(word, e);
  }

  float sum_[width > Image::planes * Image::entries ? width : Image::planes * Image::entries] = {};
  u32 half_[Image::planes][words] = {};
};

// Four slots of one lane as they lie in shared memory or L2, 16 bytes of pairs (and 8 of fp32's offsets).
template <class M>
struct PairQuad {
  uint4 pairs;
  uint2 offsets;

  __device__ __forceinline__ void add_to(LaneSums<M>& sums, const unsigned char* image) const {
    if constexpr (M::wide_values) {
      sums.add(offsets.x & 0xFFFF, pairs.x, image);
      sums.add(offsets.x >> 16, pairs.y, image);
      sums.add(offsets.y & 0xFFFF, pairs.z, image);
      sums.add(offsets.y >> 16, pairs.w, image);
    } else {
      sums.add(pairs.x >> 16, pairs.x, image);
      sums.add(pairs.y >> 16, pairs.y, image);
      sums.add(pairs.z >> 16, pairs.z, image);
      sums.add(pairs.w >> 16, pairs.w, image);
    }
    sums.flush();
  }
};

// The rows of pass P: registers, then shared memory, then L2. A template, since a loop over passes would index
// the registers by variables and put all of them in local memory.
template <class M, int P>
__device__ __forceinline__ void sum_pass(const RegisterPairs<M>& pairs, const unsigned char* shared_pairs,
                                         const unsigned char* l2_pairs, const unsigned char* image, LaneSums<M>& lane) {
  constexpr int count = M::register_count[P];
#pragma unroll
  for (int s = 0; s < count; ++s) {
    const int slot = M::register_first[P] + s;
    if constexpr (M::wide_values) {
      const u32 both = pairs.offsets[slot / 2];
      lane.add(slot % 2 == 0 ? both & 0xFFFF : both >> 16, pairs.word[slot], image);
    } else {
      lane.add(pairs.word[slot] >> 16, pairs.word[slot], image);
    }
    if (s % 4 == 3 || s == count - 1) lane.flush();
  }
#pragma unroll 4
  for (int q = 0; q < M::shared_count[P]; ++q) {
    const int at = (M::shared_first[P] + q) * THREADS + threadIdx.x;
    PairQuad<M> quad;
    quad.pairs = reinterpret_cast<const uint4*>(shared_pairs)[at];
    if constexpr (M::wide_values) {
      quad.offsets = reinterpret_cast<const uint2*>(shared_pairs + M::shared_quads * 16 * THREADS)[at];
    }
    quad.add_to(lane, image);
  }
#pragma unroll 4
  for (int q = 0; q < M::l2_count[P]; ++q) {
    const i64 at = static_cast<i64>(M::l2_first[P] + q) * THREADS + threadIdx.x;
    PairQuad<M> quad;
    quad.pairs = __ldcg(reinterpret_cast<const uint4*>(l2_pairs) + at);
    if constexpr (M::wide_values) {
      quad.offsets = __ldcg(reinterpret_cast<const uint2*>(l2_pairs + static_cast<i64>(M::l2_quads) * 16 * THREADS) + at);
    }
    quad.add_to(lane, image);
  }
}

// One CTA's part of a matrix, as a thread holds it.
template <class M>
class GatheredRows {
 public:
  static constexpr int sum_buffers = 1, sum_bytes = 0;
  static constexpr bool whole_rows = false;  // of a warp, that adds up its own sums only

  // `shared_pairs`: room for M::shared_block_words words.
  __device__ __forceinline__ GatheredRows(const MatrixArrays& arrays, int cta, unsigned char* shared_pairs) {
    pairs_.load(arrays.registers, cta);
    const u32* const block = arrays.shared + static_cast<i64>(cta) * M::shared_block_words;
    for (int i = threadIdx.x; i < M::shared_block_words; i += THREADS) {
      reinterpret_cast<u32*>(shared_pairs)[i] = block[i];
    }
    shared_pairs_ = shared_pairs;
    l2_pairs_ = reinterpret_cast<const unsigned char*>(arrays.l2 + static_cast<i64>(cta) * M::l2_block_words);
#pragma unroll
    for (int p = 0; p < M::passes; ++p) {
      place_[p] = arrays.sum_of_group[(cta * M::passes + p) * (THREADS / M::lanes) + threadIdx.x / M::lanes];
    }
  }

  __device__ __forceinline__ static void place_sums(const MatrixArrays& arrays, int cta, int unit, int b, u32 (&places)[GATES]) {
#pragma unroll
    for (int g = 0; g < GATES; ++g) places[g] = place_sums_of_row(arrays, cta, unit * GATES + g, b);
  }
  __device__ __forceinline__ static void add_sums(u32 sums, const u32 (&places)[GATES], float (&total)[GATES]) {
#pragma unroll
    for (int g = 0; g < GATES; ++g) total[g] = row_sum(sums, places[g]);
  }
  // Between the sums' leaving and their adding up.
  __device__ __forceinline__ static void meet() { __syncthreads(); }
  // Where the sums of a row of the CTA and a batch entry lie, for row_sum: the first byte << 8 | their number.
  __device__ __forceinline__ static u32 place_sums_of_row(const MatrixArrays& arrays, int cta, int row, int b) {
    const u32 of_row = arrays.sums_of_row[cta * M::rows_a_cta + row];
    return ((of_row >> 8) * GROUP_BATCH + b) * 4 << 8 | (of_row & 0xFF);
  }
  __device__ __forceinline__ static float row_sum(u32 sums, u32 of_row) {
    const u32 first = sums + (of_row >> 8);
    // All are asked for together, also those that are another row's: MatrixLayout::sum_slots has room for the last.
    float parts[M::parts];
#pragma unroll
    for (int part = 0; part < M::parts; ++part) parts[part] = load_shared(first + 4 * part * GROUP_BATCH);
    float sum = parts[0];
#pragma unroll
    for (int part = 1; part < M::parts; ++part) {
      if (part < (of_row & 0xFF)) sum += parts[part];
    }
    return sum;
  }

  // sums: [place][batch entry of the group]. Whether the state is finite does not matter: a pair is a stored weight.
  __device__ __forceinline__ void run(const unsigned char* image, u32 sums, bool) {
    pairs_.hide();
    passes<0>(image, sums);
  }

 private:
  template <int P>
  __device__ __forceinline__ void passes(const unsigned char* image, u32 sums) {
    if constexpr (P < M::passes) {
      LaneSums<M> lane;
      sum_pass<M, P>(pairs_, shared_pairs_, l2_pairs_, image, lane);
      const int first = lane.reduce();
      // Where registers hold the sums of all passes, their stores come last: a store's branch would keep the next pass's loads
      // from being sent for.
      constexpr bool holds_sums = M::passes * LaneSums<M>::kept <= 8;
      if constexpr (!holds_sums) lane.store(sums, place_[P], first);
      passes<P + 1>(image, sums);
      if constexpr (holds_sums) lane.store(sums, place_[P], first);
    }
  }

  RegisterPairs<M> pairs_;
  const unsigned char* shared_pairs_;
  const unsigned char* l2_pairs_;
  int place_[M::passes];
};
