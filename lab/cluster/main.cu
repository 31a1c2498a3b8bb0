// The exchange of h inside one thread block cluster: through the shared memory of its CTAs, beside through
// the L2.
//
// Predicted: a store to another SM's shared memory is seen after some 200 cycles less than one through the
// L2, and a poll of one's own shared memory takes 30 cycles instead of 290, so a step of a small layer saves
// some 0.3 us.
//
// Found (H100 80GB HBM3): 0 to 0.2 us; little up to 8 CTAs, which are as fast through the L2, much with 16
// (../README.md). Where no warp waits for another of its CTA, 0.1 us less again.
//
// Exit status: 0 every word was right; 1 a word was wrong or never came; 2 no GPU that has clusters.
#include <cuda_runtime.h>

#include <algorithm>
#include <cstdio>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "../cluster.cuh"
#include "../rung.hpp"

namespace {

using Word = unsigned long long;  // 48 bits of payload over 16 that hold the stamp

constexpr int short_steps = 256, long_steps = 1280;
constexpr int exclusive_bytes = 150 * 1024;  // of shared memory: one CTA an SM
constexpr int most_polls = 1 << 22;          // then the kernel traps
constexpr Word stamp_bit = 0x4000;
constexpr Word step_stride = Word{0x5851F42D} << 16;

// How the words travel, and how a reader knows that they are there.
enum class Way {
  anywhere,  // through a ring in global memory, by stamps; CTAs lie where they come to lie
  l2,        // the same, the CTAs a cluster
  stamps,    // to a ring in the shared memory of each CTA, by stamps
  async,     // the same by st.async, whose bytes an mbarrier counts
  warps,     // by st.async, each warp waiting for the mbarrier and storing for itself: no barrier of the CTA
  barrier,   // the same by plain stores and a barrier of the cluster
};

__host__ __device__ constexpr Word first_word(int group, int index) {
  return (static_cast<Word>(group * 65536 + index + 1) * 0x9E3779B97F4BULL) << 16;
}
__device__ constexpr Word stamp(int step) { return (step + 1) >> 1 & 1 ? stamp_bit : 0; }

__device__ void cluster_barrier() {
  asm volatile("barrier.cluster.arrive.release.aligned;\n barrier.cluster.wait.acquire.aligned;" ::
                   : "memory");
}
__device__ ulonglong2 load(unsigned p) {
  ulonglong2 v;
  asm volatile("ld.relaxed.cluster.shared::cta.v2.u64 {%0, %1}, [%2];"
               : "=l"(v.x), "=l"(v.y)
               : "r"(p)
               : "memory");
  return v;
}
__device__ ulonglong2 load(const Word* p) {
  ulonglong2 v;
  asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(v.x), "=l"(v.y) : "l"(p) : "memory");
  return v;
}
__device__ void store(Word* p, Word v) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}
__device__ void store(unsigned p, Word v) {
  asm volatile("st.relaxed.cluster.shared::cluster.u64 [%0], %1;" ::"r"(p), "l"(v) : "memory");
}
__device__ void store_counted(unsigned p, Word v, unsigned mbarrier) {
  asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.u64 [%0], %1, [%2];" ::"r"(p), "l"(v),
               "r"(mbarrier)
               : "memory");
}
// What other CTAs have stored by then is seen.
__device__ bool has_completed(unsigned mbarrier, unsigned parity) {
  unsigned done;
  asm volatile(
      "{ .reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, "
      "0, p; }"
      : "=r"(done)
      : "r"(mbarrier), "r"(parity)
      : "memory");
  return done != 0;
}

struct Run {
  Word* ring;  // [group][slot][word], of Way::l2
  int steps;
  bool spoil;  // publish one wrong first word: the check must see it
  unsigned* wrong;
};

// Each CTA publishes its words of the group's, and has all of them when it goes on. Every word is compared.
template <Way way, int ctas, int threads, int words_a_cta>
__global__ void __launch_bounds__(threads, 1) exchange(Run run) {
  constexpr int words = ctas * words_a_cta, quads = words / 2;
  constexpr bool by_warp = way == Way::warps, counted = by_warp || way == Way::async;
  constexpr int owners = by_warp ? 32 : threads;  // threads that share out these words:
  constexpr int words_of_owners = by_warp ? words_a_cta / (threads / 32) : words_a_cta;
  static_assert(words_a_cta <= threads && words % 2 == 0);
  extern __shared__ __align__(16) Word ring[];  // [slot][word]
  __shared__ __align__(16) Word staged[words];
  __shared__ Word arrived[2];  // mbarriers
  constexpr bool through_l2 = way == Way::anywhere || way == Way::l2;
  const int rank = blockIdx.x % ctas, group = blockIdx.x / ctas, thread = threadIdx.x;
  const unsigned own = shared_address(ring);
  Word* const l2 = run.ring + static_cast<long long>(group) * 2 * words;
  unsigned peers[ctas], barrier_of[ctas];
  if constexpr (!through_l2) {
    for (int c = 0; c < ctas; ++c)
      peers[c] = of_cta(own, c), barrier_of[c] = of_cta(shared_address(arrived), c);
  }
  if (thread < 2) {
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(shared_address(arrived + thread)) : "memory");
    expect(shared_address(arrived + thread), words * 8);
  }
  for (int i = thread; i < 2 * words; i += threads) ring[i] = 0;
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  cluster_barrier();

  const bool has_word = thread % owners < words_of_owners;
  const int mine = rank * words_a_cta + thread / owners * words_of_owners + thread % owners;
  Word value = has_word ? first_word(group, mine) : 0;
  const auto publish = [&](int step) {
    if (!has_word) return;
    const int at = step % 2 * words + mine;
    const Word sent = (value + (run.spoil && step == 1 && mine == 0 ? step_stride : 0)) | stamp(step);
    if constexpr (through_l2) {
      store(l2 + at, sent);
    } else {
#pragma unroll
      for (int c = 0; c < ctas; ++c) {
        if constexpr (counted)
          store_counted(peers[c] + 8 * at, sent, barrier_of[c] + 8 * (step % 2));
        else
          store(peers[c] + 8 * at, sent);
      }
    }
  };
  publish(1);  // of stamp 1: the ring is zero
  unsigned wrong = 0;
  for (int step = 1; step <= run.steps; ++step) {
    const int slot = step % 2 * words;
    if constexpr (way == Way::barrier) cluster_barrier();
    if constexpr (counted) {
      const unsigned mbarrier = shared_address(arrived + step % 2);
      for (int polls = 0; !has_completed(mbarrier, (step - 1) / 2 % 2); ++polls) {
        if (polls == most_polls) __trap();
      }
      if (thread == 0) expect(mbarrier, words * 8);  // of two steps later
    }
#pragma unroll
    for (int q = thread % owners; q < quads; q += owners) {
      ulonglong2 v;
      for (int polls = 0;; ++polls) {
        if constexpr (through_l2)
          v = load(l2 + slot + 2 * q);
        else
          v = load(own + 8 * (slot + 2 * q));
        if ((((v.x ^ stamp(step)) | (v.y ^ stamp(step))) & stamp_bit) == 0) break;
        if (polls == most_polls) __trap();
      }
      v.x &= ~stamp_bit, v.y &= ~stamp_bit;
      const Word due = first_word(group, 2 * q) + (step - 1) * step_stride,
                 next = first_word(group, 2 * q + 1) + (step - 1) * step_stride;
      wrong += v.x != due || v.y != next;
      if constexpr (!by_warp) reinterpret_cast<ulonglong2*>(staged)[q] = v;
    }
    if constexpr (by_warp) {
      value += step_stride;
      __syncwarp();
    } else {
      __syncthreads();
      if (has_word) value = staged[mine] + step_stride;
      __syncthreads();  // the engine's second barrier, between the product and the cells
    }
    publish(step + 1);
  }
  if (wrong != 0) atomicAdd(run.wrong, wrong);
  cluster_barrier();  // nobody leaves while words for it are under way
}

struct Lab {
  Word* ring = nullptr;
  unsigned* wrong = nullptr;
  unsigned all_wrong = 0;

  static constexpr std::size_t ring_bytes = 1 << 20;
  Lab() {
    check(cudaMalloc(&ring, ring_bytes), "cudaMalloc");
    check(cudaMalloc(&wrong, 4), "cudaMalloc");
    check(cudaMemset(wrong, 0, 4), "cudaMemset");
  }
  unsigned newly_wrong() {
    unsigned found = 0;
    check(cudaMemcpy(&found, wrong, 4, cudaMemcpyDeviceToHost), "the exchange (a trap: a word never came)");
    check(cudaMemset(wrong, 0, 4), "cudaMemset");
    return found;
  }
};

template <Way way, int ctas, int words>
void print_time(Lab& lab, int groups) {
  constexpr int threads = 128, words_a_cta = words / ctas;
  if constexpr (words_a_cta > threads || words_a_cta < (way == Way::warps ? threads / 32 : 1)) {
    std::printf("      -");
    return;
  } else {
    const auto kernel = exchange<way, ctas, threads, words_a_cta>;
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, exclusive_bytes),
          "shared memory");
    check(cudaFuncSetAttribute(kernel, cudaFuncAttributeNonPortableClusterSizeAllowed, 1), "clusters of 16");
    Stopwatch stopwatch;
    const auto milliseconds = [&](int steps, bool spoil) {
      check(cudaMemset(lab.ring, 0, Lab::ring_bytes), "cudaMemset");
      cudaLaunchAttribute of_launch[2] = {};
      of_launch[0].id = cudaLaunchAttributeCooperative;
      of_launch[0].val.cooperative = 1;
      of_launch[1].id = cudaLaunchAttributeClusterDimension;
      of_launch[1].val.clusterDim = {ctas, 1, 1};
      cudaLaunchConfig_t launch = {};
      launch.gridDim = groups * ctas, launch.blockDim = threads, launch.dynamicSmemBytes = exclusive_bytes;
      launch.attrs = of_launch, launch.numAttrs = way == Way::anywhere ? 1 : 2;
      stopwatch.start();
      check(cudaLaunchKernelEx(&launch, kernel, Run{lab.ring, steps, spoil, lab.wrong}),
            "cudaLaunchKernelEx");
      check(stopwatch.stop(), "the exchange (a trap: a word never came)");
      return stopwatch.milliseconds();
    };
    milliseconds(2, true);
    if (lab.newly_wrong() == 0)
      throw std::runtime_error("the check did not see the wrong word that it was given");
    const double time = microseconds_a_timestep(short_steps, long_steps,
                                                [&](int steps) { return milliseconds(steps, false); });
    const unsigned wrong = lab.newly_wrong();
    lab.all_wrong += wrong;
    std::printf("  %5.3f%s", time, wrong == 0 ? "" : " WRONG");
  }
}

template <Way way, int words>
void print_line(Lab& lab, const char* name) {
  std::printf("%5d B  %-8s", words * 8, name);
  print_time<way, 1, words>(lab, 1);
  print_time<way, 2, words>(lab, 1);
  print_time<way, 4, words>(lab, 1);
  print_time<way, 8, words>(lab, 1);
  print_time<way, 16, words>(lab, 1);
  print_time<way, 8, words>(lab, 8);
  std::printf("\n");
}

template <int words>
void print_lines(Lab& lab) {
  print_line<Way::anywhere, words>(lab, "anywhere");
  print_line<Way::l2, words>(lab, "l2");
  print_line<Way::stamps, words>(lab, "stamps");
  print_line<Way::async, words>(lab, "async");
  print_line<Way::warps, words>(lab, "warps");
  print_line<Way::barrier, words>(lab, "barrier");
}

int run() {
  const std::optional<cudaDeviceProp> device = gpu_with_clusters();
  if (!device) return 2;
  std::printf("%s; microseconds a step, CTAs:\n                    1      2      4      8     16   8 x 8\n",
              device->name);
  Lab lab;
  print_lines<64>(lab);
  print_lines<128>(lab);
  print_lines<256>(lab);
  print_lines<512>(lab);
  print_lines<1024>(lab);
  std::printf("%u threads saw a wrong word\n", lab.all_wrong);
  return lab.all_wrong == 0 ? 0 : 1;
}

}  // namespace

int main() { return exit_status(run); }
