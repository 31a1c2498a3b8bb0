// What products on tensor cores share: the weights of a CTA as fragments of operand A, where they live, and the sums
// that warps leave in shared memory. `M` is the matrix of plan.cuh; plan/mma_layout.hpp says how fragments lie.
#pragma once

#include "arguments.cuh"
#include "plan.cuh"
#include "types.cuh"

__device__ __forceinline__ void multiply_add(float (&sum)[4], const u32 (&weights)[4], const u32 (&state)[2]) {
  if constexpr (Element::is_fp16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "r"(state[0]), "r"(state[1]));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "r"(state[0]), "r"(state[1]));
  }
}

// Of 32 columns' weights, two of each four neighbouring ones. `index`: which; half of the lanes have that of a tile, with
// `odd` the other half. `state`: operand B of mma.m16n8k32.
#if __CUDACC_VER_MAJOR__ * 100 + __CUDACC_VER_MINOR__ >= 1205
#define MULTIPLY_SPARSE "mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32."
#else
#define MULTIPLY_SPARSE "mma.sp.sync.aligned.m16n8k32.row.col.f32."
#endif
#define MULTIPLY_ADD(types, selector)                                                                         \
  asm(MULTIPLY_SPARSE types " {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9, %10, %11}, {%0, %1, %2, %3}, %12, " selector ";" \
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])                                                \
      : "r"(weights[0]), "r"(weights[1]), "r"(weights[2]), "r"(weights[3]), "r"(state[0]), "r"(state[1]), "r"(state[2]), \
        "r"(state[3]), "r"(index))
template <bool odd>
__device__ __forceinline__ void multiply_add_sparse(float (&sum)[4], const u32 (&weights)[4], u32 index, const u32 (&state)[4]) {
  if constexpr (Element::is_fp16 && odd) MULTIPLY_ADD("f16.f16.f32", "1");
  if constexpr (Element::is_fp16 && !odd) MULTIPLY_ADD("f16.f16.f32", "0");
  if constexpr (!Element::is_fp16 && odd) MULTIPLY_ADD("bf16.bf16.f32", "1");
  if constexpr (!Element::is_fp16 && !odd) MULTIPLY_ADD("bf16.bf16.f32", "0");
}
#undef MULTIPLY_ADD
#undef MULTIPLY_SPARSE

// Of weights that come anew each timestep and are too many for the L2, which would drop each before it is read again: it is
// asked to keep some, and to let the others pass. LSTM 4096, 34 of 96 MB kept: 28.4 us a timestep instead of 34.1.
__device__ __forceinline__ uint4 load_streamed_128(const uint4* p, bool keep) {
  u64 last, first;
  asm("createpolicy.fractional.L2::evict_last.b64 %0, 1.0;" : "=l"(last));
  asm("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(first));
  uint4 v;
  asm("ld.global.L1::no_allocate.L2::cache_hint.v4.u32 {%0, %1, %2, %3}, [%4], %5;"
      : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
      : "l"(p), "l"(keep ? last : first));
  return v;
}

// A warp has M::tiles of a CTA's tiles and the columns of one of M::column_warps; with two row parts the first half of
// the warps has the first half of the tiles.
template <class M>
__device__ __forceinline__ int column_warp() {
  return threadIdx.x / 32 % M::column_warps;
}
template <class M>
__device__ __forceinline__ int first_tile() {
  return M::row_parts == 1 ? 0 : threadIdx.x / 32 / M::column_warps * M::tiles;
}

template <class M>
class Fragments {
 public:
  static constexpr int planes = M::Image::planes;  // of 8 batch entries each
  using Sums = float[M::tiles][planes][4];

  // Fragments of a place: [step][tile][thread] 4 words, then which columns they are of, [step][word][thread].
  struct Block {
    const u32* words;
    int steps;
    __device__ __forceinline__ const uint4* fragment(int step, int tile) const {
      return reinterpret_cast<const uint4*>(words) + threadIdx.x + static_cast<i64>(step) * (M::tiles * THREADS) + tile * THREADS;
    }
    // Of two tiles a word.
    __device__ __forceinline__ const u32* index(int step, int word) const {
      return words + steps * M::tiles * 4 * THREADS + (step * M::index_words + word) * THREADS + threadIdx.x;
    }
  };

  // `shared_weights`: room for M::shared_block_words words.
  __device__ __forceinline__ Fragments(const MatrixArrays& arrays, int cta, unsigned char* shared_weights)
      : arrays_(arrays), cta_(cta), shared_weights_(reinterpret_cast<const u32*>(shared_weights)) {
    const Block block = held_block();
#pragma unroll
    for (int i = 0; i < M::register_steps * M::tiles; ++i) take(*block.fragment(i / M::tiles, i % M::tiles), held_[i]);
    const u32* const more = arrays.shared + static_cast<i64>(cta) * M::shared_block_words;
    for (int i = threadIdx.x; i < M::shared_block_words; i += THREADS) reinterpret_cast<u32*>(shared_weights)[i] = more[i];
  }

  __device__ __forceinline__ static void take(uint4 v, u32 (&words)[4]) {
    words[0] = v.x, words[1] = v.y, words[2] = v.z, words[3] = v.w;
  }
  __device__ __forceinline__ Block held_block() const {  // in global memory
    return {arrays_.registers + static_cast<i64>(cta_) * M::register_block_words, M::register_steps};
  }
  __device__ __forceinline__ const u32 (&held(int step, int tile) const)[4] { return held_[step * M::tiles + tile]; }
  __device__ __forceinline__ Block shared() const { return {shared_weights_, M::shared_steps}; }
  __device__ __forceinline__ Block l2() const { return {arrays_.l2 + static_cast<i64>(cta_) * M::l2_block_words, M::l2_steps}; }

  // All weights are in global memory too. `step` becomes one of the block; `cta` is `opaque_cta()`.
  __device__ __forceinline__ Block stored(int& step, int cta) const {
    if (step < M::register_steps) return {arrays_.registers + static_cast<i64>(cta) * M::register_block_words, M::register_steps};
    step -= M::register_steps;
    if (step < M::shared_steps) return {arrays_.shared + static_cast<i64>(cta) * M::shared_block_words, M::shared_steps};
    step -= M::shared_steps;
    return {arrays_.l2 + static_cast<i64>(cta) * M::l2_block_words, M::l2_steps};
  }
  // Else the compiler keeps what the rare product needs ready through all timesteps.
  __device__ __forceinline__ int opaque_cta() const {
    int cta = cta_;
    asm volatile("" : "+r"(cta));
    return cta;
  }

 private:
  const MatrixArrays& arrays_;
  int cta_;
  const u32* shared_weights_;
  u32 held_[at_least_one(M::register_steps * M::tiles)][4];
};

// Sums of a CTA in shared memory: [set][batch entry of the group][row of its tiles]. A column warp has a set of its own, or
// shares one with that half of them further on.
template <class M>
struct WarpSums {
  static constexpr int bytes = M::sum_sets * 4 * M::sum_words;
  static constexpr bool shared_sets = M::sum_sets < M::column_warps;
  using Sums = typename Fragments<M>::Sums;

  // This warp's. With shared sets by all warps: each of two leaves half of its sums, then adds the others to the other's.
  __device__ __forceinline__ static void leave(const Sums& sum, u32 sums) {
    const u32 own = of_warp(sums);
    const auto store = [&](u32 place, int tile, int plane, int i) { store_shared(own + place, sum[tile][plane][i]); };
    if constexpr (!shared_sets) {
      for_each<0, all>(store);
    } else {
      const bool second = column_warp<M>() >= M::sum_sets;
      if (second) {
        for_each<0, all / 2>(store);
      } else {
        for_each<all / 2, all>(store);
      }
      __syncthreads();
      if (second) {
        add<all / 2, all>(sum, own);
      } else {
        add<0, all / 2>(sum, own);
      }
    }
  }
  // Of a tile and one batch entry: lanes 4 * row have the sums of rows `row` and `row` + 8. Added to the set if it is shared.
  __device__ __forceinline__ static void leave(float low, float high, int tile, int b, u32 sums) {
    const int lane = threadIdx.x % 32, row = (first_tile<M>() + tile) * 16 + lane / 4;
    if (lane % 4 != 0) return;
    const u32 to = of_warp(sums) + of_entry(b) + 4 * row;
    const auto leave_one = [](u32 to, float sum) { store_shared(to, shared_sets ? load_shared(to) + sum : sum); };
    if (row < M::sum_rows) leave_one(to, low);
    if (row + 8 < M::sum_rows) leave_one(to + 32, high);
  }
  __device__ __forceinline__ static u32 of_warp(u32 sums) { return sums + column_warp<M>() % M::sum_sets * set_bytes; }

  // Where a unit's sums of a batch entry begin, one a gate: bytes behind the first.
  __device__ __forceinline__ static u32 place(int unit, int b) {
    const int row = unit * GATES;
    return of_entry(b) + 4 * (row / M::rows_a_tile * 16 + row % M::rows_a_tile);
  }
  __device__ __forceinline__ static void add(u32 sums, u32 place, float (&total)[GATES]) {
    constexpr int sets = M::sum_sets;
    float parts[sets][GATES];
#pragma unroll
    for (int w = 0; w < sets; ++w) {
      const u32 from = sums + place + w * set_bytes;
      if constexpr (GATES == 4) {
        const float4 v = load_shared_4(from);
        parts[w][0] = v.x, parts[w][1] = v.y, parts[w][2] = v.z, parts[w][3] = v.w;
      } else {
#pragma unroll
        for (int g = 0; g < GATES; ++g) parts[w][g] = load_shared(from + 4 * g);
      }
    }
#pragma unroll
    for (int g = 0; g < GATES; ++g) {
      total[g] = parts[0][g];
#pragma unroll
      for (int w = 1; w < sets; ++w) total[g] += parts[w][g];
    }
  }

 private:
  static constexpr u32 set_bytes = 4 * M::sum_words;
  static constexpr int planes = Fragments<M>::planes, all = M::tiles * planes;
  __device__ __forceinline__ static u32 of_entry(int b) { return 4 * (b * M::sum_pitch + b / 2 * M::sum_gap); }

  // All loads first: each would wait for the store before it.
  template <int first, int end>
  __device__ __forceinline__ static void add(const Sums& sum, u32 own) {
    Sums others = {};
    for_each<first, end>([&](u32 place, int tile, int plane, int i) { others[tile][plane][i] = load_shared(own + place); });
    for_each<first, end>([&](u32 place, int tile, int plane, int i) {
      store_shared(own + place, others[tile][plane][i] + sum[tile][plane][i]);
    });
  }
  // Tile by tile, plane by plane, from `first` on: where sums lie in a set; [tile][plane][i] as operand D of mma.m16n8k16
  // has them.
  template <int first, int end, class Use>
  __device__ __forceinline__ static void for_each(Use&& use) {
    const int row = threadIdx.x % 32 / 4 + first_tile<M>() * 16, entry = threadIdx.x % 4 * 2;
#pragma unroll
    for (int n = first; n < end; ++n) {
      const int tile = n / planes, plane = n % planes;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int b = plane * 8 + entry + i % 2, r = tile * 16 + i / 2 * 8 + row;
        if (b < GROUP_BATCH && r < M::sum_rows) use(of_entry(b) + 4 * r, tile, plane, i);
      }
    }
  }
};

// A NaN or an infinity goes along stored weights only, and a tensor core would multiply it by the others' zeros: adds
// half `half` of a word of a fragment, unless it is none.
__device__ __forceinline__ void add_stored(float& sum, u32 two, int half, float h) {
  const u32 bits = half == 0 ? two & 0xFFFF : two >> 16;
  if (bits != 0) sum = fmaf(Element::decode(bits), h, sum);
}
// Which is known at run time only.
__device__ __forceinline__ float entry_of_four(const u32 (&state)[2], u32 entry) {
  const u32 two[] = {entry < 2 ? state[0] : state[1]};
  return entry % 2 == 0 ? entry_of<Element>(two, 0) : entry_of<Element>(two, 1);
}
// Over the four lanes that share rows.
__device__ __forceinline__ float sum_of_columns(float sum) {
#pragma unroll
  for (int offset = 1; offset < 4; offset *= 2) sum += __shfl_xor_sync(~0u, sum, offset);
  return sum;
}
