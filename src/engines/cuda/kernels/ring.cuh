// A ring of two slots, through which the CTAs of a group exchange a state vector: its words say by themselves to which
// timestep they belong. docs/exchange.md has the protocol and why it is right.
//
// A slot is 128-bit quads:
//   stamp  two 64-bit words of 4 (fp32: 2) entries. A bounded value never sets the top exponent bit, relu never the
//          sign bit: in a word's first entry that bit is the stamp, in the second the NaN flag.
//   tag    entries of any value, and above them the tag in the last 16 (32) bits.
#pragma once

#include "place.cuh"
#include "plan.cuh"
#include "ring_words.cuh"
#include "wait.cuh"

// What a wait that is given up reports.
struct Deadline {
  Status* status;
  i64 limit;
  u32 timestep;
};

template <Word W>
class Ring {
 public:
  static constexpr u32 element_bits = 8 * Element::bytes;
  static constexpr u32 word_entries = 64 / element_bits;
  static constexpr bool flags_nan = CELL != Cell::relu;

  // `given_up`: the address of a word of shared memory, 0 at the start, that becomes the number of the state for which a wait
  // of this CTA is given up.
  __device__ __forceinline__ Ring(const Role& role, u32* barrier, u32 given_up, int poll_wait)
      : cta_(role.index()), barrier_(barrier), given_up_(given_up), poll_wait_(poll_wait) {}

  // Of the quads `quad(i)` behind `own`, i = 0 ... N - 1, asks for those that this thread `wants`.
  template <int N, class Wants, class QuadOf>
  __device__ __forceinline__ void ask(Quad (&v)[N], RingWords own, Wants&& wants, QuadOf&& quad) const {
    // exchange: poll
#pragma unroll
    for (int i = 0; i < N; ++i) {
      if (wants(i)) v[i] = load(own + 2 * quad(i));
    }
  }

  // Returns when all that were asked for have `arrived` or the wait is given up; then what was not there is anything.
  // Those that were not there are asked for again together. `step`: the state's number; `first`: the number of `own` in the group's slot.
  template <int N, class Wants, class QuadOf, class Arrived>
  __device__ __forceinline__ void wait(Quad (&v)[N], RingWords own, u32 step, int first, Wants&& wants, QuadOf&& quad,
                                       Arrived&& arrived, const Deadline& deadline) {
    if constexpr (STAMPS) {
      Patience patience(deadline.limit);
      u32 tries = 0;
      bool again = true;
      while (again) {
        again = false;
        int missing = 0;
#pragma unroll
        for (int i = 0; i < N; ++i) {
          // exchange: accept
          if (wants(i) && !arrived(i, v[i])) {
            v[i] = load(own + 2 * quad(i));
            missing = first + quad(i);
            again = true;
          }
        }
        if (again && ++tries % 64 == 0 && patience.exhausted(deadline.status, abort_deadline, deadline.timestep, cta_, missing)) {
          store_shared(given_up_, step);
          again = false;
        }
      }
    }
  }

  // Before the first poll of the state after `step` steps.
  __device__ __forceinline__ void wait_to_poll(u32 step, const Deadline& deadline) {
    if constexpr (!STAMPS) {
      barrier(step, deadline);
    } else if (poll_wait_ > 0) {
      const i64 begin = clock64();
      while (clock64() - begin < poll_wait_) {
      }
    }
  }

  // exchange: fence
  // By every thread after its polls and before the next barrier: at the publishing stores it would order a thread's
  // stores after its own polls only, not after those of the other threads.
  __device__ __forceinline__ static void fence() {
    if constexpr (FENCE) asm volatile("fence.acq_rel.gpu;" ::: "memory");
  }

  // exchange: flag
  // Before state `step` is published. The same for all lanes of a warp, so that none leaves alone: the others would go on to
  // full-warp operations. In a cluster the same for all threads of the CTA: who is late does not leave for what one that is
  // ahead has given up since, because those that leave wait for the cluster, and the others of the CTA for them.
  __device__ __forceinline__ bool gave_up(u32 step) const {
    const u32 state = load_shared_word(given_up_);
    return __any_sync(~0u, state != 0 && (!IN_CLUSTER || state < step));
  }

  // After a CTA's last publishing store.
  // exchange: arrive
  __device__ __forceinline__ void arrive(bool gave_up) {
    if constexpr (STAMPS) return;
    __syncthreads();
    if (threadIdx.x == 0 && !gave_up) add_release_32(barrier_, 1);
  }

  // Publishes state number `step`, of which this thread has `bits`: words that four neighbouring threads have, each stored by
  // the first of them `at[i]` words behind the slot; -1: none. `padded`: another of them may store one of zeros
  // (padding.cuh). False: this CTA has given up, and nothing is published.
  template <int N>
  __device__ __forceinline__ bool publish(u32 step, const u32 (&bits)[N], const int (&at)[N], RingWords ring, int slot, bool padded) {
    const bool gave_up = this->gave_up(step);  // waited for together with the first shuffle
#pragma unroll
    for (int i = 0; i < N; ++i) {
      u64 word = join(bits[i]);
      if (padded && threadIdx.x % 4 != 0) word = 0;
      if (at[i] < 0 || gave_up) continue;
      const RingWords to = ring + (at[i] + slot);
      // exchange: publish-held
      if constexpr (W == Word::tag) {
        store(to, Quad{word, tag_bits(step)});
      } else {
        store(to, stamped(word, step));
      }
    }
    arrive(gave_up);
    return !gave_up;
  }

  template <class Words>
  __device__ __forceinline__ static Quad load(Words p) {
    if constexpr (W == Word::tag) return load_relaxed_128(p);
    return load_relaxed_2x64(p);
  }
  template <class Words>
  __device__ __forceinline__ static void store(Words p, u64 stamped) {
    store_relaxed_64(p, stamped);
  }
  template <class Words>
  __device__ __forceinline__ static void store(Words p, const Quad& tagged) {
    store_relaxed_128(p, tagged);
  }
  // Bit patterns are compared, never values.
  __device__ __forceinline__ static bool is_fresh(u64 word, u32 step) { return ((word ^ stamp(step)) & stamp_bit) == 0; }
  __device__ __forceinline__ static bool is_fresh(const Quad& v, u32 step) {
    if constexpr (W == Word::tag) return static_cast<u32>(v.high >> (64 - element_bits)) == tag(step);
    return (((v.low ^ stamp(step)) | (v.high ^ stamp(step))) & stamp_bit) == 0;
  }

  // Of a word that has come and is not flagged: 0. To be or'ed over all words that a thread has polled, so that one test is
  // left of them, for what is rare: one that has not come yet, or has a NaN. Accepts what `wait` would.
  __device__ __forceinline__ static u64 oddity(u64 word, u32 step) {
    return (word ^ stamp(step)) & (flags_nan ? stamp_bit | flag_bit : stamp_bit);
  }
  __device__ __forceinline__ static u64 oddity(const Quad& v, u32 step, bool has_first, bool has_second) {
    if constexpr (W == Word::tag) return !has_first || is_fresh(v, step) ? 0 : 1;
    return (has_first ? oddity(v.low, step) : 0) | (has_second ? oddity(v.high, step) : 0);
  }

  // The word that this thread and the next ones, of `entry` a multiple of word_entries, have the entries of.
  __device__ __forceinline__ static u64 join(u32 bits) {
    if constexpr (Element::bytes == 2) {
      const u32 low = bits | __shfl_down_sync(~0u, bits, 1) << 16;
      return static_cast<u64>(__shfl_down_sync(~0u, low, 2)) << 32 | low;
    } else {
      return static_cast<u64>(__shfl_down_sync(~0u, bits, 1)) << 32 | bits;
    }
  }
  __device__ __forceinline__ static u64 stamped(u64 word, u32 step) {
    // A bounded value has its top exponent bit in a NaN only.
    if (flags_nan && (word & top_exponent_bits) != 0) word = flagged(word);
    return word | stamp(step);
  }
  // Without the stamp; NaNs as they were.
  __device__ __forceinline__ static u64 without_stamp(u64 word) { return word & ~stamp_bit; }
  __device__ __forceinline__ static bool is_flagged(u64 word) { return flags_nan && (word & flag_bit) != 0; }
  __device__ __forceinline__ static u64 unflagged(u64 word) {
    if ((word & flag_bit) == 0) return word;
    u64 restored = 0;
#pragma unroll
    for (u32 e = 0; e < word_entries; ++e) {
      const u32 bits = entry_bits(word & ~(stamp_bit | flag_bit), e);
      restored |= static_cast<u64>(bits == Element::sign ? Element::nan : bits) << (e * element_bits);
    }
    return restored;
  }
  __device__ __forceinline__ static u64 tag_bits(u32 step) { return static_cast<u64>(tag(step)) << (64 - element_bits); }

  __device__ __forceinline__ static bool any_nonfinite(u64 word) {
    bool any = false;
#pragma unroll
    for (u32 e = 0; e < word_entries; ++e) any |= (entry_bits(word, e) & Element::exponent) == Element::exponent;
    return any;
  }

 private:
  static constexpr u64 stamp_bit = flags_nan ? Element::top_exponent_bit : Element::sign;
  static constexpr u64 flag_bit = stamp_bit << element_bits;
  static constexpr u64 top_exponent_bits =
      Element::bytes == 2 ? 0x4000400040004000ull : 0x4000000040000000ull;

  // exchange: toggle
  // A word of a slot is written every other step, so its stamp is 1, 0, 1, ... from all-zero memory on.
  __device__ __forceinline__ static u64 stamp(u32 step) { return (step + 1) >> 1 & 1 ? stamp_bit : 0; }
  __device__ __forceinline__ static u32 tag(u32 step) { return Element::bytes == 2 ? (step + 1) & 0xFFFF : step + 1; }

  __device__ __forceinline__ static u32 entry_bits(u64 word, int e) {
    const u32 bits = static_cast<u32>(word >> (e * element_bits));
    return Element::bytes == 2 ? bits & 0xFFFF : bits;
  }

  // In a flagged word -0.0 means NaN (and a true -0.0 travels as 0). Rare, so kept out of the way of the others.
  __device__ __forceinline__ static u64 flagged(u64 word) {
    u64 sent = flag_bit;
#pragma unroll
    for (u32 e = 0; e < word_entries; ++e) {
      const u32 bits = entry_bits(word, e);
      const u32 entry = bits & Element::top_exponent_bit ? Element::sign : bits == Element::sign ? 0 : bits;
      sent |= static_cast<u64>(entry) << (e * element_bits);
    }
    return sent;
  }

  // A grid barrier of the group instead of polls: what the stamps save.
  // exchange: barrier
  __device__ __forceinline__ void barrier(u32 step, const Deadline& deadline) {
    if (threadIdx.x == 0) {
      Patience patience(deadline.limit);
      u32 tries = 0;
      while (load_acquire_32(barrier_) < step * CTAS && load_shared_word(given_up_) == 0) {
        if (++tries % 64 == 0 && patience.exhausted(deadline.status, abort_deadline, deadline.timestep, cta_, 0)) store_shared(given_up_, step);
      }
    }
    __syncthreads();
  }

  int cta_;
  u32* barrier_;
  u32 given_up_;
  int poll_wait_;
};
