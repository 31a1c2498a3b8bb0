// Which entries of a state vector a thread owns, and how the outputs of a timestep get to y.
#pragma once

#include "arguments.cuh"
#include "plan.cuh"
#include "types.cuh"

// The entries of a CTA's slice that a thread owns.
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
  __device__ __forceinline__ static bool is_any(int i) { return E::entry(i) < E::entries && in_group(i) < GROUP_BATCH; }
  __device__ __forceinline__ static int batch_entry(int i, int first_entry) { return first_entry + in_group(i); }
  __device__ __forceinline__ static int unit_at(int i, int cta) {  // index in the map
    return cta * E::units + unit(i);
  }
  __device__ __forceinline__ static int unit(int i) { return E::unit_of(E::entry(i)); }       // of the slice
  __device__ __forceinline__ static int in_group(int i) { return E::batch_of(E::entry(i)); }  // of the group's batch
  // visit(i, unit, batch entry) of the entries that there are.
  template <class Visit>
  __device__ __forceinline__ void for_each(const int* map, int cta, int first_entry, Visit&& visit) const {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      if (length[i] >= 0) visit(i, map[unit_at(i, cta)], static_cast<i64>(batch_entry(i, first_entry)));
    }
  }
};

// y has its own order of units. What was exchanged lies in every CTA's image of h, so each CTA copies a run of
// neighbouring units from there: scattered stores of its own units cost 0.1 us a timestep.
template <class E>
class ImageOutputs {
 public:
  static constexpr int lag = 2;  // timesteps after which the loop stores an output

  __device__ __forceinline__ ImageOutputs(const Arguments& a, const Owned<E>&, int cta, int first_entry)
      : a_(a), first_entry_(first_entry) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      const int item = threadIdx.x + i * THREADS;
      const int unit = cta * units + item % units, b = item / units;
      const bool any = b < GROUP_BATCH && first_entry + b < a.batch && unit < a.outputs;
      to_[i] = any ? (first_entry + b) * a.y_batch + unit : -1;
      const int position = any ? a.position[unit] : 0;
      from_[i] = any ? E::address(position / units, position % units * GROUP_BATCH + b) : 0;
    }
  }

  // The outputs of a timestep, from the image of h after it.
  __device__ __forceinline__ void take(const unsigned char* image) {
#pragma unroll
    for (int i = 0; i < count; ++i) {
      bits_[i] = Element::bytes == 2 ? *reinterpret_cast<const u16*>(image + from_[i])
                                     : *reinterpret_cast<const u32*>(image + from_[i]);
    }
  }
  __device__ __forceinline__ void store(int time, const u32 (&)[E::entries_a_thread]) const {
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
  static constexpr int units = E::units;
  static constexpr int count = divide_up(E::entries, THREADS);

  const Arguments& a_;
  int first_entry_;
  i64 to_[count];  // -1: none
  int from_[count];
  u32 bits_[count];
};

// Where a CTA's units neighbour each other in y, each thread stores what it owns.
template <class E>
class OwnOutputs {
 public:
  static constexpr int lag = 1;

  __device__ __forceinline__ OwnOutputs(const Arguments& a, const Owned<E>& own, int cta, int first_entry)
      : a_(a), own_(own), first_entry_(first_entry) {
    own.for_each(a.output_map, cta, first_entry, [&](int i, int unit, i64) { unit_[i] = unit; });
  }

  // `bits`: of the state after the timestep.
  __device__ __forceinline__ void store(int time, const u32 (&bits)[E::entries_a_thread]) const {
#pragma unroll
    for (int i = 0; i < E::entries_a_thread; ++i) {
      if (own_.length[i] >= 0) store_element<Element>(a_.y, index(i, time), time < own_.length[i] ? bits[i] : 0);
    }
  }
  __device__ __forceinline__ void fill(u32 bits, int time) const {
#pragma unroll
    for (int i = 0; i < E::entries_a_thread; ++i) {
      if (own_.length[i] >= 0) store_element<Element>(a_.y, index(i, time), bits);
    }
  }

 private:
  // Computed anew each time: registers are scarcer where weights live in them.
  __device__ __forceinline__ i64 index(int i, int time) const {
    return time * a_.y_time + Owned<E>::batch_entry(i, first_entry_) * a_.y_batch + unit_[i];
  }

  const Arguments& a_;
  const Owned<E>& own_;
  int first_entry_;
  int unit_[E::entries_a_thread] = {};
};
