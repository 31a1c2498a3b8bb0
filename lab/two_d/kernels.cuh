// The kernel of the rung: a persistent LSTM of a dense layer whose columns are split over the CTAs of a
// thread block cluster, its rows over the clusters. Launched cooperatively, one CTA an SM.
//
// One timestep of a CTA, rank r of its cluster:
//   gather    h(t) of the rank's own columns, out of a ring in global memory, by stamps, into shared memory
//   product   of all rows of the cluster with these columns
//   reduce    each rank sends its partial sums to the CTA that owns the unit, by st.async
//   cell      of the own units, whose h(t+1) goes into the ring
//
// Why two slots of the ring are enough: who publishes h(t+2) has received sums of step t+1 from all ranks of
// its cluster. Together these had gathered h(t+1) of all columns, so every CTA had published h(t+1), which it
// does after the barrier that follows its gathering of h(t): no word of h(t) is still waited for.
//
// Why one receive buffer and one mbarrier are enough: at a barrier of the cluster each thread arrives after
// its cells of step t, and no thread polls for h(t+1), let alone sends sums of it, before all have. That
// barrier also says that the copy of h(t) in shared memory may be overwritten. It completes while h(t+1) is
// under way. Two buffers would do without it, by the argument of the ring, but the second would take the
// place of four steps of weights.
#pragma once

#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include "../cluster.cuh"

// h of four units of one batch entry. Bit 14, free while |h| < 2, is the stamp.
using Word = unsigned long long;
// Operand A of a lane: the words of batch entries g (.x) and g + 8 (.y).
using Quad = ulonglong2;

constexpr Word stamp_bit = 0x4000;
constexpr int column_step = 16;                   // columns of one mma
constexpr int most_polls = 1 << 21;               // of the ring, about a second: then the kernel traps
constexpr long long most_cycles = 2'000'000'000;  // of an mbarrier

// What is left in. What leaves out any computes something else and only tells the time of the rest.
enum Part : unsigned { of_product = 1, of_reduction = 2, of_stream = 4, all_parts = 7 };

// The warps of a CTA split its columns into `column_warps`, and the rows of its cluster. Of its steps of 16
// columns each warp has the first in registers and the next in shared memory; it reads the others from global
// memory at each timestep.
template <int hidden_, int units_, int batch_, int ctas_, int warps_, int column_warps_, int register_steps_,
          int shared_steps_>
struct Shape {
  static constexpr int hidden = hidden_, batch = batch_;
  static constexpr int units = units_, ctas = ctas_;  // of a cluster
  static constexpr int clusters = hidden / units;
  static constexpr int warps = warps_, threads = 32 * warps;
  static constexpr int column_warps = column_warps_, row_warps = warps / column_warps;
  static constexpr int sources = ctas * column_warps;  // of sums
  static constexpr int steps = hidden / sources / column_step;
  static constexpr int register_steps = register_steps_, shared_steps = shared_steps_;
  static constexpr int chip_steps = register_steps + shared_steps, stream_steps = steps - chip_steps;
  static constexpr int m_tiles = batch / 16;                         // 16 batch entries
  static constexpr int n_tiles = units / 2;                          // 8 rows: 2 units of 4 gates
  static constexpr int tiles = n_tiles / row_warps;                  // of a warp
  static constexpr int quads = steps * column_warps * m_tiles * 32;  // of the rank's columns
  static constexpr int quads_a_thread = quads / threads;
  static constexpr int polls_at_once = quads_a_thread > 8 ? quads_a_thread / 2 : quads_a_thread;
  // Each rank owns the cells of a part of the batch entries, of every (ctas / batch_parts)-th word of the
  // cluster: as many as any other.
  static constexpr int batch_parts = 2;
  static constexpr int words = units / 4, own_batch = batch / batch_parts;
  static constexpr int own_words = words * batch_parts / ctas;  // words rank / batch_parts + k * words_apart
  static constexpr int words_apart = ctas / batch_parts;
  static constexpr int own_cells = own_words * own_batch * 4;        // (word, batch entry, unit)
  static constexpr int cells = (own_cells + threads - 1) / threads;  // of a thread
  static constexpr int cells_apart = threads / (own_batch * 4);      // in own words

  static constexpr int step_bytes = n_tiles * column_warps * 32 * 8;
  static constexpr int image_at = shared_steps * step_bytes;
  static constexpr int sums_at = image_at + quads * 16;
  static constexpr int barrier_at = sums_at + sources * own_cells * 16;
  static constexpr int shared_bytes = barrier_at + 16;

  static_assert(hidden % units == 0 && units % 4 == 0 && hidden % (sources * column_step) == 0 &&
                batch % 16 == 0);
  static_assert(n_tiles % row_warps == 0 && quads % threads == 0 && quads_a_thread % polls_at_once == 0 &&
                threads % (own_batch * 4) == 0 && words % words_apart == 0);
  static_assert(stream_steps >= 0 && shared_bytes <= 227 * 1024);
};

struct Run {
  const uint2* weights;  // [cluster][rank][step][column warp][n-tile][lane]: 4 columns of a row
  const float4* x;       // [time][batch][unit]: the input projection of the four gates
  unsigned short* y;     // [time][batch][unit], fp16
  Quad* ring;            // [slot][rank][step][m-tile][lane]
  int times;
  unsigned wait;  // cycles from publishing to the first poll
  int* stuck_at;  // on the host: the timestep of a wait that was given up
};

__device__ constexpr Word stamp(int t) { return ((t + 1) >> 1 & 1) != 0 ? stamp_bit : 0; }

__device__ Quad load_relaxed(const Quad* p) {
  Quad v;
  asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(v.x), "=l"(v.y) : "l"(p) : "memory");
  return v;
}
__device__ void store_relaxed(Word* p, Word v) {
  asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(p), "l"(v) : "memory");
}
// Volatile: what does not change from timestep to timestep shall not be kept in registers.
__device__ uint2 load_weights(const uint2* p) {
  uint2 v;
  asm volatile("ld.global.nc.L1::no_allocate.v2.u32 {%0, %1}, [%2];" : "=r"(v.x), "=r"(v.y) : "l"(p));
  return v;
}
__device__ float4 load_once(const float4* p) {
  float4 v;
  asm volatile("ld.global.nc.L1::no_allocate.v4.f32 {%0, %1, %2, %3}, [%4];"
               : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w)
               : "l"(p));
  return v;
}
// To the L2.
__device__ void prefetch(const float4* p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }
__device__ void send(unsigned there, float4 v, unsigned mbarrier_there) {
  asm volatile(
      "st.async.shared::cluster.mbarrier::complete_tx::bytes.v4.f32 [%0], {%1, %2, %3, %4}, [%5];" ::"r"(
          there),
      "f"(v.x), "f"(v.y), "f"(v.z), "f"(v.w), "r"(mbarrier_there)
      : "memory");
}
// With the scope of this CTA: ../README.md.
__device__ bool has_completed(unsigned mbarrier, unsigned parity) {
  unsigned done;
  asm volatile(
      "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, "
      "0, p; }"
      : "=r"(done)
      : "r"(mbarrier), "r"(parity)
      : "memory");
  return done != 0;
}
__device__ void arrive_at_cluster_barrier() { asm volatile("barrier.cluster.arrive.release;" ::: "memory"); }
// What the other CTAs may overwrite now was loaded and used: nothing needs to be released.
__device__ void arrive_relaxed() { asm volatile("barrier.cluster.arrive.relaxed;" ::: "memory"); }
__device__ void wait_at_cluster_barrier() { asm volatile("barrier.cluster.wait.acquire;" ::: "memory"); }

__device__ void give_up(const Run& run, int t) {
  *static_cast<volatile int*>(run.stuck_at) = t;
  __threadfence_system();
  __trap();
}

__device__ void multiply(float (&sum)[4], const uint4& a, const uint2& b) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, "
      "%1, %2, %3};"
      : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
      : "r"(a.x), "r"(a.y), "r"(a.z), "r"(a.w), "r"(b.x), "r"(b.y));
}

__device__ float tanh_of(float v) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(v));
  return y;
}
__device__ float sigmoid(float v) { return fmaf(0.5F, tanh_of(0.5F * v), 0.5F); }

// Which part of the layer a thread has.
template <class S>
struct Role {
  int thread, lane = thread % 32, row_warp = thread / 32 / S::column_warps,
              column_warp = thread / 32 % S::column_warps;
  int rank = static_cast<int>(blockIdx.x) % S::ctas, cluster = static_cast<int>(blockIdx.x) / S::ctas;
  // Of cell i: unit `part` of the own word `first_word + i * cells_apart`, and this batch entry.
  int part = thread % 4, first_word = thread / 4 / S::own_batch;
  int entry = rank % S::batch_parts * S::own_batch + thread / 4 % S::own_batch;

  __device__ explicit Role(int thread_) : thread(thread_) {}
  // The same, for which addresses are calculated anew: kept over the product they would take registers from
  // weights.
  __device__ Role anew() const {
    int same = thread;
    asm volatile("" : "+r"(same));
    return Role(same);
  }
  __device__ bool has_cell(int i) const { return first_word + i * S::cells_apart < S::own_words; }
  __device__ int word_of_layer(int i) const {
    return cluster * S::words + rank / S::batch_parts + S::words_apart * (first_word + i * S::cells_apart);
  }
  __device__ int word_of_ring(int i) const {
    const int word = word_of_layer(i),
              quad = (word / 4 * S::m_tiles + entry / 16) * 32 + entry % 8 * 4 + word % 4;
    return 2 * quad + entry / 8 % 2;
  }
  __device__ int unit_of_y(int i) const { return entry * S::hidden + 4 * word_of_layer(i) + part; }
};

// The registers of operand A: row g and row g + 8 of two columns, then of the other two. Without the stamps.
__device__ uint4 operand_a(const Quad& quad) {
  const Word low = quad.x & ~stamp_bit, high = quad.y & ~stamp_bit;
  return {static_cast<unsigned>(low), static_cast<unsigned>(high), static_cast<unsigned>(low >> 32),
          static_cast<unsigned>(high >> 32)};
}

// The quads of h(t) of the rank's columns, into shared memory in the order of operand A.
template <class S>
__device__ void gather(const Run& run, const Role<S>& role, int t, uint4* image) {
  const Quad* const from = run.ring + (t % 2 * S::ctas + role.rank) * S::quads + role.thread;
  const Word due = stamp(t);
#pragma unroll
  for (int first = 0; first < S::quads_a_thread; first += S::polls_at_once) {
    Quad quads[S::polls_at_once];
    const auto place = [&](int i) { return (first + i) * S::threads; };
#pragma unroll
    for (int i = 0; i < S::polls_at_once; ++i) quads[i] = load_relaxed(from + place(i));
    bool again = true;
    for (int polls = 0; again; ++polls) {
      if (polls == most_polls) give_up(run, t);
      again = false;
#pragma unroll
      for (int i = 0; i < S::polls_at_once; ++i) {
        if ((((quads[i].x ^ due) | (quads[i].y ^ due)) & stamp_bit) == 0) continue;
        quads[i] = load_relaxed(from + place(i));
        again = true;
      }
    }
#pragma unroll
    for (int i = 0; i < S::polls_at_once; ++i) image[role.thread + place(i)] = operand_a(quads[i]);
  }
}

template <int value>
struct Constant {
  __host__ __device__ constexpr operator int() const { return value; }
};

// f of the constants begin .. end - 1. What a loop indexes, unrolled or not, the compiler may put in local
// memory.
template <int begin, int end, class F>
__device__ __forceinline__ void for_constants(const F& f) {
  if constexpr (begin < end) {
    f(Constant<begin>{});
    for_constants<begin + 1, end>(f);
  }
}

template <class S>
struct Weights {
  uint2 kept[S::register_steps][S::tiles];
  uint2 ahead[S::tiles];  // of the next streamed step
  const uint2* shared;    // of this lane: step after step
  const uint2* streamed;

  static constexpr int stride = S::n_tiles * S::column_warps * 32;  // of a step
};

template <class S>
__device__ __forceinline__ void request(Weights<S>& w, int step) {
  if constexpr (S::stream_steps > 0) {
#pragma unroll
    for (int j = 0; j < S::tiles; ++j)
      w.ahead[j] = load_weights(w.streamed + step * Weights<S>::stride + j * 32);
  }
}

template <class S>
__device__ __forceinline__ void multiply_step(float (&sums)[S::m_tiles][S::tiles][4], const uint4* image,
                                              int step, const uint2 (&weights)[S::tiles]) {
#pragma unroll
  for (int m = 0; m < S::m_tiles; ++m) {
    const uint4 a = image[(step * S::m_tiles + m) * 32];
#pragma unroll
    for (int j = 0; j < S::tiles; ++j) multiply(sums[m][j], a, weights[j]);
  }
}

// Where the weights of each step are: they take turns, so that loads come in between products.
enum class Place { registers, shared, streamed };
struct Home {
  Place place;
  int index;
};
template <class S>
__host__ __device__ constexpr Home home(int step) {
  const int streamed = step * S::stream_steps / S::steps;
  if ((step + 1) * S::stream_steps / S::steps > streamed) return {Place::streamed, streamed};
  const int on_chip = step - streamed, shared = on_chip * S::shared_steps / S::chip_steps;
  if ((on_chip + 1) * S::shared_steps / S::chip_steps > shared) return {Place::shared, shared};
  return {Place::registers, on_chip - shared};
}
// Their order in memory.
template <class S>
__host__ __device__ constexpr int packed_step(int step) {
  const Home at = home<S>(step);
  return at.index + (at.place == Place::registers ? 0
                     : at.place == Place::shared  ? S::register_steps
                                                  : S::chip_steps);
}

// `image`: of the warp's columns.
template <class S, unsigned parts>
__device__ __forceinline__ void product(float (&sums)[S::m_tiles][S::tiles][4], Weights<S>& w,
                                        const uint4* image) {
  for_constants<0, S::steps>([&](auto k) {
    constexpr Home at = home<S>(k);
    if constexpr (at.place == Place::registers) {
      multiply_step<S>(sums, image, k, w.kept[at.index]);
    } else if constexpr (at.place == Place::shared) {
      uint2 loaded[S::tiles];
#pragma unroll
      for (int j = 0; j < S::tiles; ++j) loaded[j] = w.shared[at.index * Weights<S>::stride + j * 32];
      multiply_step<S>(sums, image, k, loaded);
    } else if constexpr ((parts & of_stream) != 0) {
      multiply_step<S>(sums, image, k, w.ahead);
      request(w, at.index + 1 < S::stream_steps ? at.index + 1
                                                : 0);  // the last one asks for the next timestep's first
    } else {
      multiply_step<S>(sums, image, k, w.kept[0]);
    }
  });
}

// To the owners, at [source rank, column warp][own word][batch entry][unit of the word]: the order of its
// cells. Two neighbouring lanes have two gates each of the same unit and of two batch entries; each lane
// sends one entry's four.
template <class S, unsigned parts>
__device__ void send_sums(const float (&sums)[S::m_tiles][S::tiles][4], const Role<S>& role, char* shared) {
  const bool odd = role.lane % 2 != 0;
  // Without the reduction a CTA has only its own.
  const int source = ((parts & of_reduction) != 0 ? role.rank * S::column_warps : 0) + role.column_warp;
#pragma unroll
  for (int j = 0; j < S::tiles; ++j) {
    const int tile = role.row_warp * S::tiles + j, word = tile / 2, part = tile % 2 * 2 + role.lane % 4 / 2;
#pragma unroll
    for (int m = 0; m < S::m_tiles; ++m) {
      const float(&d)[4] = sums[m][j];
      const float first = __shfl_xor_sync(~0U, odd ? d[0] : d[2], 1),
                  second = __shfl_xor_sync(~0U, odd ? d[1] : d[3], 1);
      const float4 gates = odd ? float4{first, second, d[2], d[3]} : float4{d[0], d[1], first, second};
      const int of_tile = role.lane / 4 + (odd ? 8 : 0), entry = 16 * m + of_tile;
      const int batch_part = S::own_batch % 16 == 0 ? 16 * m / S::own_batch : entry / S::own_batch;
      const int at =
          ((source * S::own_words + word / S::words_apart) * S::own_batch + entry % S::own_batch) * 4 + part;
      if constexpr ((parts & of_reduction) != 0) {
        const int owner = word % S::words_apart * S::batch_parts + batch_part;
        const unsigned there = of_cta(shared_address(shared), owner);
        send(there + S::sums_at + 16 * at, gates, there + S::barrier_at);
      } else {
        reinterpret_cast<float4*>(shared + S::sums_at)[at] = gates;
      }
    }
  }
}

// Until the sums of all ranks for this CTA's units are here.
template <class S, unsigned parts>
__device__ void wait_for_sums(const Run& run, const Role<S>& role, int t, unsigned mbarrier) {
  if constexpr ((parts & of_reduction) == 0) {
    arrive_at_cluster_barrier();  // only that they could be: the ring relies on it
    wait_at_cluster_barrier();
  } else {
    const unsigned parity = t % 2;
    if (!has_completed(mbarrier, parity)) {
      const long long begin = clock64();
      while (!has_completed(mbarrier, parity)) {
        if (clock64() - begin > most_cycles) give_up(run, t);
      }
    }
    if (role.thread == 0) expect(mbarrier, S::sources * S::own_cells * 16);  // of the next step
  }
}

// Adds the partial sums up, in the order of their columns, updates c and returns h.
template <class S, unsigned parts>
__device__ float update_cell(float4 gates, float& c, const float4* sums) {
#pragma unroll
  for (int source = 0; source < ((parts & of_reduction) != 0 ? S::sources : S::column_warps); ++source) {
    const float4 part = sums[source * S::own_cells];
    gates.x += part.x, gates.y += part.y, gates.z += part.z, gates.w += part.w;
  }
  c = sigmoid(gates.y) * c + sigmoid(gates.x) * tanh_of(gates.z);
  return sigmoid(gates.w) * tanh_of(c);
}

// Of four neighbouring lanes, for the first of them: their h as one word.
__device__ Word word_of_four(unsigned h, int part) {
  const unsigned next = __shfl_xor_sync(~0U, h, 1), pair = part % 2 == 0 ? h | next << 16 : next | h << 16;
  return pair | static_cast<Word>(__shfl_xor_sync(~0U, pair, 2)) << 32;
}

// The thread's cells of one timestep, of which it has `count`: in one block, so that their latencies overlap.
template <class S, unsigned parts, int count>
__device__ __forceinline__ void update_cells(const Run& run, const Role<S>& role, int t,
                                             const float4* received, const float4 (&x)[S::cells],
                                             float (&c)[S::cells], unsigned short (&h)[S::cells]) {
  if constexpr (count > 0) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const float updated = update_cell<S, parts>(x[i], c[i], received + role.thread + i * S::threads);
      h[i] = __half_as_ushort(__float2half_rn(updated));
    }
    Word words[count];
#pragma unroll
    for (int i = 0; i < count; ++i) words[i] = word_of_four(h[i], role.part);
    if (role.part != 0) return;
    Word* const slot = reinterpret_cast<Word*>(run.ring + (t + 1) % 2 * S::ctas * S::quads);
#pragma unroll
    for (int i = 0; i < count; ++i) store_relaxed(slot + role.word_of_ring(i), words[i] | stamp(t + 1));
  }
}

template <class S, class F>
__device__ __forceinline__ void for_cells(const Role<S>& role, const F& f) {
#pragma unroll
  for (int i = 0; i < S::cells; ++i) {
    if (role.has_cell(i)) f(i, role);
  }
}

template <class S>
__device__ const float4* x_of(const Run& run, const Role<S>& role, int t, int i) {
  return run.x + static_cast<long long>(t) * S::batch * S::hidden + role.unit_of_y(i);
}

template <class S>
__device__ __forceinline__ void store_y(const Run& run, const Role<S>& role, int t,
                                        const unsigned short (&h)[S::cells]) {
  unsigned short* const y = run.y + static_cast<long long>(t) * S::batch * S::hidden;
  for_cells(role, [&](int i, const Role<S>& of_cell) { y[of_cell.unit_of_y(i)] = h[i]; });
}

template <class S, unsigned parts>
__global__ void __launch_bounds__(S::threads, 1) lstm(Run run) {
  extern __shared__ __align__(16) char shared[];
  const Role<S> role(static_cast<int>(threadIdx.x));
  const unsigned mbarrier = shared_address(shared + S::barrier_at);
  uint4* const image = reinterpret_cast<uint4*>(shared + S::image_at);
  const uint2* const weights =
      run.weights + static_cast<long long>(blockIdx.x) * S::steps * Weights<S>::stride;

  Weights<S> w;
  const int of_lane = (role.column_warp * S::n_tiles + role.row_warp * S::tiles) * 32 + role.lane;
  w.shared = reinterpret_cast<const uint2*>(shared) + of_lane;
  w.streamed = weights + S::chip_steps * Weights<S>::stride + of_lane;
#pragma unroll
  for (int s = 0; s < S::register_steps; ++s) {
#pragma unroll
    for (int j = 0; j < S::tiles; ++j)
      w.kept[s][j] = load_weights(weights + s * Weights<S>::stride + of_lane + j * 32);
  }
  for (int i = role.thread; i < S::shared_steps * Weights<S>::stride; i += S::threads)
    reinterpret_cast<uint2*>(shared)[i] = weights[S::register_steps * Weights<S>::stride + i];
  if constexpr ((parts & of_stream) != 0) request(w, 0);

  if (role.thread == 0) {
    asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(mbarrier) : "memory");
    expect(mbarrier, S::sources * S::own_cells * 16);
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  }
  float c[S::cells] = {};
  unsigned short h[S::cells] = {};
  unsigned published = static_cast<unsigned>(clock());
  arrive_at_cluster_barrier();

  for (int t = 0; t < run.times; ++t) {
    for_cells(role.anew(), [&](int i, const Role<S>& of_cell) { prefetch(x_of(run, of_cell, t, i)); });
    if (t > 0) store_y(run, role.anew(), t - 1, h);  // after publishing: the others wait for that
    wait_at_cluster_barrier();
    while (static_cast<unsigned>(clock()) - published < run.wait) {
    }
    gather(run, role.anew(), t, image);
    __syncthreads();

    float sums[S::m_tiles][S::tiles][4] = {};
    if constexpr ((parts & of_product) != 0)
      product<S, parts>(sums, w, image + role.column_warp * S::steps * S::m_tiles * 32 + role.lane);
    const Role<S> after = role.anew();
    float4 x[S::cells] = {};
    for_cells(after, [&](int i, const Role<S>& of_cell) { x[i] = load_once(x_of(run, of_cell, t, i)); });
    send_sums<S, parts>(sums, after, shared);
    wait_for_sums<S, parts>(run, after, t, mbarrier);
    const float4* const received = reinterpret_cast<const float4*>(shared + S::sums_at);
    if (after.has_cell(S::cells - 1))  // all lanes of a warp, or none
      update_cells<S, parts, S::cells>(run, after, t, received, x, c, h);
    else
      update_cells<S, parts, S::cells - 1>(run, after, t, received, x, c, h);
    published = static_cast<unsigned>(clock());
    arrive_relaxed();
  }
  store_y(run, role, run.times - 1, h);
  wait_at_cluster_barrier();  // nobody leaves while sums for it are under way
}
