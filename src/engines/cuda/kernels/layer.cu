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
#include "place.cuh"
#if MMA
#include "mma_product.cuh"
#else
#include "gather_product.cuh"
#endif

extern __shared__ __align__(16) unsigned char memory[];

// The entries of a CTA's slice that a thread owns: thread + i * THREADS.
template <class E>
struct Owned {
  static constexpr int count = E::entries_a_thread;
  int length[count];  // steps of this launch in which the entry is valid, from its first; -1: there is no such entry

  __device__ __forceinline__ Owned(const Arguments& a, const int* map, int cta, int first_entry) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const int b = batch_entry(i, first_entry);
      length[i] = is_any(i) && b < a.batch && map[unit_at(i, cta)] >= 0 ? a.steps : -1;
      if (length[i] >= 0 && a.lengths != nullptr) {
        const i64 left = a.lengths[b] - a.time_begin;
        length[i] = static_cast<int>(left < 0 ? 0 : left < a.steps ? left : a.steps);
      }
    }
  }
  __device__ __forceinline__ static int entry(int i) { return threadIdx.x + i * THREADS; }
  __device__ __forceinline__ static bool is_any(int i) { return entry(i) < E::entries; }
  __device__ __forceinline__ static int batch_entry(int i, int first_entry) { return first_entry + entry(i) % GROUP_BATCH; }
  __device__ __forceinline__ static int unit_at(int i, int cta) {  // index in the map
    return cta * (E::entries / GROUP_BATCH) + entry(i) / GROUP_BATCH;
  }
  // visit(i, unit, batch entry) of the entries that there are.
  template <class Visit>
  __device__ __forceinline__ void for_each(const int* map, int cta, int first_entry, Visit&& visit) const {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      if (length[i] >= 0) visit(i, map[unit_at(i, cta)], static_cast<i64>(batch_entry(i, first_entry)));
    }
  }
};

using HExchange = Exchange<HImage, H_WORD>;
#if PROJECTED
using OutExchange = Exchange<OutImage, Word::stamp>;  // o tanh(c), which W_hr reads
#else
using OutExchange = HExchange;
#endif

// y has its own order of units. What was exchanged lies in every CTA's image of h, so each CTA copies a run of
// neighbouring units from there: scattered stores of its own units cost 0.1 us a timestep.
class Outputs {
 public:
  static constexpr int units = HExchange::entries / GROUP_BATCH;
  static constexpr int count = divide_up(HExchange::entries, THREADS);

  __device__ __forceinline__ Outputs(const Arguments& a, int cta, int first_entry) : a_(a), first_entry_(first_entry) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const int item = threadIdx.x + i * THREADS;
      const int unit = cta * units + item % units, b = item / units;
      const bool any = b < GROUP_BATCH && first_entry + b < a.batch && unit < a.outputs;
      to_[i] = any ? (first_entry + b) * a.y_batch + unit : -1;
      const int position = any ? a.position[unit] : 0;
      from_[i] = HExchange::address(position / units, position % units * GROUP_BATCH + b);
    }
  }

  // Takes the outputs of a timestep from the image of h after it.
  __device__ __forceinline__ void take(const unsigned char* image) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      bits_[i] = Element::bytes == 2 ? *reinterpret_cast<const u16*>(image + from_[i])
                                     : *reinterpret_cast<const u32*>(image + from_[i]);
    }
  }
  __device__ __forceinline__ void store(int time) const {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      if (to_[i] < 0) continue;
      const int b = first_entry_ + (threadIdx.x + i * THREADS) / units;
      const bool valid = a_.lengths == nullptr || a_.time_begin + time < a_.lengths[b];
      store_element<Element>(a_.y, time * a_.y_time + to_[i], valid ? bits_[i] : 0);
    }
  }
  __device__ __forceinline__ void fill(u32 bits, int time) const {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      if (to_[i] >= 0) store_element<Element>(a_.y, time * a_.y_time + to_[i], bits);
    }
  }

 private:
  const Arguments& a_;
  int first_entry_;
  i64 to_[count];  // -1: none
  int from_[count];
  u32 bits_[count];
};

extern "C" __global__ void __launch_bounds__(THREADS, 1) run_layer(const Arguments a) {
  // Of a state that came from the device the host does not know which kernel it needs, and launches both.
  if (a.unbounded != nullptr && *a.unbounded != static_cast<u32>(a.for_unbounded)) return;
  unsigned char* const h_image = memory + H_IMAGE_AT;
  float* const sums = reinterpret_cast<float*>(memory + SUMS_AT);
  volatile u32* const given_up = reinterpret_cast<volatile u32*>(memory + GIVEN_UP_AT);
  const Role role = claim_role(a);
  if (!role.any()) return;
  const int cta = role.cta;
  const int groups = a.roles / CTAS;
  const int first_entry = a.first_entry + role.group * GROUP_BATCH;
  u32* const barriers = a.control + Control::barriers + role.group;

  Product<Hh> product(a.hh, cta, memory + HH_WEIGHTS_AT);
  HExchange h_exchange(a.ring, groups, role, barriers, given_up, a.poll_wait);
  const Owned<HExchange> h_own(a, a.output_map, cta, first_entry);
#if PROJECTED
  unsigned char* const out_image = memory + OUT_IMAGE_AT;
  Product<Hr> projection(a.hr, cta, memory + HR_WEIGHTS_AT);
  OutExchange out_exchange(a.ring + HExchange::words(groups), groups, role, barriers + groups, given_up, a.poll_wait);
  const Owned<OutExchange> own(a, a.unit_map, cta, first_entry);
#else
  unsigned char* const out_image = h_image;
  const Owned<HExchange>& own = h_own;
#endif

  for (int i = threadIdx.x; i < SUMS_AT / 4; i += THREADS) reinterpret_cast<u32*>(memory)[i] = 0;
  __syncthreads();
  for (int i = threadIdx.x; i < CTAS * HExchange::entries; i += THREADS) {
    const int unit = a.output_map[i / GROUP_BATCH], b = first_entry + i % GROUP_BATCH;
    if (unit < 0 || b >= a.batch) continue;
    const u32 bits = Element::encode(a.h[static_cast<i64>(b) * a.outputs + unit]);
    h_exchange.watch(bits, 0);
    store_element<Element>(h_image + HExchange::address(i / HExchange::entries, i % HExchange::entries), 0, bits);
  }
  float c[OutExchange::entries_a_thread] = {}, n_bias[OutExchange::entries_a_thread] = {};
  own.for_each(a.unit_map, cta, first_entry, [&](int i, int unit, i64 b) {
    if (CELL == Cell::lstm) c[i] = a.c[b * a.hidden + unit];
    if (CELL == Cell::gru) n_bias[i] = a.n_bias[unit];
  });
  float h[HExchange::entries_a_thread] = {};
  h_own.for_each(a.output_map, cta, first_entry, [&](int i, int unit, i64 b) { h[i] = a.h[b * a.outputs + unit]; });

  u32 gate_rows[OutExchange::entries_a_thread][GATES];
#pragma unroll
  for (int i = 0; i < OutExchange::entries_a_thread; ++i) {
#pragma unroll
    for (int g = 0; g < GATES; ++g) {
      gate_rows[i][g] = own.length[i] < 0 ? 0 : product.sums_of_row(a.hh, cta, own.entry(i) / GROUP_BATCH * GATES + g);
    }
  }
#if PROJECTED
  u32 output_rows[HExchange::entries_a_thread];
#pragma unroll
  for (int i = 0; i < HExchange::entries_a_thread; ++i) {
    output_rows[i] = h_own.length[i] < 0 ? 0 : projection.sums_of_row(a.hr, cta, h_own.entry(i) / GROUP_BATCH);
  }
#endif

  Outputs y(a, cta, first_entry);
  u32 h_bits[HExchange::entries_a_thread];
  const auto time_of = [&](int step) { return a.reverse ? a.steps - 1 - step : step; };
  int step = rendezvous(a.control + Control::arrived, a.roles, role.index(), a.rendezvous_limit, a.status) ? 0 : -1;
  for (; step >= 0 && step < a.steps; ++step) {
    const int time = time_of(step);
    // Loaded an exchange and a product ahead of their use.
    float x[OutExchange::entries_a_thread][GATES];
#pragma unroll
    for (int i = 0; i < OutExchange::entries_a_thread; ++i) {
      if (own.length[i] < 0) continue;
      const i64 row = static_cast<i64>(time) * a.batch + own.batch_entry(i, first_entry);
      const float* const from = a.projection + row * PROJECTION_COLUMNS + own.unit_at(i, cta) * GATES;
      if constexpr (GATES == 4) {
        const float4 v = __ldcs(reinterpret_cast<const float4*>(from));
        x[i][0] = v.x, x[i][1] = v.y, x[i][2] = v.z, x[i][3] = v.w;
      } else {
#pragma unroll
        for (int g = 0; g < GATES; ++g) x[i][g] = __ldcs(from + g);
      }
      // From memory to L2 two timesteps before.
      const i64 ahead = static_cast<i64>(a.reverse ? -2 : 2) * a.batch * PROJECTION_COLUMNS;
      if (step + 2 < a.steps) asm volatile("prefetch.global.L2 [%0];" ::"l"(from + ahead));
    }

    if (step > 0) {
      // y goes out while the first polls are under way: right after the publishing stores it would delay them.
      h_exchange.receive(step, h_image, a.status, a.limit, a.time_begin + time, [&] {
        if (step > 1) y.store(time_of(step - 2));
      });
      y.take(h_image);
    }
    product.run(h_image, sums, h_exchange.is_nonfinite(step));
    __syncthreads();

    u32 out[OutExchange::entries_a_thread];
#pragma unroll
    for (int i = 0; i < OutExchange::entries_a_thread; ++i) {
      out[i] = 0;
      if (own.length[i] < 0) continue;
      float gate_sums[GATES];
#pragma unroll
      for (int g = 0; g < GATES; ++g) gate_sums[g] = product.row_sum(sums, gate_rows[i][g], own.entry(i) % GROUP_BATCH);
      const bool valid = time < own.length[i];
      float new_c = c[i];
      const float value = update_cell(x[i], gate_sums, n_bias[i], PROJECTED ? 0.0f : h[i], new_c);
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
    if (!out_exchange.publish(step + 1, out, out_image)) break;
    out_exchange.receive(step + 1, out_image, a.status, a.limit, a.time_begin + time, [] {});
    projection.run(out_image, sums, out_exchange.is_nonfinite(step + 1));
    __syncthreads();
#pragma unroll
    for (int i = 0; i < HExchange::entries_a_thread; ++i) {
      if (time < h_own.length[i]) h[i] = Element::decode(Element::encode(projection.row_sum(sums, output_rows[i], h_own.entry(i) % GROUP_BATCH)));
      h_bits[i] = Element::encode(h[i]);
    }
#else
#pragma unroll
    for (int i = 0; i < HExchange::entries_a_thread; ++i) h_bits[i] = out[i];
#endif
    if constexpr (H_WORD == Word::tag) {
      // Tagged quads take entries of several threads, by way of the image, which nobody reads any more.
#pragma unroll
      for (int i = 0; i < HExchange::entries_a_thread; ++i) {
        if (h_own.length[i] >= 0) store_element<Element>(h_image + HExchange::address(cta, h_own.entry(i)), 0, h_bits[i]);
      }
      __syncthreads();
    }
    if (!h_exchange.publish(step + 1, h_bits, h_image)) break;
  }

  if (step == a.steps) {
    // The last outputs have not been exchanged.
    if (step > 1) y.store(time_of(step - 2));
    const int time = time_of(step - 1);
    h_own.for_each(a.output_map, cta, first_entry, [&](int i, int unit, i64 b) {
      a.h[b * a.outputs + unit] = h[i];
      store_element<Element>(a.y, time * a.y_time + b * a.y_batch + unit, time < h_own.length[i] ? h_bits[i] : 0);
    });
    own.for_each(a.unit_map, cta, first_entry, [&](int i, int unit, i64 b) {
      if (CELL == Cell::lstm) a.c[b * a.hidden + unit] = c[i];
    });
    return;
  }
  // exchange: leave
  // Given up: what was not computed is NaN, the state stays as it was before the launch. The last outputs are each
  // owner's to store, also here: others may have come to the end.
  for (int done = step > 0 ? step - 1 : 0; done + 1 < a.steps; ++done) y.fill(Element::nan, time_of(done));
  h_own.for_each(a.output_map, cta, first_entry, [&](int, int unit, i64 b) {
    store_element<Element>(a.y, time_of(a.steps - 1) * a.y_time + b * a.y_batch + unit, Element::nan);
  });
}
