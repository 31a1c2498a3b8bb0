// One persistent kernel runs all timesteps of one direction of a layer: docs/kernel.md follows one through it.
//
// A group of CTAs holds all weights and runs GROUP_BATCH entries of the batch. A timestep: wait for h -> the strategy's
// product leaves sums of each row in shared memory -> the thread of a (unit, batch entry) adds them up, updates its
// cell and publishes h. With a projection there are two such halves: what it reads, and h.
#include "types.cuh"
//
#include "arguments.cuh"
#include "plan.cuh"
//
#include "cell.cuh"
#include "place.cuh"
#include PRODUCT
#if HAS_REST
#include "gather_rows.cuh"
#endif
#if !HELD_STATE
#include "exchange.cuh"
#endif
#include "outputs.cuh"

extern __shared__ __align__(16) unsigned char memory[];

#if HELD_STATE
#if COUNTED
using HExchange = CountedExchange<Hh>;
#elif HAS_REST
using HExchange = StagedExchange<Hh, H_WORD>;
#else
using HExchange = HeldExchange<Hh, H_WORD>;
#endif
using OutExchange = HExchange;
using YOutputs = OwnOutputs<HExchange>;
#else
using HExchange = Exchange<HImage, H_WORD>;
using YOutputs = ImageOutputs<HExchange>;
#if PROJECTED
using OutExchange = Exchange<OutImage, Word::stamp>;  // o tanh(c), which W_hr reads
#else
using OutExchange = HExchange;
#endif
#endif

extern "C" __global__ void __launch_bounds__(THREADS, 1) run_layer(const Arguments a) {
  // Of a state that came from the device the host does not know which kernel it needs, and launches both.
  if (a.unbounded != nullptr && *a.unbounded != static_cast<u32>(a.for_unbounded)) return;
  unsigned char* const h_image = memory + H_IMAGE_AT;
  const u32 shared = shared_address(memory), all_sums = shared + SUMS_AT, given_up = shared + GIVEN_UP_AT;
  const Role role = claim_role(a);
  if (!role.any()) return;
  const int cta = role.cta;
  const int groups = a.roles / CTAS;
  const int first_entry = a.first_entry + role.group * GROUP_BATCH;
  u32* const barriers = a.control + Control::barriers + role.group;

  Product<Hh> product(a.hh, cta, memory + HH_WEIGHTS_AT);
#if HAS_REST
  GatheredRows<Rest> rest(a.rest, cta, memory + REST_WEIGHTS_AT);
  const u32 rest_sums = shared + REST_SUMS_AT;
#endif
#if COUNTED
  HExchange h_exchange(a, role, shared);
#else
  HExchange h_exchange(ring_of_h(a, role, groups, shared + RING_AT), role, barriers, given_up, a.poll_wait);
#endif
  const Owned<HExchange> h_own(a, a.output_map, cta, first_entry);
#if PROJECTED
  unsigned char* const out_image = memory + OUT_IMAGE_AT;
  Product<Hr> projection(a.hr, cta, memory + HR_WEIGHTS_AT);
  OutExchange out_exchange({a.ring + HExchange::words(groups), groups, role.group}, role, barriers + groups, given_up, a.poll_wait);
  const Owned<OutExchange> own(a, a.unit_map, cta, first_entry);
#else
  unsigned char* const out_image = h_image;
  const Owned<HExchange>& own = h_own;
#endif

  for (int i = threadIdx.x; i < COUNTERS_AT / 4; i += THREADS) reinterpret_cast<u32*>(memory)[i] = 0;
  // exchange: first-meeting
  meet();  // in a cluster, so that nobody stores to a ring before it is cleared
  float c[OutExchange::entries_a_thread] = {}, n_bias[OutExchange::entries_a_thread] = {};
  own.for_each(a.unit_map, cta, first_entry, [&](int i, int unit, i64 b) {
    if (CELL == Cell::lstm) c[i] = a.c[b * a.hidden + unit];
    if (CELL == Cell::gru) n_bias[i] = a.n_bias[unit];
  });
  float h[HExchange::entries_a_thread] = {};
  h_own.for_each(a.output_map, cta, first_entry, [&](int i, int unit, i64 b) { h[i] = a.h[b * a.outputs + unit]; });
  u32 h_bits[HExchange::entries_a_thread];
#pragma unroll
  for (int i = 0; i < HExchange::entries_a_thread; ++i) h_bits[i] = Element::encode(h[i]);
  h_exchange.begin(a, first_entry, h_bits, h_image);

  u32 places[OutExchange::entries_a_thread][GATES] = {};  // of the sums
#pragma unroll
  for (int i = 0; i < OutExchange::entries_a_thread; ++i) {
    if (own.length[i] >= 0) product.place_sums(a.hh, cta, own.unit(i), own.in_group(i), places[i]);
  }
#if HAS_REST
  u32 rest_places[OutExchange::entries_a_thread][GATES] = {};
#pragma unroll
  for (int i = 0; i < OutExchange::entries_a_thread; ++i) {
    if (own.length[i] >= 0) rest.place_sums(a.rest, cta, own.unit(i), own.in_group(i), rest_places[i]);
  }
#endif
#if PROJECTED
  u32 output_rows[HExchange::entries_a_thread];
#pragma unroll
  for (int i = 0; i < HExchange::entries_a_thread; ++i) {
    output_rows[i] = h_own.length[i] < 0 ? 0 : projection.place_sums_of_row(a.hr, cta, h_own.unit(i), h_own.in_group(i));
  }
#endif

  YOutputs y(a, h_own, cta, first_entry);
  const auto time_of = [&](int step) { return a.reverse ? a.steps - 1 - step : step; };
  int step = rendezvous(a.control + Control::arrived, a.roles, role.index(), a.rendezvous_limit, a.status) ? 0 : -1;
  for (; step >= 0 && step < a.steps; ++step) {
    const int time = time_of(step);
    // Loaded an exchange and a product ahead of their use.
    float x[OutExchange::entries_a_thread][GATES] = {};
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

    const Deadline deadline = {a.status, a.limit, static_cast<u32>(a.time_begin + time)};
    // y goes out while the first polls are under way: right after the publishing stores it would delay them.
    const auto store_last = [&] {
      if (step >= YOutputs::lag) y.store(time_of(step - YOutputs::lag), h_bits);
    };
    const u32 sums = all_sums + step % Product<Hh>::sum_buffers * Product<Hh>::sum_bytes;
#if HELD_STATE
    HExchange::Columns columns(h_exchange, step + HExchange::first_step, deadline, shared + H_IMAGE_AT);
    columns.receive(store_last);
    product.run(columns, sums);
#if HAS_REST
    rest.run(h_image, rest_sums, false);
#endif
#else
    if (step > 0) {
      h_exchange.receive(step, h_image, deadline, store_last);
      y.take(h_image);
    }
    product.run(h_image, sums, h_exchange.is_nonfinite(step));
#endif
    // exchange: product-meeting
    product.meet();

    u32 out[OutExchange::entries_a_thread];
#pragma unroll
    for (int i = 0; i < OutExchange::entries_a_thread; ++i) {
      out[i] = 0;
      // Of several, also those that there are not: without branches the loads of all come before the first wait for one. But
      // only where all warps have met may any sums be read.
      if ((OutExchange::entries_a_thread == 1 || Product<Hh>::whole_rows) && own.length[i] < 0) continue;
      float gate_sums[GATES];
      product.add_sums(sums, places[i], gate_sums);
#if HAS_REST
      float rest_sum[GATES];
      rest.add_sums(rest_sums, rest_places[i], rest_sum);
#pragma unroll
      for (int g = 0; g < GATES; ++g) gate_sums[g] += rest_sum[g];
#endif
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
    out_exchange.receive(step + 1, out_image, deadline, [] {});
    projection.run(out_image, sums, false);
    __syncthreads();
#pragma unroll
    for (int i = 0; i < HExchange::entries_a_thread; ++i) {
      if (time < h_own.length[i]) h[i] = Element::decode(Element::encode(projection.row_sum(sums, output_rows[i])));
      h_bits[i] = Element::encode(h[i]);
    }
#else
#pragma unroll
    for (int i = 0; i < HExchange::entries_a_thread; ++i) h_bits[i] = out[i];
#endif
    if (!h_exchange.publish(step + 1 + HExchange::first_step, h_bits, h_image)) break;
  }

  // exchange: last-meeting
  if (IN_CLUSTER) meet();  // nobody leaves while words for its ring may be under way
  if (step == a.steps) {
    // The last outputs have not been exchanged.
    if (YOutputs::lag > 1 && step > 1) y.store(time_of(step - 2), h_bits);
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
#if COUNTED
  h_exchange.let_land();
#endif
  // Given up: what was not computed is NaN, this CTA's part of the state stays as it was before the launch. The last
  // outputs are each owner's to store, also here: others may have come to the end.
  for (int done = step > 0 ? step - 1 : 0; done + 1 < a.steps; ++done) y.fill(Element::nan, time_of(done));
  h_own.for_each(a.output_map, cta, first_entry, [&](int, int unit, i64 b) {
    store_element<Element>(a.y, time_of(a.steps - 1) * a.y_time + b * a.y_batch + unit, Element::nan);
  });
}
