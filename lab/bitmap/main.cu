// Weights without their zeros: can the product of an LSTM whose weights are 30 % unstructured non-zeros keep
// all of them on chip, and make dense operands of mma.m16n8k16 in registers just before each product? On
// 2026-11-29 the engine streamed 12 of 18 steps of dense weights from L2 every timestep there (LSTM 2304,
// batch 32, fp16), in rolled loops.
// Three ways:
//
// 1. A bit for each word, two weights of a row: 51 % of the words are stored, and loaded where the bit is
// set.
//
// 2. The same, but a dot product of bytes counts the words before each: no address waits for the last one.
//
// 3. A bit for each weight: 42 % of the words, with halves of fragments padded to whole words. A table of 16
// entries says where a word's weights are, and a PRMT brings them to their places.
//
// Each lane has a stream of its own, so any place of it is in the lane's bank. Beside them dense steps: four
// in registers, and what room is left. `dense, more on chip` is a control: dense weights, unrolled as the
// bitmaps are, with the same registers and the same room, for the sums take half of what they took in the
// engine.
//
// Predicted, microseconds a timestep of the product with its sums, without exchange and cells: dense 6.7,
// dense with more on chip 5.2, the bitmaps 4.0, 3.8 and 4.3. From, for each of the bitmaps: 16.8, 18.7
// and 22.3 instructions a fragment of bitmap (4 of them products), 4.2, 4.2 and 8.25 wavefronts of shared
// memory, so 1.4, 1.5 and 1.5 us to issue; 1.2, 1.2 and 2.1 us of shared memory; 1.2 us of tensor cores,
// of 13.4 cycles a fragment; sums 0.7 us, after the rest; and 17 MB of state from L2 at 5.5 TB/s, 3.1 us,
// which bounds all of them. Dense weights are 28.5 or 16.6 MB more.
//
// Found (NVIDIA H200, 2026-11-30): 5.68, 4.42, 5.02, 4.54 and 4.99. The bitmaps gain what their room gains,
// and dense weights with as much room are faster: products alone, with their sums, take 3.3, products and
// state 4.1, so there is nothing left for a bitmap to hide behind. ../README.md has all parts.
//
// Exit status: 0 every result was right; 1 one was wrong; 2 no GPU, and all that the host checks was right.
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../rung.hpp"

namespace {

using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr int hidden = 2304, batch = 32, rows = 4 * hidden;
constexpr int ctas = 116, warps = 8, threads = 32 * warps;
constexpr int tiles = 5, planes = batch / 8;                       // a warp has all tiles of its CTA's rows
constexpr int cta_rows = 16 * tiles, steps = hidden / 16 / warps;  // and so many times 16 columns
constexpr int turns = steps / 2;                                   // a load of the state is of two steps
constexpr int warp_sums = tiles * planes * 32;                     // in float4: [tile][plane][lane]
constexpr int state_quads = warps * turns * planes * 32;           // in uint4: [warp][turn][plane][lane]
constexpr int checked_row_step = 7;  // has no factor with the 80 rows of a CTA in common
constexpr int short_times = 400, long_times = 2000;
constexpr double error_bound = 1e-3;           // of the sum of |weight| |state|
constexpr int shared_room = 227 * 1024 - 128;  // less the table of halves

// What a bit of a mask is of: a word of two weights, or one weight. Bits of a step's words: four neighbouring
// ones are a fragment's, or, spread, one of each byte.
enum Format { of_words, of_words_spread, of_weights_alone };

// Where the weights of a warp's steps lie, in this order. `asked`: turns of the state that are in registers
// or under way.
template <int registers_, int shared_, int bitmap_, int l2_, int asked_, int sum_buffers_,
          Format format_ = of_words>
struct Plan {
  static constexpr Format format = format_;
  // Of masks, a thread: 20 bits a step, or 8 fragments' halves of 4 bits.
  static constexpr int mask_words = format != of_weights_alone ? bitmap_ : (bitmap_ * tiles * 2 + 7) / 8;
  static constexpr int registers = registers_, shared = shared_, bitmap = bitmap_, l2 = l2_;
  static constexpr int asked = asked_, sum_buffers = sum_buffers_;
  static_assert(registers + shared + bitmap + l2 == steps);
  static_assert(sum_buffers == warps || sum_buffers == warps / 2);
};
using Dense = Plan<0, 6, 0, 12, 3, 8>;
using DenseOnChip = Plan<2, 9, 0, 7, 3, 4>;  // with the room that the bitmaps have
using Words = Plan<4, 0, 14, 0, 4, 4, of_words>;
using WordsSpread = Plan<4, 0, 14, 0, 4, 4, of_words_spread>;
using Weights = Plan<4, 3, 11, 0, 3, 4, of_weights_alone>;

enum Parts : unsigned { of_state = 1, of_weights = 2, of_products = 4, all_parts = 7 };

struct Run {
  const uint4 *registers, *l2;  // [cta][step][tile][thread]
  const uint4* shared;          // [cta]: fragments [step][tile][thread], masks [word][thread], streams
  const int* streams;           // [cta][warp], where it begins, in words behind the first
  const uint4* state;           // two of them
  float4* sums;                 // of the last timestep, [cta][tile][plane][lane]
  int shared_quads, times;
};

// Volatile: else what is the same in all timesteps could be loaded once.
__device__ __forceinline__ uint4 load_l2(const uint4* p) {
  uint4 v;
  asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
               : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
               : "l"(p));
  return v;
}
__device__ __forceinline__ void take(uint4 v, u32 (&words)[4]) {
  words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
}
__device__ __forceinline__ void make_opaque(u32& word) { asm volatile("" : "+r"(word)); }
__device__ __forceinline__ void multiply_add(float (&sum)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

template <Format format>
__host__ __device__ constexpr u32 bit_of_word(int tile, int k) {
  return 1u << (format == of_words ? 4 * tile + k : 8 * k + tile);
}
// A word of a fragment: that at `place`, or zero, as bit `bit` of the mask says.
__device__ __forceinline__ u32 word_if(u32 mask, u32 bit, u32 place) {
  u32 word;
  asm volatile(
      "{\n.reg .pred p;\n.reg .b32 stored;\nand.b32 stored, %1, %2;\nsetp.ne.u32 p, stored, 0;\n"
      "mov.b32 %0, 0;\n@p ld.shared.b32 %0, [%3];\n}"
      : "=r"(word)
      : "r"(mask), "r"(bit), "r"(place));
  return word;
}
// The same, and `place` goes on behind it: the next of the lane's stream.
__device__ __forceinline__ u32 next_word(u32 mask, u32 bit, u32& place) {
  u32 word;
  asm volatile(
      "{\n.reg .pred p;\n.reg .b32 stored;\nand.b32 stored, %2, %3;\nsetp.ne.u32 p, stored, 0;\n"
      "mov.b32 %0, 0;\n@p ld.shared.b32 %0, [%1];\n@p add.u32 %1, %1, 128;\n}"
      : "=r"(word), "+r"(place)
      : "r"(mask), "r"(bit));
  return word;
}

__device__ __forceinline__ u32 load_shared(u32 from) {
  u32 word;
  asm volatile("ld.shared.b32 %0, [%1];" : "=r"(word) : "r"(from));
  return word;
}

// PRMT of a word and zero. The intrinsic would clear the selector's other bits first.
__host__ __device__ inline u32 permuted(u32 word, u32 selector) {
  u32 result = 0;
#ifdef __CUDA_ARCH__
  asm("prmt.b32 %0, %1, 0, %2;" : "=r"(result) : "r"(word), "r"(selector));
#else
  for (int i = 0; i < 4; ++i) {
    const u32 from = selector >> 4 * i & 7;
    if (from < 4) result |= (word >> 8 * from & 0xFF) << 8 * i;
  }
#endif
  return result;
}

// How half of a fragment, two words, comes from its stored weights, as the four bits of its mask say: two of
// them fill a word, but with three of them either of its words has its own, so that each word is a PRMT of
// one word and zero.
struct Half {
  u32 first, second;  // PRMT's selectors; in the upper half 128 times the words stored, and 128 if the second
                      // has its own
};
__host__ __device__ inline int place_of_weight(u32 mask, int i) {  // in half words
  const auto is_stored = [mask](int k) { return static_cast<int>(mask >> k & 1); };
  const int in_first = is_stored(0) + is_stored(1);
  if (i < 2) return i == 1 ? is_stored(0) : 0;
  const bool has_own = in_first + is_stored(2) + is_stored(3) > 2;
  return (has_own ? 2 : in_first) + (i == 3 ? is_stored(2) : 0);
}
__host__ __device__ inline Half half_of_mask(u32 mask) {
  u32 selectors[2] = {0x4444, 0x4444};
  int count = 0;
  for (int i = 0; i < 4; ++i) {
    if ((mask >> i & 1) == 0) continue;
    ++count;
    const u32 bytes = place_of_weight(mask, i) % 2 == 0 ? 0x10 : 0x32;
    selectors[i / 2] ^= (0x44 ^ bytes) << 8 * (i % 2);
  }
  const u32 stored = (count + 1) / 2 * 128, second = count > 2 ? 128 : 0;
  return {stored << 16 | selectors[0], second << 16 | selectors[1]};
}

template <class P, unsigned parts>
class Product {
 public:
  __device__ __forceinline__ Product(const Run& run, uint4* memory)
      : run_(run),
        sums_(reinterpret_cast<float4*>(memory)),
        shared_(memory + P::sum_buffers * warp_sums + threadIdx.x),
        l2_(run.l2 + blockIdx.x * fars * threads + threadIdx.x) {
    uint4* const weights = memory + P::sum_buffers * warp_sums;
    for (int i = threadIdx.x; i < run.shared_quads; i += threads)
      weights[i] = run.shared[static_cast<std::size_t>(blockIdx.x) * run.shared_quads + i];
    const u32* const masks = reinterpret_cast<const u32*>(weights + P::shared * tiles * threads);
    masks_ = masks + threadIdx.x;
    __shared__ Half halves[16];  // each in its own banks
    if (P::format == of_weights_alone) {
      if (threadIdx.x < 16) halves[threadIdx.x] = half_of_mask(threadIdx.x);
      halves_ = halves;
    }
    if (P::bitmap > 0) {
      stream_ = static_cast<u32>(__cvta_generic_to_shared(masks + P::mask_words * threads)) +
                4 * (run.streams[blockIdx.x * warps + warp()] + lane());
    }
    const uint4* const held = run.registers + blockIdx.x * P::registers * tiles * threads + threadIdx.x;
#pragma unroll
    for (int f = 0; f < P::registers * tiles; ++f) take(load_l2(held + f * threads), held_[f]);
#pragma unroll
    for (int f = 0; f < tiles && P::l2 > 0; ++f) load_far(f, first_far + f);
    __syncthreads();
  }

  __device__ __forceinline__ void timestep(int t) {
    const uint4* const state = run_.state + t % 2 * state_quads + warp() * turns * planes * 32 + lane();
    uint4 b[P::asked][planes];
    float sum[tiles][planes][4] = {};
    // In the place of what is left out, another one for each tile and plane: else equal products become one.
    u32 constant = threadIdx.x;
    make_opaque(constant);
    const auto ask = [&](int turn, const uint4* from) {
#pragma unroll
      for (int plane = 0; plane < planes; ++plane) {
        uint4& to = b[turn % P::asked][plane];
        if (parts & of_state) {
          to = load_l2(from + plane * 32);
        } else {
          to = {constant + plane, constant, constant + plane, constant};
        }
      }
    };
    // `later`: by so many steps, where the loop over them is rolled.
    const auto multiply_step = [&](int step, int later) {
#pragma unroll
      for (int tile = 0; tile < tiles; ++tile) {
        const int f = step * tiles + tile;
        if (parts & of_weights) {
          multiply(sum[tile], fragment(f), b[step / 2 % P::asked], step % 2, tile);
          load_next(f, later * tiles);
        } else {
          multiply(sum[tile], {constant + tile, constant, constant, constant}, b[step / 2 % P::asked],
                   step % 2, tile);
        }
      }
      __syncwarp();  // else the compiler asks for so much ahead that registers spill
      const int next = step / 2 + P::asked;
      if (step % 2 == 1 && next + later / 2 < turns) ask(next, state + (next + later / 2) * planes * 32);
    };
#pragma unroll
    for (int turn = 0; turn < P::asked; ++turn) ask(turn, state + turn * planes * 32);
    place_ = stream_;
    mask_ = P::bitmap > 0 ? masks_[0] : 0;
    if (P::format == of_weights_alone) find_halves(0);
#pragma unroll
    for (int f = 0; f < near_ahead; ++f) load_near(f);
#pragma unroll
    for (int step = 0; step < steps - rolled; ++step) multiply_step(step, 0);
#pragma unroll 1
    for (int later = 0; later < rolled; later += 2 * P::asked) {
#pragma unroll
      for (int i = 0; i < 2 * P::asked; ++i) multiply_step(steps - rolled + i, later);
    }
    add_up(sum, t + 1 == run_.times);
  }

 private:
  struct Fragment {
    u32 words[4];
  };
  static constexpr int first_near = P::registers * tiles, nears = (P::shared + P::bitmap) * tiles;
  static constexpr int first_far = first_near + nears, fars = P::l2 * tiles;
  static constexpr int near_ahead = 2;
  // Steps from L2 in a rolled loop, as in the engine of that day: unrolled, the compiler loads them five
  // steps ahead.
  static constexpr int rolled = P::l2 % (2 * P::asked) == 0 ? P::l2 : 0;
  template <class T>
  static constexpr T at_least_one(T size) {
    return size > 0 ? size : 1;
  }

  __device__ __forceinline__ static int warp() { return threadIdx.x / 32; }
  __device__ __forceinline__ static int lane() { return threadIdx.x % 32; }

  // Which fragments are under way is known to the compiler: all loops over them are unrolled.
  __device__ __forceinline__ Fragment fragment(int f) const {
    const u32(&words)[4] = f < first_near  ? held_[f]
                           : f < first_far ? near_[(f - first_near) % near_ahead]
                                           : far_[(f - first_far) % tiles];
    if (P::format == of_weights_alone && f >= first_near + P::shared * tiles && f < first_far) {
      const u32(&by)[4] = selectors_[(f - first_near) % near_ahead];
      return {permuted(words[0], by[0]), permuted(words[1], by[1]), permuted(words[2], by[2]),
              permuted(words[3], by[3])};
    }
    return {words[0], words[1], words[2], words[3]};
  }
  __device__ __forceinline__ void load_next(int f, int later) {
    if (f >= first_far) {
      const int next = f - first_far + tiles;
      const bool is_last =
          f + tiles >= first_far + (rolled > 0 ? 2 * P::asked * tiles : fars) && next + later >= fars;
      load_far(is_last ? next + later - fars : next + later, f);  // the last ones the next timestep's first
    } else if (f >= first_near) {
      load_near(f - first_near + near_ahead);
    }
  }
  __device__ __forceinline__ void load_near(int f) {
    u32(&to)[4] = near_[f % near_ahead];
    if (f < P::shared * tiles) {
      take(shared_[f * threads], to);
    } else if (f < nears && P::format == of_weights_alone) {
      u32(&selectors)[4] = selectors_[f % near_ahead];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const auto [first, second] = next_[i];
        to[2 * i] = load_shared(place_), to[2 * i + 1] = load_shared(place_ + (second >> 16));
        place_ += first >> 16;
        selectors[2 * i] = first, selectors[2 * i + 1] = second;
      }
      if (f + 1 < nears) find_halves(f + 1 - P::shared * tiles);
    } else if (f < nears) {
      const int step = f / tiles - P::shared, tile = f % tiles;
      const u32 mask = mask_;
      if (tile == tiles - 1 && step + 1 < P::bitmap) mask_ = masks_[(step + 1) * threads];
      if (P::format == of_words_spread) {
        // A dot product counts the words before each: no address waits for the one before.
        const u32 stored = mask & 0x01010101u << tile, before = place_;
#pragma unroll
        for (int k = 0; k < 4; ++k)
          to[k] = word_if(mask, bit_of_word<P::format>(tile, k),
                          __dp4a(stored, (0x80u >> tile) * ((1u << 8 * k) / 255), before));
        place_ = __dp4a(stored, (0x80u >> tile) * 0x01010101u, before);
      } else {
#pragma unroll
        for (int k = 0; k < 4; ++k) to[k] = next_word(mask, bit_of_word<P::format>(tile, k), place_);
      }
    }
  }
  // Of the next fragment, ahead of its words, whose places depend on all before.
  __device__ __forceinline__ void find_halves(int fragment) {
#pragma unroll
    for (int i = 0; i < 2; ++i) next_[i] = halves_[mask_ >> (fragment % 4 * 8 + 4 * i) & 15];
    if (fragment % 4 == 3 && fragment / 4 + 1 < P::mask_words) mask_ = masks_[(fragment / 4 + 1) * threads];
  }
  __device__ __forceinline__ void load_far(int f, int place) {
    take(load_l2(l2_ + f * threads), far_[(place - first_far) % tiles]);
  }

  __device__ __forceinline__ static void multiply(float (&sum)[planes][4], const Fragment& a,
                                                  const uint4 (&b)[planes], int half, int tile) {
#pragma unroll
    for (int plane = 0; plane < planes; ++plane) {
      const u32 b0 = half == 0 ? b[plane].x : b[plane].z, b1 = half == 0 ? b[plane].y : b[plane].w;
      if (parts & of_products) {
        multiply_add(sum[plane], a.words, b0, b1);
      } else {
        const auto keep = [&](float& to, u32 v, u32 w) { to = __uint_as_float(__float_as_uint(to) ^ v ^ w); };
        if (plane < 2 && (parts & of_weights))
          keep(sum[0][plane], a.words[2 * plane], a.words[2 * plane + 1]);
        if (tile == 0) keep(sum[plane][2], b0, b1);
      }
    }
  }

  // The sums of all warps, as the engine does it: they meet before sums are left, for the last ones have been
  // read then. Where there is room for those of half of the warps, two of them leave a half each, then each
  // adds its own to the other's.
  __device__ __forceinline__ void add_up(const float (&sum)[tiles][planes][4], bool is_last) const {
    constexpr int all = tiles * planes;
    const auto leave = [&](int first, int end, bool adds) {
      float4* const to = sums_ + warp() % P::sum_buffers * warp_sums + lane();
#pragma unroll
      for (int i = first; i < end; ++i) {
        const float(&s)[4] = sum[i / planes][i % planes];
        float4 v = adds ? to[i * 32] : float4{};
        v.x += s[0], v.y += s[1], v.z += s[2], v.w += s[3];
        to[i * 32] = v;
      }
    };
    const auto leave_half = [&](bool first, bool adds) {
      if (first) {
        leave(0, all / 2, adds);
      } else {
        leave(all / 2, all, adds);
      }
    };
    __syncthreads();
    if (P::sum_buffers == warps) {
      leave(0, all, false);
    } else {
      leave_half(warp() >= warps / 2, false);
      __syncthreads();
      leave_half(warp() < warps / 2, true);
    }
    __syncthreads();
#pragma unroll 1
    for (int i = threadIdx.x; i < warp_sums; i += threads) {
      float4 total = sums_[i];
#pragma unroll
      for (int w = 1; w < P::sum_buffers; ++w) {
        const float4 v = sums_[w * warp_sums + i];
        total.x += v.x, total.y += v.y, total.z += v.z, total.w += v.w;
      }
      asm volatile("" ::"f"(total.x), "f"(total.y), "f"(total.z), "f"(total.w));  // the cell update's
      if (is_last) run_.sums[blockIdx.x * warp_sums + i] = total;
    }
  }

  const Run& run_;
  float4* const sums_;
  const uint4 *const shared_, *const l2_;
  const u32* masks_;
  const Half* halves_ = nullptr;
  u32 stream_ = 0, place_ = 0, mask_ = 0;
  Half next_[2];
  u32 selectors_[near_ahead][4];
  u32 held_[at_least_one(P::registers * tiles)][4], near_[near_ahead][4], far_[tiles][4];
};

template <class P, unsigned parts>
__global__ void __launch_bounds__(threads, 1) product(const __grid_constant__ Run run) {
  extern __shared__ uint4 memory[];
  Product<P, parts> product(run, memory);
#pragma unroll 1
  for (int t = 0; t < run.times; ++t) product.timestep(t);
}

// Bits of a random number of this index.
u64 random_bits(u64 index) {
  u64 z = (index + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}
float in_one(u64 bits) {
  return static_cast<float>(bits >> 40) / static_cast<float>(1 << 23) - 1;
}  // -1 .. 1

// fp16, row by row; none behind the last row.
std::vector<__half> random_weights(double density) {
  std::vector<__half> weights(static_cast<std::size_t>(ctas) * cta_rows * hidden);
  const u64 below = static_cast<u64>(density * 0x1p32);
  for (std::size_t i = 0; i < static_cast<std::size_t>(rows) * hidden; ++i) {
    if (random_bits(2 * i) >> 32 < below)
      weights[i] = __float2half_rn(0.05F * in_one(random_bits(2 * i + 1)));
  }
  return weights;
}
// [buffer][batch entry][unit]
std::vector<__half> random_state() {
  std::vector<__half> state(2 * batch * hidden);
  for (std::size_t i = 0; i < state.size(); ++i)
    state[i] = __float2half_rn(in_one(random_bits((1ULL << 40) + i)));
  return state;
}
u32 pair_of(const __half* from) {
  return __half_as_ushort(from[0]) | static_cast<u32>(__half_as_ushort(from[1])) << 16;
}

// Where lanes have operands A, B and D of mma.m16n8k16. Any order of a step's columns is right if A and B
// have the same: a lane has four neighbouring ones, as the words of the engine's exchange do.
int row_of(int tile, int lane, int word) { return 16 * tile + lane / 4 + 8 * (word % 2); }
int column_of(int warp, int step, int lane, int word) {
  return (warp * steps + step) * 16 + lane % 4 * 4 + word / 2 * 2;
}
int row_of_sum(int i, int part) { return 16 * (i / 32 / planes) + i % 32 / 4 + 8 * (part / 2); }
int entry_of_sum(int i, int part) { return 8 * (i / 32 % planes) + i % 4 * 2 + part % 2; }

std::size_t fragment_at(int cta, int step, int tile, int thread) {
  return 4 * (((static_cast<std::size_t>(cta) * steps + step) * tiles + tile) * threads + thread);
}
// All fragments, dense, four words each: [cta][step][tile][thread].
std::vector<u32> all_fragments(const std::vector<__half>& weights) {
  std::vector<u32> words(fragment_at(ctas, 0, 0, 0));
  for (std::size_t i = 0; i < words.size(); ++i) {
    const int word = i % 4, thread = i / 4 % threads, tile = i / 4 / threads % tiles;
    const int step = i / 4 / threads / tiles % steps, cta = static_cast<int>(i / 4 / threads / tiles / steps);
    const int row = cta * cta_rows + row_of(tile, thread % 32, word);
    words[i] = pair_of(
        &weights[static_cast<std::size_t>(row) * hidden + column_of(thread / 32, step, thread % 32, word)]);
  }
  return words;
}
// Both states, in the order of `state_quads`.
std::vector<u32> packed_state(const std::vector<__half>& state) {
  std::vector<u32> words(2 * 4 * state_quads);
  for (std::size_t i = 0; i < words.size(); ++i) {
    const int word = i % 4, lane = i / 4 % 32, plane = i / 4 / 32 % planes,
              turn = i / 4 / 32 / planes % turns;
    const int warp = i / 4 / 32 / planes / turns % warps, buffer = i / 4 / state_quads;
    const int column = column_of(warp, 2 * turn + word / 2, lane, word % 2 * 2);
    words[i] = pair_of(&state[(buffer * batch + 8 * plane + lane / 4) * hidden + column]);
  }
  return words;
}

// What a plan's kernel reads: see Run.
struct Packed {
  std::vector<u32> registers, shared, l2;
  std::vector<int> streams;
  int shared_words;
};
// A lane's words of fragment `f` of the bitmap, into its masks, a word every `threads`, and its stream.
template <Format format>
void store(const u32* words, int f, u32* masks, std::vector<u32>& stream) {
  if constexpr (format != of_weights_alone) {
    for (int k = 0; k < 4; ++k) {
      if (words[k] == 0) continue;
      masks[f / tiles * threads] |= bit_of_word<format>(f % tiles, k);
      stream.push_back(words[k]);
    }
  } else {
    for (int i = 0; i < 2; ++i) {
      const auto weight = [&](int k) { return words[2 * i + k / 2] >> 16 * (k % 2) & 0xFFFF; };
      u32 mask = 0, stored[2] = {};
      for (int k = 0; k < 4; ++k) mask |= (weight(k) != 0 ? 1u : 0u) << k;
      for (int k = 0; k < 4; ++k) {
        const int place = place_of_weight(mask, k);
        if (weight(k) != 0) stored[place / 2] |= weight(k) << 16 * (place % 2);
      }
      masks[f / 4 * threads] |= mask << (f % 4 * 8 + 4 * i);
      stream.insert(stream.end(), stored, stored + (half_of_mask(mask).first >> 16) / 128);
    }
  }
}

template <class P>
Packed packed(const std::vector<u32>& fragments) {
  const auto some = [&](std::vector<u32>& to, int cta, int first, int count) {
    const u32* const all = fragments.data();
    to.insert(to.end(), all + fragment_at(cta, first, 0, 0), all + fragment_at(cta, first + count, 0, 0));
  };
  constexpr int first_bitmap = P::registers + P::shared;
  Packed all;
  std::vector<std::vector<u32>> shared(ctas);
  for (int cta = 0; cta < ctas; ++cta) {
    some(all.registers, cta, 0, P::registers);
    some(shared[cta], cta, P::registers, P::shared);
    some(all.l2, cta, first_bitmap + P::bitmap, P::l2);
    std::vector<u32> masks(P::mask_words * threads), streams;
    for (int warp = 0; warp < warps; ++warp) {
      std::vector<u32> of_lane[32];
      std::size_t longest = 0;
      for (int lane = 0; lane < 32; ++lane) {
        const int thread = 32 * warp + lane;
        for (int f = 0; f < P::bitmap * tiles; ++f) {
          store<P::format>(&fragments[fragment_at(cta, first_bitmap + f / tiles, f % tiles, thread)], f,
                           &masks[thread], of_lane[lane]);
        }
        longest = std::max(longest, of_lane[lane].size());
      }
      all.streams.push_back(static_cast<int>(streams.size()));
      for (std::size_t i = 0; i < longest * 32; ++i)
        streams.push_back(i / 32 < of_lane[i % 32].size() ? of_lane[i % 32][i / 32] : 0);
    }
    if (P::format == of_weights_alone)
      streams.resize(streams.size() + 32);  // a half without weights reads there
    shared[cta].insert(shared[cta].end(), masks.begin(), masks.end());
    shared[cta].insert(shared[cta].end(), streams.begin(), streams.end());
  }
  std::size_t most = 0;
  for (const auto& one : shared) most = std::max(most, one.size());
  for (auto& one : shared) {
    one.resize(most);
    all.shared.insert(all.shared.end(), one.begin(), one.end());
  }
  all.shared_words = static_cast<int>(most);
  return all;
}
template <class P>
int shared_bytes(const Packed& weights) {
  return 16 * P::sum_buffers * warp_sums + 4 * weights.shared_words;
}

// As the kernel expands them: throws unless every fragment is as it was.
template <class P>
void check_bitmap(const Packed& weights, const std::vector<u32>& fragments) {
  for (int cta = 0; cta < ctas; ++cta) {
    const u32* const masks = &weights.shared[static_cast<std::size_t>(cta) * weights.shared_words] +
                             P::shared * tiles * threads * 4;
    const u32* const streams = masks + P::mask_words * threads;
    for (int thread = 0; thread < threads; ++thread) {
      const u32* place = streams + weights.streams[cta * warps + thread / 32] + thread % 32;
      for (int f = 0; f < P::bitmap * tiles; ++f) {
        const u32* const right =
            &fragments[fragment_at(cta, P::registers + P::shared + f / tiles, f % tiles, thread)];
        u32 words[4];
        const auto mask = [&](int word) { return masks[word * threads + thread]; };
        if constexpr (P::format == of_weights_alone) {
          for (int i = 0; i < 2; ++i) {
            const Half half = half_of_mask(mask(f / 4) >> (f % 4 * 8 + 4 * i) & 15);
            words[2 * i] = permuted(place[0], half.first);
            words[2 * i + 1] = permuted(place[(half.second >> 16) / 4], half.second);
            place += (half.first >> 16) / 4;
          }
        } else {
          for (int k = 0; k < 4; ++k) {
            const bool is_stored = (mask(f / tiles) & bit_of_word<P::format>(f % tiles, k)) != 0;
            words[k] = is_stored ? *place : 0;
            place += is_stored ? 32 : 0;
          }
        }
        if (!std::equal(words, words + 4, right))
          throw std::runtime_error("a fragment is not what its mask and its words make");
      }
    }
  }
}

struct Right {
  double sum = 0, magnitude = 0;  // of |weight| |state|
};
Right reference(const std::vector<__half>& weights, const std::vector<__half>& state, int row, int entry) {
  Right right;
  for (int column = 0; column < hidden; ++column) {
    const double w = __half2float(weights[static_cast<std::size_t>(row) * hidden + column]);
    const double h = __half2float(state[entry * hidden + column]);
    right.sum += w * h, right.magnitude += std::fabs(w * h);
  }
  return right;
}
double half_of(u32 word, int half) { return __half2float(__ushort_as_half(word >> 16 * half & 0xFFFF)); }

// The sum that a CTA's fragments and the packed state make, by the places that mma.m16n8k16 has for its
// operands: column k of A is in word k / 8 * 2 of lanes with lane % 4 == k % 8 / 2.
double sum_of_fragments(const std::vector<u32>& fragments, const std::vector<u32>& state, int cta, int i,
                        int part) {
  const int tile = i / 32 / planes, plane = i / 32 % planes, lane = i % 32;
  double sum = 0;
  for (int warp = 0; warp < warps; ++warp) {
    for (int step = 0; step < steps; ++step) {
      for (int k = 0; k < 16; ++k) {
        const int a_lane = lane / 4 * 4 + k % 8 / 2, b_lane = (lane % 4 * 2 + part % 2) * 4 + k % 8 / 2;
        const u32 a = fragments[fragment_at(cta, step, tile, 32 * warp + a_lane) + part / 2 + k / 8 * 2];
        const u32 b =
            state[4 * (((warp * turns + step / 2) * planes + plane) * 32 + b_lane) + step % 2 * 2 + k / 8];
        sum += half_of(a, k % 2) * half_of(b, k % 2);
      }
    }
  }
  return sum;
}

std::vector<uint4> quads(const std::vector<u32>& words) {
  std::vector<uint4> result(std::max<std::size_t>(1, words.size() / 4));
  for (std::size_t i = 0; i < words.size() / 4; ++i)
    result[i] = {words[4 * i], words[4 * i + 1], words[4 * i + 2], words[4 * i + 3]};
  return result;
}

struct Matrix {
  std::vector<__half> weights, state;
  std::vector<u32> fragments, state_words;
  explicit Matrix(double density)
      : weights(random_weights(density)),
        state(random_state()),
        fragments(all_fragments(weights)),
        state_words(packed_state(state)) {
    for (int i = 0; i < warp_sums; i += 13) {
      const int cta = i % ctas, row = cta * cta_rows + row_of_sum(i, i % 4);
      const Right right = reference(weights, state, row, entry_of_sum(i, i % 4));
      if (std::fabs(sum_of_fragments(fragments, state_words, cta, i, i % 4) - right.sum) >
          1e-9 * right.magnitude)
        throw std::runtime_error("the fragments are not those of the matrix");
    }
  }
};

// One plan on the GPU.
template <class P>
class Layer {
 public:
  Layer(const Packed& weights, const Matrix& matrix)
      : registers_(quads(weights.registers)),
        shared_(quads(weights.shared)),
        l2_(quads(weights.l2)),
        state_(quads(matrix.state_words)),
        streams_(weights.streams),
        sums_(ctas * warp_sums),
        shared_quads_(weights.shared_words / 4),
        shared_bytes_(shared_bytes<P>(weights)) {}

  template <unsigned parts>
  float milliseconds(int times) {
    check(cudaFuncSetAttribute(product<P, parts>, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes_),
          "shared memory");
    const Run run{registers_.data(), l2_.data(),   shared_.data(), streams_.data(),
                  state_.data(),     sums_.data(), shared_quads_,  times};
    stopwatch_.start();
    product<P, parts><<<ctas, threads, shared_bytes_>>>(run);
    check(cudaGetLastError(), "launch");
    check(stopwatch_.stop(), "the kernel");
    return stopwatch_.milliseconds();
  }
  template <unsigned parts>
  double time() {
    milliseconds<parts>(short_times);
    return microseconds_a_timestep(short_times, long_times,
                                   [&](int times) { return milliseconds<parts>(times); });
  }

  // The largest difference of a sum, relative to what its bound is relative to.
  double error(const Matrix& matrix, const std::vector<std::vector<Right>>& right, int times) {
    sums_.clear();
    milliseconds<all_parts>(times);
    const std::vector<float4> sums = sums_.host();
    double largest = 0;
    for (int cta = 0; cta < ctas; ++cta) {
      for (int i = 0; i < 4 * warp_sums; ++i) {
        const int row = cta * cta_rows + row_of_sum(i / 4, i % 4), entry = entry_of_sum(i / 4, i % 4);
        if (row >= rows || row % checked_row_step != 0) continue;
        const Right& r = right[(times - 1) % 2][row / checked_row_step * batch + entry];
        const float4 v = sums[cta * warp_sums + i / 4];
        const double is = i % 4 == 0 ? v.x : i % 4 == 1 ? v.y : i % 4 == 2 ? v.z : v.w;
        largest = std::isfinite(is) ? std::max(largest, std::fabs(is - r.sum) / r.magnitude) : INFINITY;
        if (!std::isfinite(largest)) return largest;
      }
    }
    return largest;
  }

 private:
  DeviceArray<uint4> registers_, shared_, l2_, state_;
  DeviceArray<int> streams_;
  DeviceArray<float4> sums_;
  int shared_quads_, shared_bytes_;
  Stopwatch stopwatch_;
};

template <class P>
Packed packed_and_checked(const Matrix& matrix, const char* name) {
  Packed weights = packed<P>(matrix.fragments);
  check_bitmap<P>(weights, matrix.fragments);
  std::printf(
      "%s: of %d steps %d in registers, %d dense and %d as bitmap in shared memory, %d from L2; %d bytes of "
      "%d\n",
      name, steps, P::registers, P::shared, P::bitmap, P::l2, shared_bytes<P>(weights), shared_room);
  return weights;
}

// Prints the lines of one plan; whether its results are right.
template <class P>
bool run_plan(const char* name, const Packed& weights, const Matrix& matrix,
              const std::vector<std::vector<Right>>& right) {
  std::printf("%s\n", name);
  if (shared_bytes<P>(weights) > shared_room) {
    std::printf("  skipped: no room in shared memory\n");
    return true;
  }
  Layer<P> layer(weights, matrix);
  cudaFuncAttributes kernel{};
  check(cudaFuncGetAttributes(&kernel, product<P, all_parts>), "cudaFuncGetAttributes");
  const double error = std::max(layer.error(matrix, right, 3), layer.error(matrix, right, 4));
  const bool is_right = error < error_bound;
  std::printf("  %d registers, %d bytes spilled; error %.1e of the sum of |w| |h| (bound %.0e): %s\n",
              kernel.numRegs, static_cast<int>(kernel.localSizeBytes), error, error_bound,
              is_right ? "right" : "WRONG");
  const auto print = [](const char* what, double us) {
    std::printf("  %-36s %6.3f us a timestep\n", what, us);
    std::fflush(stdout);
  };
  print("whole", layer.template time<all_parts>());
  print("no products*", layer.template time<of_state | of_weights>());
  print("no weights*", layer.template time<of_state | of_products>());
  print("no state*", layer.template time<of_weights | of_products>());
  print("weights only*", layer.template time<of_weights>());
  print("products only*", layer.template time<of_products>());
  print("state only*", layer.template time<of_state>());
  return is_right;
}

double density = 0.3;

int run() {
  const Matrix matrix(density);
  std::printf("LSTM %d, batch %d, %.3g of the weights\n", hidden, batch, density);
  const Packed dense = packed_and_checked<Dense>(matrix, "dense");
  const Packed on_chip = packed_and_checked<DenseOnChip>(matrix, "dense, more on chip");
  const Packed words = packed_and_checked<Words>(matrix, "bitmap of words");
  const Packed spread = packed_and_checked<WordsSpread>(matrix, "bitmap of words, spread");
  const Packed alone = packed_and_checked<Weights>(matrix, "bitmap of weights");
  std::printf("the host expands all fragments as they were\n");
  const std::optional<cudaDeviceProp> device = gpu_with_clusters();
  if (!device) return 2;
  std::printf("%s, %d SMs (*: leaves out parts, results not checked)\n", device->name,
              device->multiProcessorCount);
  std::vector<std::vector<Right>> right(2);
  for (int buffer = 0; buffer < 2; ++buffer) {
    for (int row = 0; row < rows; row += checked_row_step) {
      for (int entry = 0; entry < batch; ++entry)
        right[buffer].push_back(reference(matrix.weights, matrix.state, row, buffer * batch + entry));
    }
  }
  const bool results[] = {run_plan<Dense>("dense", dense, matrix, right),
                          run_plan<DenseOnChip>("dense, more on chip", on_chip, matrix, right),
                          run_plan<Words>("bitmap of words", words, matrix, right),
                          run_plan<WordsSpread>("bitmap of words, spread", spread, matrix, right),
                          run_plan<Weights>("bitmap of weights", alone, matrix, right)};
  return std::count(std::begin(results), std::end(results), false) > 0 ? 1 : 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count > 1) density = std::atof(arguments[1]);
  return exit_status(run);
}
