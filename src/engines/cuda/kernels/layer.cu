// One persistent kernel runs all timesteps of one direction of a layer: docs/kernel.md follows one through it.
//
// A group of CTAs holds all weights and runs GROUP_BATCH entries of the batch. A timestep: wait for h -> stage it in
// shared memory -> every lane sums its slots -> the lanes of a row meet by shuffles -> the thread of a (unit, batch
// entry) updates its cell and publishes h. With a projection there are two such halves: what it reads, and h.
#include "types.cuh"
//
#include "arguments.cuh"
#include "plan.cuh"
//
#include "cell.cuh"
#include "exchange.cuh"
#include "product.cuh"

extern __shared__ __align__(16) unsigned char memory[];

// The entries of a CTA's slice that a thread owns: thread + i * THREADS.
template <class E>
struct Owned {
  static constexpr int count = E::entries_a_thread;
  int unit[count];       // -1: none
  int length[count];     // steps of this launch in which the entry is valid, from its first
  int batch_entry[count];

  __device__ __forceinline__ Owned(const Arguments& a, const int* map, int cta, int first_entry) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const int entry = threadIdx.x + i * THREADS;
      batch_entry[i] = first_entry + entry % GROUP_BATCH;
      const bool any = entry < E::entries && batch_entry[i] < a.batch;
      unit[i] = any ? map[cta * (E::entries / GROUP_BATCH) + entry / GROUP_BATCH] : -1;
      length[i] = a.steps;
      if (unit[i] >= 0 && a.lengths != nullptr) {
        const i64 left = a.lengths[batch_entry[i]] - a.time_begin;
        length[i] = static_cast<int>(left < 0 ? 0 : left < a.steps ? left : a.steps);
      }
    }
  }
};

using HExchange = Exchange<HImage, H_WORD>;
#if PROJECTED
using OutExchange = Exchange<OutImage, Word::stamp>;  // o tanh(c), which W_hr reads
#else
using OutExchange = HExchange;
#endif

// A timestep's outputs: y has its own order of units, so these are scattered stores.
template <class Own>
struct Outputs {
  u32 bits[Own::count];
  __device__ __forceinline__ void store(const Arguments& a, const Own& own, int time) const {
#pragma unroll
    for (int i = 0; i < Own::count; ++i) {
      if (own.unit[i] < 0) continue;
      store_element<Element>(a.y, time * a.y_time + own.batch_entry[i] * a.y_batch + own.unit[i],
                             time < own.length[i] ? bits[i] : 0);
    }
  }
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) run_layer(const Arguments a) {
  unsigned char* const h_image = memory + H_IMAGE_AT;
  float* const sums = reinterpret_cast<float*>(memory + SUMS_AT);
  const int cta = blockIdx.x % CTAS, group = blockIdx.x / CTAS;
  const int groups = gridDim.x / CTAS;
  const int first_entry = a.first_entry + group * GROUP_BATCH;

  Product<Hh> product;
  product.load(a.hh, cta, memory + HH_PAIRS_AT);
  HExchange h_exchange(a.ring + static_cast<i64>(group) * 2 * HExchange::quads,
                       static_cast<i64>(groups) * 2 * HExchange::quads, cta, a.control + 1 + group);
  const Owned<HExchange> h_own(a, a.output_map, cta, first_entry);
#if PROJECTED
  unsigned char* const out_image = memory + OUT_IMAGE_AT;
  Product<Hr> projection;
  projection.load(a.hr, cta, memory + HR_PAIRS_AT);
  u64* const out_ring = a.ring + static_cast<i64>(groups) * 4 * HExchange::quads;
  OutExchange out_exchange(out_ring + static_cast<i64>(group) * 2 * OutExchange::quads,
                           static_cast<i64>(groups) * 2 * OutExchange::quads, cta, a.control + 1 + groups + group);
  const Owned<OutExchange> own(a, a.unit_map, cta, first_entry);
#else
  unsigned char* const out_image = h_image;
  const Owned<HExchange>& own = h_own;
#endif

  for (int i = threadIdx.x; i < IMAGES_BYTES / 4; i += THREADS) reinterpret_cast<u32*>(memory)[i] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < CTAS * HExchange::entries; i += THREADS) {
    const int unit = a.output_map[i / GROUP_BATCH], b = first_entry + i % GROUP_BATCH;
    if (unit < 0 || b >= a.batch) continue;
    const float value = a.h[static_cast<i64>(b) * a.outputs + unit];
    store_element<Element>(h_image + HExchange::address(i / HExchange::entries, i % HExchange::entries), 0,
                           Element::encode(value));
  }
  float c[OutExchange::entries_a_thread], n_bias[OutExchange::entries_a_thread];
#pragma unroll
  for (int i = 0; i < OutExchange::entries_a_thread; ++i) {
    c[i] = n_bias[i] = 0.0f;
    if (own.unit[i] < 0) continue;
    if (CELL == Cell::lstm) c[i] = a.c[static_cast<i64>(own.batch_entry[i]) * a.hidden + own.unit[i]];
    if (CELL == Cell::gru) n_bias[i] = a.n_bias[own.unit[i]];
  }
  float h[HExchange::entries_a_thread];
#pragma unroll
  for (int i = 0; i < HExchange::entries_a_thread; ++i) {
    h[i] = h_own.unit[i] < 0 ? 0.0f : a.h[static_cast<i64>(h_own.batch_entry[i]) * a.outputs + h_own.unit[i]];
  }

  Outputs<Owned<HExchange>> y = {};
  const auto time_of = [&](int step) { return a.reverse ? a.steps - 1 - step : step; };
  bool running = rendezvous(a.control, a.rendezvous_limit, a.status);
  int step = 0;
  for (; running && step < a.steps; ++step) {
    const int time = time_of(step);
    // Loaded an exchange and a product ahead of their use.
    float x[OutExchange::entries_a_thread][GATES];
#pragma unroll
    for (int i = 0; i < OutExchange::entries_a_thread; ++i) {
      if (own.unit[i] < 0) continue;
      const int unit_at = cta * OutExchange::entries / GROUP_BATCH + (threadIdx.x + i * THREADS) / GROUP_BATCH;
      const float* const from =
          a.projection + (static_cast<i64>(time) * a.batch + own.batch_entry[i]) * PROJECTION_COLUMNS + unit_at * GATES;
      if constexpr (GATES == 4) {
        const float4 v = __ldcs(reinterpret_cast<const float4*>(from));
        x[i][0] = v.x, x[i][1] = v.y, x[i][2] = v.z, x[i][3] = v.w;
      } else {
#pragma unroll
        for (int g = 0; g < GATES; ++g) x[i][g] = __ldcs(from + g);
      }
    }

    if (step > 0) {
      // y goes out while the first polls are under way: right after the publishing stores it would delay them.
      running = h_exchange.receive(step, h_image, a.status, a.limit, a.time_begin + time,
                                   [&] { y.store(a, h_own, time_of(step - 1)); });
      if (!running) break;
    }
    product.run(h_image, sums);
    __syncthreads();

    u32 out[OutExchange::entries_a_thread];
#pragma unroll
    for (int i = 0; i < OutExchange::entries_a_thread; ++i) {
      out[i] = 0;
      if (own.unit[i] < 0) continue;
      const int entry = threadIdx.x + i * THREADS;
      const float* const first_gate = sums + entry / GROUP_BATCH * GATES * GROUP_BATCH + entry % GROUP_BATCH;
      const bool valid = time < own.length[i];
      float new_c = c[i];
      const float value = update_cell(x[i], first_gate, GROUP_BATCH, n_bias[i], PROJECTED ? 0.0f : h[i], new_c);
      if (valid) c[i] = new_c;
      out[i] = Element::encode(value);
#if !PROJECTED
      if (valid) {
        h[i] = Element::decode(out[i]);
      } else {
        out[i] = Element::encode(h[i]);  // a step that is not valid leaves the state as it is
      }
#endif
    }
#if PROJECTED
    out_exchange.publish(step + 1, out, out_image);
    running = out_exchange.receive(step + 1, out_image, a.status, a.limit, a.time_begin + time, [] {});
    if (!running) break;
    projection.run(out_image, sums);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < HExchange::entries_a_thread; ++i) {
      const int entry = threadIdx.x + i * THREADS;
      if (h_own.unit[i] >= 0 && time < h_own.length[i]) h[i] = Element::decode(Element::encode(sums[entry]));
      y.bits[i] = Element::encode(h[i]);
    }
#else
#pragma unroll
    for (int i = 0; i < HExchange::entries_a_thread; ++i) y.bits[i] = out[i];
#endif
    if constexpr (H_WORD == Word::tag) {
      // Tagged quads take entries of several threads, by way of the image, which nobody reads any more.
#pragma unroll
      for (int i = 0; i < HExchange::entries_a_thread; ++i) {
        const int entry = threadIdx.x + i * THREADS;
        if (h_own.unit[i] >= 0) store_element<Element>(h_image + HExchange::address(cta, entry), 0, y.bits[i]);
      }
      __syncthreads();
    }
    h_exchange.publish(step + 1, y.bits, h_image);
  }

  if (running) {
    y.store(a, h_own, time_of(a.steps - 1));
#pragma unroll
    for (int i = 0; i < HExchange::entries_a_thread; ++i) {
      if (h_own.unit[i] >= 0) a.h[static_cast<i64>(h_own.batch_entry[i]) * a.outputs + h_own.unit[i]] = h[i];
    }
#pragma unroll
    for (int i = 0; i < OutExchange::entries_a_thread; ++i) {
      if (CELL == Cell::lstm && own.unit[i] >= 0) a.c[static_cast<i64>(own.batch_entry[i]) * a.hidden + own.unit[i]] = c[i];
    }
    return;
  }
  // exchange: leave
  // Given up: what was not computed is NaN, the state stays as it was before the launch.
#pragma unroll
  for (int i = 0; i < HExchange::entries_a_thread; ++i) y.bits[i] = Element::nan;
  for (; step < a.steps; ++step) y.store(a, h_own, time_of(step));
}
