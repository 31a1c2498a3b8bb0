// The kernels of the rung: one CTA's part of the product, from weights in registers, dense or as a bitmap in
// shared memory, and from L2, with the sums of its warps. Nobody waits for another CTA.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

using u32 = std::uint32_t;
using u64 = std::uint64_t;

constexpr int hidden = 2304, batch = 32, rows = 4 * hidden;
constexpr int ctas = 116, warps = 8, threads = 32 * warps;
constexpr int tiles = 5, planes = batch / 8;                       // a warp has all tiles of its CTA's rows
constexpr int cta_rows = 16 * tiles, steps = hidden / 16 / warps;  // and so many times 16 columns
constexpr int turns = steps / 2;                                   // a load of the state is of two steps
constexpr int warp_sums = tiles * planes * 32;                     // in float4: [tile][plane][lane]
constexpr int state_quads = warps * turns * planes * 32;           // in uint4: [warp][turn][plane][lane]
constexpr int shared_room = 227 * 1024 - 128;                      // less the table of halves

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
