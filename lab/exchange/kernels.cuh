// The kernels of the rung: latencies of single accesses, one hop between two SMs, and the exchange. Launched
// with so much shared memory that each SM has one CTA.
#pragma once

#include <cuda_runtime.h>

using Word = unsigned long long;  // 48 bits of payload over 16 that hold the stamp

constexpr int line_bytes = 128;
constexpr int line_words = line_bytes / sizeof(Word);
constexpr int line_count = 2048;
constexpr int probe_tries = 6;
constexpr int hop_rounds = 500;
constexpr int most_polls = 1 << 20;  // about half a second, then the kernel traps

constexpr Word stamp_bit = 0x4000;
constexpr Word step_stride = Word{0x5851F42D} << 16;  // odd payload: no value comes twice in a run

// The word with this index at timestep 0; each timestep adds step_stride.
__host__ __device__ constexpr Word first_word(int group, int index) {
  return (static_cast<Word>(group * 65536 + index + 1) * 0x9E3779B97F4BULL) << 16;
}

__device__ unsigned sm_id() {
  unsigned id;
  asm volatile("mov.u32 %0, %%smid;" : "=r"(id));
  return id;
}

// The clock once `value` has arrived; nothing measured here is 2^31 - 1.
__device__ unsigned clock_after(unsigned value) {
  unsigned cycles;
  asm volatile("{ .reg .pred p; setp.eq.u32 p, %1, 0x7fffffff; @p trap; mov.u32 %0, %%clock; }"
               : "=r"(cycles)
               : "r"(value)
               : "memory");
  return cycles;
}

__device__ unsigned load(const unsigned* place) {
  unsigned value;
  asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(value) : "l"(place) : "memory");
  return value;
}

__device__ unsigned load_by_atomic(unsigned* place) {
  unsigned value;
  asm volatile("atom.relaxed.gpu.global.or.b32 %0, [%1], 0;" : "=r"(value) : "l"(place) : "memory");
  return value;
}

__device__ ulonglong2 load(const Word* place) {
  ulonglong2 value;
  asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];"
               : "=l"(value.x), "=l"(value.y)
               : "l"(place)
               : "memory");
  return value;
}

__device__ void store(unsigned* place, unsigned value) {
  asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(place), "r"(value) : "memory");
}

__device__ void store(Word* place, Word value) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(place), "l"(value) : "memory");
}

// cycles[cta][line]: the least of a few accesses.
template <bool atomic>
__global__ void probe(unsigned* pool, unsigned* cycles, unsigned* sm_of) {
  if (threadIdx.x != 0) return;
  sm_of[blockIdx.x] = sm_id();
  for (int line = 0; line < line_count; ++line) {
    unsigned* place = pool + line * (line_bytes / sizeof(unsigned));
    unsigned best = 65535;
    for (int k = 0; k < probe_tries; ++k) {
      const unsigned begin = clock_after(best);
      const unsigned end = clock_after(atomic ? load_by_atomic(place) : load(place));
      best = min(best, end - begin);
    }
    cycles[blockIdx.x * line_count + line] = best;
  }
}

// SMs a and b answer each other through one line each; a value that skips one is wrong.
__global__ void hop(unsigned* line_of_a, unsigned* line_of_b, unsigned a, unsigned b, unsigned* cycles,
                    unsigned* wrong) {
  const unsigned sm = sm_id();
  if (threadIdx.x != 0 || (sm != a && sm != b)) return;
  unsigned* mine = sm == a ? line_of_a : line_of_b;
  const unsigned* theirs = sm == a ? line_of_b : line_of_a;
  const unsigned begin = clock_after(0);
  for (unsigned round = 1; round <= hop_rounds; ++round) {
    if (sm == a) store(mine, round);
    unsigned seen = load(theirs);
    for (int polls = 0; seen == round - 1; ++polls) {
      if (polls == most_polls) __trap();
      seen = load(theirs);
    }
    if (seen != round) atomicAdd(wrong, 1U);
    if (sm == b) store(mine, round);
  }
  if (sm == a) *cycles = clock_after(0) - begin;
}

struct Exchange {
  Word* pool;
  const int* line_at;  // [copy][slot][group][line of the slot]: line of the pool
  const int* role_of_sm;
  const int* side_of_sm;
  int groups;
  int steps;
  int wait;    // cycles between publishing and the first poll
  bool spoil;  // publish one wrong first word: the check must see it
  unsigned* wrong;
};

// Every CTA publishes its share of the group's words, polls for all of them, and stages them in shared
// memory, as the engine's kernel does. A published word is made of one that was read. Every word is compared
// with what it must be after the next publishing, so in part while the kernel waits anyway; that takes until
// about 100 cycles (9 KiB) or 300 (18 KiB) after publishing, and a shorter wait is none.
template <int threads, int ctas, int quads_a_cta, int copies>
__global__ void __launch_bounds__(threads, 1) exchange(Exchange x) {
  constexpr int quads = ctas * quads_a_cta;  // of two words, a load each
  constexpr int lines = (2 * quads + line_words - 1) / line_words;
  constexpr int each = (quads + threads - 1) / threads;
  extern __shared__ __align__(16) Word image[];
  const int role = x.role_of_sm[sm_id()];
  if (role < 0) return;
  const int cta = role % ctas, group = role / ctas;
  const int own = copies == 2 ? x.side_of_sm[sm_id()] : 0;
  const auto place = [&](int copy, int slot, int word) {
    const int line = x.line_at[((copy * 2 + slot) * x.groups + group) * lines + word / line_words];
    return x.pool + line * line_words + word % line_words;
  };
  const int thread = static_cast<int>(threadIdx.x);
  const Word* from[2][each] = {};
  ulonglong2 expected[each] = {};
#pragma unroll
  for (int i = 0; i < each; ++i) {
    const int quad = thread + i * threads;
    if (quad >= quads) continue;
    for (int slot = 0; slot < 2; ++slot) from[slot][i] = place(own, slot, 2 * quad);
    expected[i] = {first_word(group, 2 * quad), first_word(group, 2 * quad + 1)};
  }

  const bool publishes = thread < 2 * quads_a_cta;
  const int mine = cta * 2 * quads_a_cta + thread, source = (mine * 13 + 7) % (2 * quads);
  const Word ahead = first_word(group, mine) - first_word(group, source) + step_stride;
  Word value = first_word(group, mine) + step_stride + (x.spoil && role == 0 && thread == 0 ? 65536 : 0);
  Word* to[copies][2] = {};
  if (publishes) {
    for (int copy = 0; copy < copies; ++copy) {
      for (int slot = 0; slot < 2; ++slot) to[copy][slot] = place(own ^ copy, slot, mine);
    }
  }

  bool is_wrong = false;
  ulonglong2 words[each] = {};
  const auto compare = [&] {
#pragma unroll
    for (int i = 0; i < each; ++i) {
      if (from[0][i] == nullptr) continue;
      is_wrong |= words[i].x != expected[i].x || words[i].y != expected[i].y;
      expected[i].x += step_stride;
      expected[i].y += step_stride;
    }
  };
  for (int i = 0; i < each; ++i) words[i] = expected[i];
  for (int step = 1; step <= x.steps; ++step) {
    const int slot = step & 1;
    const Word stamp = ((step + 1) >> 1 & 1) != 0 ? stamp_bit : 0;  // flips at each use of a slot
    if (publishes) {
#pragma unroll
      for (int copy = 0; copy < copies; ++copy) store(slot != 0 ? to[copy][1] : to[copy][0], value | stamp);
    }
    const long long published = clock64();
    compare();
    while (clock64() - published < x.wait) {
    }
#pragma unroll
    for (int i = 0; i < each; ++i) {
      if (from[0][i] != nullptr) words[i] = load(slot != 0 ? from[1][i] : from[0][i]);
    }
    bool again = true;
    for (int polls = 0; again; ++polls) {
      if (polls == most_polls) __trap();
      again = false;
#pragma unroll
      for (int i = 0; i < each; ++i) {
        if (from[0][i] == nullptr || (((words[i].x ^ stamp) | (words[i].y ^ stamp)) & stamp_bit) == 0)
          continue;
        words[i] = load(slot != 0 ? from[1][i] : from[0][i]);
        again = true;
      }
    }
#pragma unroll
    for (int i = 0; i < each; ++i) {
      if (from[0][i] == nullptr) continue;
      words[i] = {words[i].x & ~stamp_bit, words[i].y & ~stamp_bit};
      reinterpret_cast<ulonglong2*>(image)[thread + i * threads] = words[i];
    }
    __syncthreads();
    if (publishes) value = image[source] + ahead;
    __syncthreads();
  }
  compare();
  if (is_wrong) atomicAdd(x.wrong, 1U);
}
