// Waiting that ends: a deadline, an abort word that every CTA sees, and the rendezvous at the start.
#pragma once

#include "types.cuh"

// Of a session, in device memory; the host reads it after a run and clears it before the next.
struct Status {
  u32 aborted;   // 0, or why: abort_deadline, abort_rendezvous
  u32 timestep;  // of the run, counted from its first
  u32 cta;       // that gave up
  u32 word;      // of the ring, for which it waited: its index in 128-bit units within the group's slot
  static constexpr u32 no_word = ~0u;  // it waited for all words together
  volatile u32* on_host;  // becomes 1: what the host can look at without waiting for a stream
};
constexpr u32 abort_deadline = 1, abort_rendezvous = 2;

// How long one wait has taken, and whether to go on. Time is counted in pieces of at most 50 us, so that the
// time-slices that a shared GPU gives to others do not count.
class Patience {
 public:
  __device__ explicit Patience(i64 limit) : limit_(limit) {}

  // exchange: abort-check
  __device__ bool exhausted(Status* status, u32 reason, u32 timestep, u32 cta, u32 word) {
    if (load_relaxed_32(&status->aborted) != 0) return true;
    const u64 now = nanoseconds();
    if (last_ != 0) waited_ += static_cast<i64>(now - last_ < piece ? now - last_ : piece);
    last_ = now;
    if (waited_ < limit_) return false;
    // exchange: give-up
    if (atomicCAS(&status->aborted, 0u, reason) == 0) {
      status->timestep = timestep;
      status->cta = cta;
      status->word = word;
      *status->on_host = 1;
    }
    return true;
  }

 private:
  static constexpr u64 piece = 50000;
  i64 limit_;
  i64 waited_ = 0;
  u64 last_ = 0;
};

// All CTAs that work have started, and their threads have read what they need of the state before the run: who ends first, as
// after a run of one step, overwrites it. False: given up. For all threads of the CTA.
__device__ __forceinline__ bool rendezvous(u32* arrived, u32 ctas, int cta, i64 limit, Status* status) {
  bool gave_up = false;
  __syncthreads();
  if (threadIdx.x == 0) {
    // exchange: rendezvous
    add_release_32(arrived, 1);
    Patience patience(limit);
    while (load_acquire_32(arrived) < ctas && !gave_up) {
      gave_up = patience.exhausted(status, abort_rendezvous, 0, cta, 0);
    }
    // exchange: last-look
    // At what a launch before this one has left.
    gave_up |= load_relaxed_32(&status->aborted) != 0;
  }
  return !__syncthreads_or(gave_up);
}
