// The exchange of a state vector between the CTAs of a group: a ring of two slots in global memory, whose words
// say by themselves to which timestep they belong. docs/exchange.md has the protocol and why it is right.
//
// A CTA's slice is its units x the group's batch entries, the batch innermost; it travels in 128-bit quads:
//   stamp  two 64-bit words of 4 (fp32: 2) entries. A bounded value never sets the top exponent bit, relu never the
//          sign bit: in a word's first entry that bit is the stamp, in the second the NaN flag.
//   tag    7 (fp32: 3) entries of any value, and the tag.
#pragma once

#include "place.cuh"
#include "plan.cuh"
#include "wait.cuh"

// `Image` lays the vector out in shared memory (plan.cuh), `W` is its word.
template <class Image, Word W>
class Exchange {
 public:
  static constexpr int entries = Image::units_a_cta * GROUP_BATCH;  // of a slice
  static constexpr int entries_a_quad = 16 / Element::bytes - (W == Word::tag ? 1 : 0);
  static constexpr int quads_a_cta = divide_up(entries, entries_a_quad);
  static constexpr int quads = CTAS * quads_a_cta;  // of a slot of a group
  static constexpr int entries_a_thread = divide_up(quads_a_cta * entries_a_quad, THREADS);

  static constexpr i64 words(int groups) { return 4ll * groups * quads; }  // of the ring of all groups

  // `ring`: [slot][group] quads. `given_up`: two words of shared memory, 0 at the start: the first becomes 1 when a wait
  // of this CTA is given up, the second is 1 more than the last step after which the state was not finite.
  __device__ __forceinline__ Exchange(u64* ring, int groups, const Role& role, u32* barrier, volatile u32* given_up,
                                      int poll_wait)
      : polled_(ring + 2 * quads * role.group),
        slot_words_(2 * quads * groups),
        role_(role),
        barrier_(barrier),
        given_up_(given_up),
        poll_wait_(poll_wait),
        thread_(threadIdx.x) {
    // Else the compiler reads the special register anew in each timestep, 20 cycles before what waits for it.
    asm volatile("" : "+r"(thread_));
    published_ = polled_ + 2 * role.cta * quads_a_cta + (W == Word::tag ? 2 * thread_ : thread_ / word_entries);
    polled_ += 2 * thread_;
  }

  // Byte address of an entry of a CTA's slice in the image.
  __device__ __forceinline__ static int address(int cta, int entry) {
    if constexpr (contiguous) return (cta * entries + entry) * Element::bytes;
    const int unit = entry / GROUP_BATCH, b = entry % GROUP_BATCH;
    return b / Image::entries * Image::plane_bytes + (cta * Image::units_a_cta + unit) * Image::word_bytes +
           b % Image::entries * Element::bytes;
  }

  // A product that may not multiply what was pruned asks whether the state after `step` steps holds a NaN or an
  // infinity. What this thread puts into the image without `receive` or `publish` it watches itself.
  __device__ __forceinline__ void watch(u32 bits, u32 step) const {
    if (WATCH_NONFINITE && (bits & Element::exponent) == Element::exponent) note_nonfinite(step);
  }
  __device__ __forceinline__ bool is_nonfinite(u32 step) const {
    return WATCH_NONFINITE && given_up_[1] == step + 1;
  }

  // The state after `step` steps: waits until all of it is there, stages it, and lets the threads meet. If it is given
  // up, what is staged is anything, and so is what is computed from it; the next `publish` says so.
  template <class WhileWaiting>
  __device__ __forceinline__ void receive(u32 step, unsigned char* image, Status* status, i64 limit, u32 timestep,
                                          WhileWaiting&& while_waiting) {
    if constexpr (!STAMPS) {
      while_waiting();
      barrier(step, status, limit, timestep);
    } else if (poll_wait_ > 0) {
      const i64 begin = clock64();
      while (clock64() - begin < poll_wait_) {
      }
    }
    const u64* const slot = polled_ + static_cast<i64>(step & 1) * slot_words_;
    // In one round, unless the registers were planned for fewer polls.
#pragma unroll 1
    for (int first = 0; first < quads_a_thread; first += polls_at_once) {
      Quad v[polls_at_once];
      // exchange: poll
      // All quads of a round are asked for together, and again together those that were not there.
#pragma unroll
      for (int i = 0; i < polls_at_once; ++i) {
        if (has_quad(first + i)) v[i] = load(slot + 2 * (first + i) * THREADS);
      }
      if constexpr (STAMPS) {
        if (first == 0) while_waiting();
        Patience patience(limit);
        u32 tries = 0;
        bool again = true;
        while (again) {
          again = false;
          int missing = 0;
#pragma unroll
          for (int i = 0; i < polls_at_once; ++i) {
            // exchange: accept
            if (has_quad(first + i) && !is_fresh(v[i], step)) {
              v[i] = load(slot + 2 * (first + i) * THREADS);
              missing = quad_of(first + i);
              again = true;
            }
          }
          if (again && ++tries % 64 == 0 && patience.exhausted(status, abort_deadline, timestep, role_.index(), missing)) {
            *given_up_ = 1;
            again = false;
          }
        }
      }
      // exchange: stage
#pragma unroll
      for (int i = 0; i < polls_at_once; ++i) {
        // A CTA's own tagged slice was published from the image: it is there, and other threads may still read it.
        const bool own = W == Word::tag && quad_of(first + i) / quads_a_cta == role_.cta;
        if (has_quad(first + i) && !own) stage(v[i], quad_of(first + i), image, step);
      }
    }
    __syncthreads();
    // exchange: fence
    // By every thread and before the next barrier: at the publishing stores it would order a thread's stores after
    // its own polls only, not after those of the other threads.
    if constexpr (FENCE) asm volatile("fence.acq_rel.gpu;" ::: "memory");
  }

  // Publishes entry thread + i * THREADS of this CTA's slice for i = 0, 1, ...: the state after `step` steps.
  // By all threads, which must have met since the last `receive` (and, if tagged, since the slice lies in the image).
  // False: this CTA has given up, and nothing is published.
  __device__ __forceinline__ bool publish(u32 step, const u32 (&bits)[entries_a_thread], const unsigned char* image) {
    u64* const slot = published_ + static_cast<i64>(step & 1) * slot_words_;
    // exchange: flag
    const bool gave_up = *given_up_ != 0;  // waited for together with the first shuffle
    // exchange: publish
    if constexpr (W == Word::tag) {
      if (gave_up) return false;
      for (int q = thread_, i = 0; q < quads_a_cta; q += THREADS, ++i) store_relaxed_128(slot + 2 * i * THREADS, tagged(q, step, image));
    } else {
#pragma unroll
      for (int i = 0; i < entries_a_thread; ++i) publish_stamped(slot + i * THREADS / word_entries, thread_ + i * THREADS, bits[i], step, gave_up);
    }
    if constexpr (!STAMPS) {
      __syncthreads();
      if (threadIdx.x == 0 && !gave_up) add_release_32(barrier_, 1);
    }
    return !gave_up;
  }

 private:
  static constexpr int quads_a_thread = divide_up(quads, THREADS);
  static constexpr int polls_at_once = POLLS_AT_ONCE < quads_a_thread ? POLLS_AT_ONCE : quads_a_thread;
  static constexpr bool contiguous = Image::planes == 1 && Image::entries == GROUP_BATCH;
  static constexpr u32 element_bits = 8 * Element::bytes;
  static constexpr bool flags_nan = CELL != Cell::relu;
  static constexpr u64 stamp_bit = flags_nan ? Element::top_exponent_bit : Element::sign;
  static constexpr u64 flag_bit = stamp_bit << element_bits;
  static constexpr u32 word_entries = 64 / element_bits;
  static constexpr u64 top_exponent_bits =
      Element::bytes == 2 ? 0x4000400040004000ull : 0x4000000040000000ull;

  __device__ __forceinline__ int quad_of(int i) const { return thread_ + i * THREADS; }
  __device__ __forceinline__ bool has_quad(int i) const { return (i + 1) * THREADS <= quads || quad_of(i) < quads; }

  // exchange: toggle
  // A word of a slot is written every other step, so its stamp is 1, 0, 1, ... from all-zero memory on.
  __device__ __forceinline__ static u64 stamp(u32 step) { return (step + 1) >> 1 & 1 ? stamp_bit : 0; }
  __device__ __forceinline__ static u32 tag(u32 step) { return Element::bytes == 2 ? (step + 1) & 0xFFFF : step + 1; }

  __device__ __forceinline__ static Quad load(const u64* p) {
    if constexpr (W == Word::tag) return load_relaxed_128(p);
    return load_relaxed_2x64(p);
  }
  // Bit patterns are compared, never values.
  __device__ __forceinline__ static bool is_fresh(const Quad& v, u32 step) {
    if constexpr (W == Word::tag) return static_cast<u32>(v.high >> (64 - element_bits)) == tag(step);
    return (((v.low ^ stamp(step)) | (v.high ^ stamp(step))) & stamp_bit) == 0;
  }

  // A grid barrier of the group instead of polls: what the stamps save.
  // exchange: barrier
  __device__ __forceinline__ void barrier(u32 step, Status* status, i64 limit, u32 timestep) {
    if (threadIdx.x == 0) {
      Patience patience(limit);
      u32 tries = 0;
      while (load_acquire_32(barrier_) < step * CTAS && *given_up_ == 0) {
        if (++tries % 64 == 0 && patience.exhausted(status, abort_deadline, timestep, role_.index(), 0)) *given_up_ = 1;
      }
    }
    __syncthreads();
  }

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

  __device__ __forceinline__ void note_nonfinite(u32 step) const { given_up_[1] = step + 1; }
  __device__ __forceinline__ static bool any_nonfinite(u64 word) {
    bool any = false;
#pragma unroll
    for (u32 e = 0; e < word_entries; ++e) any |= (entry_bits(word, e) & Element::exponent) == Element::exponent;
    return any;
  }

  __device__ __forceinline__ void stage(Quad v, int quad, unsigned char* image, u32 step) const {
    const int cta = quad / quads_a_cta, first = quad % quads_a_cta * entries_a_quad;
    if constexpr (W == Word::stamp) {
      v = {v.low & ~stamp_bit, v.high & ~stamp_bit};
      if (flags_nan && ((v.low | v.high) & flag_bit) != 0) {
        v = {unflagged(v.low), unflagged(v.high)};
        if constexpr (WATCH_NONFINITE) note_nonfinite(step);  // a bounded value is a NaN or finite
      }
    }
    if constexpr (WATCH_NONFINITE && !(W == Word::stamp && flags_nan)) {
      // The tag is no entry.
      const u64 high = W == Word::tag ? v.high & ~0ull >> element_bits : v.high;
      if (any_nonfinite(v.low) || any_nonfinite(high)) note_nonfinite(step);
    }
    if constexpr (contiguous && entries % entries_a_quad == 0 && W == Word::stamp) {
      *reinterpret_cast<ulonglong2*>(image + quad * 16) = make_ulonglong2(v.low, v.high);
    } else {
      // Entries that lie together in the image are stored together.
      constexpr int run = common_run();
#pragma unroll
      for (int e = 0; e < entries_a_quad; e += run) {
        if (first + e >= entries) break;
        unsigned char* const to = image + address(cta, first + e);
        constexpr int half = word_entries;
        const u64 from = (e < half ? v.low : v.high) >> (e % half * element_bits);
        if constexpr (run * Element::bytes == 8) {
          *reinterpret_cast<u64*>(to) = from;
        } else if constexpr (run * Element::bytes == 4) {
          *reinterpret_cast<u32*>(to) = static_cast<u32>(from);
        } else {
          *reinterpret_cast<u16*>(to) = static_cast<u16>(from);
        }
      }
    }
  }
  // The largest power of two of entries, at most 8 bytes, that starts at a multiple of itself in the image as in the quad.
  static constexpr int common_run() {
    if (W == Word::tag) return 1;
    int run = 8 / Element::bytes;
    const int period = contiguous ? entries : GROUP_BATCH;
    while (period % run != 0 || (!contiguous && Image::entries % run != 0)) run /= 2;
    return run;
  }

  __device__ __forceinline__ static void publish_stamped(u64* to, int entry, u32 bits, u32 step, bool gave_up) {
    u64 word;
    if constexpr (Element::bytes == 2) {
      const u32 low = bits | __shfl_down_sync(~0u, bits, 1) << 16;
      word = static_cast<u64>(__shfl_down_sync(~0u, low, 2)) << 32 | low;
    } else {
      word = static_cast<u64>(__shfl_down_sync(~0u, bits, 1)) << 32 | bits;
    }
    if (entry % word_entries == 0 && entry < quads_a_cta * entries_a_quad && !gave_up) {
      // A bounded value has its top exponent bit in a NaN only.
      if (flags_nan && (word & top_exponent_bits) != 0) word = flagged(word);
      store_relaxed_64(to, word | stamp(step));
    }
  }

  __device__ __forceinline__ Quad tagged(int quad, u32 step, const unsigned char* image) const {
    Quad v;
#pragma unroll
    for (int e = 0; e < entries_a_quad; ++e) {
      const int entry = quad * entries_a_quad + e;
      if (entry >= entries) break;
      const unsigned char* const from = image + address(role_.cta, entry);
      const u64 bits = Element::bytes == 2 ? *reinterpret_cast<const u16*>(from) : *reinterpret_cast<const u32*>(from);
      watch(static_cast<u32>(bits), step);  // a CTA does not stage its own tagged slice
      constexpr int half = 64 / element_bits;
      (e < half ? v.low : v.high) |= bits << (e % half * element_bits);
    }
    v.high |= static_cast<u64>(tag(step)) << (64 - element_bits);
    return v;
  }

  // Of this thread in slot 0, and how far slot 1 lies from it.
  u64* polled_;
  u64* published_;
  int slot_words_;
  Role role_;
  u32* barrier_;
  volatile u32* given_up_;
  int poll_wait_;
  int thread_;
};
