// Rung: one persistent kernel runs all timesteps of a layer from the bytes that strategy gather packs; fp16,
// bounded cells, one word of h wide enough for a group's batch. main.cpp sets the upper-case constants from the
// plan, compiles this with NVRTC, checks it and times it; lab/README.md has prediction and result.
//
// A timestep: wait for h(t) in the ring -> stage it in shared memory -> every lane sums its slots -> the lanes of
// a row meet by shuffles -> the thread of a (unit, batch entry) updates its cell and publishes h(t+1).

using u16 = unsigned short;
using u32 = unsigned int;
using u64 = unsigned long long;

struct Arguments {
  const u32* registers;     // [cta][slot][thread]
  const uint4* shared;      // [cta][quad][thread]
  const uint4* l2;          // [cta][quad][thread]
  const int* row_map;       // [cta][pass][row group]
  const int* unit_map;      // [cta][unit]
  const float* projection;  // [step][cta][unit][batch entry][gate], W_ih x + b_ih (+ b_hh where it adds)
  const float* bias;        // [cta][unit], b_hh of a gru's n
  u16* y;                   // [step][batch entry][H]
  u64* ring;                // [2][group][cta][word]
  u32* status;              // 0, or 1 + the timestep that was given up
  long long steps;
};

constexpr int ENTRIES = UNITS_A_CTA * GROUP_BATCH;  // of a CTA's slice of h
constexpr int WORDS = (ENTRIES + 7) / 8 * 2;        // 64-bit words of a slice, for 128-bit polls
constexpr int POLLS = CTAS * WORDS / 2;             // 128-bit polls of a group
constexpr int POLLS_A_THREAD = (POLLS + THREADS - 1) / THREADS;
constexpr int ENTRIES_A_THREAD = (4 * WORDS + THREADS - 1) / THREADS;  // the words are filled up with zeros
constexpr int ROW_GROUPS = THREADS / LANES;
constexpr int HALVES = (WORD_BYTES + 3) / 4;  // registers of two halves a word
constexpr u64 STAMP = 1ull << 14;             // top exponent bit of the first half: never set while |h| < 2

extern __shared__ __align__(16) unsigned char memory[];

__device__ __forceinline__ u32 stamp_of(long long t) { return static_cast<u32>((t + 1) >> 1) & 1u; }

__device__ __forceinline__ uint4 load_relaxed(const u64* p) {
  uint4 v;
  asm volatile("ld.relaxed.gpu.global.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
  return v;
}

__device__ __forceinline__ void store_relaxed(u64* p, u64 v) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}

__device__ __forceinline__ float half_low(u32 pair) {
  float f;
  asm("{.reg .b16 a, b; mov.b32 {a, b}, %1; cvt.f32.f16 %0, a;}" : "=f"(f) : "r"(pair));
  return f;
}
__device__ __forceinline__ float half_high(u32 pair) {
  float f;
  asm("{.reg .b16 a, b; mov.b32 {a, b}, %1; cvt.f32.f16 %0, b;}" : "=f"(f) : "r"(pair));
  return f;
}
__device__ __forceinline__ u16 to_half(float f) {
  u16 h;
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(f));
  return h;
}

__device__ __forceinline__ float sigmoid(float x) { return __fdividef(1.0f, 1.0f + __expf(-x)); }
__device__ __forceinline__ float hyperbolic_tangent(float x) {
  // 1 - 2 / (e^2x + 1): right at both ends, and within 1e-6 of tanh.
  return 1.0f - __fdividef(2.0f, __expf(2.0f * x) + 1.0f);
}

// One pair: the value times a word of h, added to half-precision sums.
__device__ __forceinline__ void multiply_add(u32 pair, const unsigned char* image, u32 (&half)[HALVES]) {
  u32 value;
  asm("prmt.b32 %0, %1, %1, 0x1010;" : "=r"(value) : "r"(pair));
  const unsigned char* at = image + (pair >> 16) * OFFSET_UNIT;
  u32 word[HALVES];
  if constexpr (WORD_BYTES == 2) {
    word[0] = *reinterpret_cast<const u16*>(at);
  } else if constexpr (WORD_BYTES == 4) {
    word[0] = *reinterpret_cast<const u32*>(at);
  } else if constexpr (WORD_BYTES == 8) {
    const uint2 v = *reinterpret_cast<const uint2*>(at);
    word[0] = v.x, word[1] = v.y;
  } else {
    const uint4 v = *reinterpret_cast<const uint4*>(at);
    word[0] = v.x, word[1] = v.y, word[2] = v.z, word[3] = v.w;
  }
#pragma unroll
  for (int i = 0; i < HALVES; ++i) {
    asm("fma.rn.f16x2 %0, %1, %2, %0;" : "+r"(half[i]) : "r"(value), "r"(word[i]));
  }
}

__device__ __forceinline__ void add_halves(u32 (&half)[HALVES], float (&sum)[GROUP_BATCH]) {
#pragma unroll
  for (int i = 0; i < HALVES; ++i) {
    sum[2 * i] += half_low(half[i]);
    if constexpr (GROUP_BATCH > 1) sum[2 * i + 1] += half_high(half[i]);
    half[i] = 0;
  }
}

// The rows of pass P: registers, then shared memory, then L2, four slots to a sum in half precision.
// A template, since a loop over passes would index the pairs by variables and put them in local memory.
template <int P>
__device__ __forceinline__ void sum_pass(const u32* pairs, const uint4* shared_pairs, const uint4* l2_pairs,
                                         const unsigned char* image, float* sums, int row) {
  float sum[GROUP_BATCH] = {};
  u32 half[HALVES] = {};
#pragma unroll
  for (int s = 0; s < REGISTER_COUNT[P]; ++s) {
    multiply_add(pairs[REGISTER_FIRST[P] + s], image, half);
    if (s % 4 == 3 || s == REGISTER_COUNT[P] - 1) add_halves(half, sum);
  }
  const auto quad_from = [&](uint4 quad) {
    multiply_add(quad.x, image, half);
    multiply_add(quad.y, image, half);
    multiply_add(quad.z, image, half);
    multiply_add(quad.w, image, half);
    add_halves(half, sum);
  };
#pragma unroll 4
  for (int q = 0; q < SHARED_COUNT[P]; ++q) quad_from(shared_pairs[(SHARED_FIRST[P] + q) * THREADS + threadIdx.x]);
#pragma unroll 4
  for (int q = 0; q < L2_COUNT[P]; ++q) quad_from(__ldcg(l2_pairs + (L2_FIRST[P] + q) * THREADS));
#pragma unroll
  for (int offset = LANES / 2; offset > 0; offset /= 2) {
#pragma unroll
    for (int b = 0; b < GROUP_BATCH; ++b) sum[b] += __shfl_xor_sync(~0u, sum[b], offset);
  }
  if (threadIdx.x % LANES == 0 && row >= 0) {
#pragma unroll
    for (int b = 0; b < GROUP_BATCH; ++b) sums[row * GROUP_BATCH + b] = sum[b];
  }
}

template <int P>
__device__ __forceinline__ void sum_passes(const u32 (&pairs)[REGISTER_SLOTS > 0 ? REGISTER_SLOTS : 1],
                                           const uint4* shared_pairs, const uint4* l2_pairs,
                                           const unsigned char* image, float* sums, const int (&rows)[PASSES]) {
  if constexpr (P < PASSES) {
    sum_pass<P>(pairs, shared_pairs, l2_pairs, image, sums, rows[P]);
    sum_passes<P + 1>(pairs, shared_pairs, l2_pairs, image, sums, rows);
  }
}

extern "C" __global__ void __launch_bounds__(THREADS, 1) gather_step(const Arguments a) {
  unsigned char* const image = memory;                                        // [position][GROUP_BATCH]
  float* const sums = reinterpret_cast<float*>(memory + IMAGE_BYTES);         // [row][GROUP_BATCH]
  uint4* const shared_pairs = reinterpret_cast<uint4*>(memory + PAIRS_AT);    // [quad][thread]
  const int thread = threadIdx.x;
  const int cta = blockIdx.x % CTAS;
  const int group = blockIdx.x / CTAS;

  u32 pairs[REGISTER_SLOTS > 0 ? REGISTER_SLOTS : 1];
#pragma unroll
  for (int s = 0; s < REGISTER_SLOTS; ++s) pairs[s] = a.registers[(cta * REGISTER_SLOTS + s) * THREADS + thread];
  for (int q = 0; q < SHARED_QUADS; ++q) {
    shared_pairs[q * THREADS + thread] = a.shared[(cta * SHARED_QUADS + q) * THREADS + thread];
  }
  const uint4* const l2_pairs = a.l2 + cta * L2_QUADS * THREADS + thread;
  int rows[PASSES];
#pragma unroll
  for (int p = 0; p < PASSES; ++p) rows[p] = a.row_map[(cta * PASSES + p) * ROW_GROUPS + thread / LANES];
  int units[ENTRIES_A_THREAD];
  float c[ENTRIES_A_THREAD], h[ENTRIES_A_THREAD], bias[ENTRIES_A_THREAD];
#pragma unroll
  for (int i = 0; i < ENTRIES_A_THREAD; ++i) {
    const int entry = thread + i * THREADS;
    units[i] = entry < ENTRIES ? a.unit_map[cta * UNITS_A_CTA + entry / GROUP_BATCH] : -1;
    c[i] = h[i] = 0.0f;
    bias[i] = GATES == 3 && units[i] >= 0 ? a.bias[cta * UNITS_A_CTA + entry / GROUP_BATCH] : 0.0f;
  }
  for (int i = thread; i < IMAGE_BYTES / 4; i += THREADS) reinterpret_cast<u32*>(image)[i] = 0;
  __syncthreads();

  // Timestep t of y, which has its own order of units: scattered two-byte stores.
  u16 out_h[ENTRIES_A_THREAD] = {};
  const auto store_y = [&](long long t, int i) {
    const int entry = thread + i * THREADS;
    if (WITHOUT_Y || units[i] < 0) return;
    a.y[((t * GROUPS + group) * GROUP_BATCH + entry % GROUP_BATCH) * HIDDEN + units[i]] = out_h[i];
  };

  for (long long t = 0; t < a.steps; ++t) {
    // Loaded a step's product ahead of their use.
    float x[ENTRIES_A_THREAD][GATES];
#pragma unroll
    for (int i = 0; i < ENTRIES_A_THREAD; ++i) {
      const int entry = thread + i * THREADS;
      if (entry >= ENTRIES) continue;
      const float* from = a.projection + (((t * GROUPS + group) * CTAS + cta) * ENTRIES + entry) * GATES;
#pragma unroll
      for (int g = 0; g < GATES; ++g) x[i][g] = WITHOUT_PROJECTION ? 0.01f : __ldcs(from + g);
    }

    if (t > 0) {  // h(0) is zero
#if POLL_WAIT > 0
      const long long begin = clock64();
      while (clock64() - begin < POLL_WAIT) {
      }
#endif
      const u64* const slot = a.ring + ((t & 1) * GROUPS + group) * CTAS * WORDS;
      const u32 stamp = stamp_of(t) << 14;
      uint4 v[POLLS_A_THREAD];
#pragma unroll
      for (int i = 0; i < POLLS_A_THREAD; ++i) {
        const int poll = thread + i * THREADS;
        if (poll < POLLS) v[i] = load_relaxed(slot + 2 * poll);
      }
#if LATE_Y
      // While the first polls are under way; right after the publishing stores they would delay them.
#pragma unroll
      for (int i = 0; i < ENTRIES_A_THREAD; ++i) store_y(t - 1, i);
#endif
      int tries = 0;
      bool again = true;
      while (again) {
        again = false;
#pragma unroll
        for (int i = 0; i < POLLS_A_THREAD; ++i) {
          const int poll = thread + i * THREADS;
          if (poll < POLLS && (((v[i].x ^ stamp) | (v[i].z ^ stamp)) & STAMP)) {
            v[i] = load_relaxed(slot + 2 * poll);
            again = true;
          }
        }
        if (++tries > (1 << 22)) {
          *a.status = 1 + static_cast<u32>(t);
          again = false;
        }
      }
#pragma unroll
      for (int i = 0; i < POLLS_A_THREAD; ++i) {
        const int poll = thread + i * THREADS;
        if (poll >= POLLS) continue;
        v[i].x &= ~static_cast<u32>(STAMP);
        v[i].z &= ~static_cast<u32>(STAMP);
        if constexpr (ENTRIES % 8 == 0) {
          reinterpret_cast<uint4*>(image)[poll] = v[i];
        } else {
          const int owner = 2 * poll / WORDS, first = 2 * poll % WORDS * 4;
          const u32 parts[4] = {v[i].x, v[i].y, v[i].z, v[i].w};
          u16* const to = reinterpret_cast<u16*>(image) + owner * ENTRIES + first;
#pragma unroll
          for (int j = 0; j < 4; ++j) {
            if constexpr (ENTRIES % 2 == 0) {
              if (first + 2 * j < ENTRIES) *reinterpret_cast<u32*>(to + 2 * j) = parts[j];
            } else {
              if (first + 2 * j < ENTRIES) to[2 * j] = static_cast<u16>(parts[j]);
              if (first + 2 * j + 1 < ENTRIES) to[2 * j + 1] = static_cast<u16>(parts[j] >> 16);
            }
          }
        }
      }
      __syncthreads();
    }

#pragma unroll
    for (int s = 0; s < REGISTER_SLOTS; ++s) {
#if OPAQUE
      asm volatile("" : "+r"(pairs[s]));
#endif
    }
    if (!WITHOUT_PRODUCT) sum_passes<0>(pairs, shared_pairs, l2_pairs, image, sums, rows);
    __syncthreads();

    u64* const out = a.ring + (((t + 1) & 1) * GROUPS + group) * CTAS * WORDS + cta * WORDS;
#pragma unroll
    for (int i = 0; i < ENTRIES_A_THREAD; ++i) {
      const int entry = thread + i * THREADS;
      u16 published = 0;
      if (units[i] >= 0) {
        const float* u = sums + entry / GROUP_BATCH * GATES * GROUP_BATCH + entry % GROUP_BATCH;
        if constexpr (GATES == 1) {
          h[i] = hyperbolic_tangent(x[i][0] + u[0]);
        } else if constexpr (GATES == 3) {
          const float r = sigmoid(x[i][0] + u[0]);
          const float z = sigmoid(x[i][1] + u[GROUP_BATCH]);
          const float n = hyperbolic_tangent(x[i][2] + r * (u[2 * GROUP_BATCH] + bias[i]));
          h[i] = (1.0f - z) * n + z * h[i];
        } else {
          const float in = sigmoid(x[i][0] + u[0]);
          const float forget = sigmoid(x[i][1] + u[GROUP_BATCH]);
          const float g = hyperbolic_tangent(x[i][2] + u[2 * GROUP_BATCH]);
          const float o = sigmoid(x[i][3] + u[3 * GROUP_BATCH]);
          c[i] = forget * c[i] + in * g;
          h[i] = o * hyperbolic_tangent(c[i]);
        }
        published = to_half(h[i]);
        asm("cvt.f32.f16 %0, %1;" : "=f"(h[i]) : "h"(published));
      }
      // Four neighbours make a word.
      u32 low = published;
      low |= __shfl_down_sync(~0u, low, 1) << 16;
      const u32 high = __shfl_down_sync(~0u, low, 2);
      const int word = entry / 4;
      if (entry % 4 == 0 && word < WORDS) {
        const u64 value = static_cast<u64>(high) << 32 | low;
        store_relaxed(out + word, value | static_cast<u64>(stamp_of(t + 1)) << 14);
      }
      out_h[i] = published;
#if !LATE_Y
      store_y(t, i);
#endif
    }
  }
#if LATE_Y
#pragma unroll
  for (int i = 0; i < ENTRIES_A_THREAD; ++i) store_y(a.steps - 1, i);
#endif
}
