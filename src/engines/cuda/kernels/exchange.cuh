// The exchange of a state vector that products read from shared memory: every thread polls some of the ring's words
// (ring.cuh) and stages them in the image.
//
// A CTA's slice is its units x the group's batch entries, the batch innermost; a quad is 8 (fp32: 4) neighbouring
// entries of it, of which a tag takes the last one's place.
#pragma once

#include "arguments.cuh"
#include "ring.cuh"

// `Image` lays the vector out in shared memory (plan.cuh), `W` is its word.
template <class Image, Word W>
class Exchange {
 public:
  static constexpr int first_step = 0;  // the number of the state that a run starts from: all CTAs load all of it

  static constexpr int units = Image::units_a_cta, entries = units * GROUP_BATCH;  // of a slice
  static constexpr int entries_a_quad = 16 / Element::bytes - (W == Word::tag ? 1 : 0);
  static constexpr int quads_a_cta = divide_up(entries, entries_a_quad);
  static constexpr int quads = CTAS * quads_a_cta;  // of a slot of a group
  static constexpr int entries_a_thread = divide_up(quads_a_cta * entries_a_quad, THREADS);

  static constexpr i64 words(int groups) { return 4ll * groups * quads; }  // of the ring of all groups
  // Of a CTA's slice: the entries that a thread owns.
  __device__ __forceinline__ static int entry(int i) { return threadIdx.x + i * THREADS; }
  __device__ __forceinline__ static int unit_of(int entry) { return entry / GROUP_BATCH; }
  __device__ __forceinline__ static int batch_of(int entry) { return entry % GROUP_BATCH; }

  // `given_up`: the address of two words of shared memory, 0 at the start: the first is the ring's, the
  // second is 1 more than the last step after which the state was not finite.
  __device__ __forceinline__ Exchange(const RingOfGroup& ring, const Role& role, u32* barrier, u32 given_up, int poll_wait)
      : ring_(role, barrier, given_up, poll_wait),
        polled_(ring.words + 2 * quads * ring.group),
        slot_words_(2 * quads * ring.groups),
        cta_(role.cta),
        nonfinite_after_(given_up + 4),
        thread_(threadIdx.x) {
    // Else the compiler reads the special register anew in each timestep, 20 cycles before what waits for it.
    asm volatile("" : "+r"(thread_));
    published_ = polled_ + 2 * role.cta * quads_a_cta + (W == Word::tag ? 2 * thread_ : thread_ / Codec::word_entries);
    polled_ = polled_ + 2 * thread_;
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
    return WATCH_NONFINITE && load_shared_word(nonfinite_after_) == step + 1;
  }

  // The state that a run starts from. The threads have yet to meet.
  __device__ __forceinline__ void begin(const Arguments& a, int first_entry, const u32 (&)[entries_a_thread], unsigned char* image) const {
    for (int i = threadIdx.x; i < CTAS * entries; i += THREADS) {
      const int unit = a.output_map[i / GROUP_BATCH], b = first_entry + i % GROUP_BATCH;
      if (unit < 0 || b >= a.batch) continue;
      const u32 bits = Element::encode(a.h[static_cast<i64>(b) * a.outputs + unit]);
      watch(bits, 0);
      store_element<Element>(image + address(i / entries, i % entries), 0, bits);
    }
  }

  // The state after `step` steps: waits until all of it is there, stages it, and lets the threads meet. If it is given
  // up, what is staged is anything, and so is what is computed from it; the next `publish` says so.
  template <class WhileWaiting>
  __device__ __forceinline__ void receive(u32 step, unsigned char* image, const Deadline& deadline, WhileWaiting&& while_waiting) {
    ring_.wait_to_poll(step, deadline);
    const RingWords own = polled_ + static_cast<i64>(step & 1) * slot_words_;
    // In one round, unless the registers were planned for fewer polls.
#pragma unroll 1
    for (int first = 0; first < quads_a_thread; first += polls_at_once) {
      Quad v[polls_at_once];
      const auto wants = [&](int i) { return has_quad(first + i); };
      const auto quad = [&](int i) { return (first + i) * THREADS; };
      ring_.ask(v, own, wants, quad);
      if (first == 0) while_waiting();
      ring_.wait(v, own, step, thread_, wants, quad, [&](int, const Quad& q) { return Codec::is_fresh(q, step); }, deadline);
      // exchange: stage
#pragma unroll
      for (int i = 0; i < polls_at_once; ++i) {
        // A CTA's own tagged slice was published from the image: it is there, and other threads may still read it.
        const bool own_slice = W == Word::tag && quad_of(first + i) / quads_a_cta == cta_;
        if (has_quad(first + i) && !own_slice) stage(v[i], quad_of(first + i), image, step);
      }
    }
    __syncthreads();
    Codec::fence();
  }

  // Publishes entry thread + i * THREADS of this CTA's slice for i = 0, 1, ...: the state after `step` steps.
  // By all threads, which must have met since the last product: nobody reads the image any more.
  // False: this CTA has given up, and nothing is published.
  __device__ __forceinline__ bool publish(u32 step, const u32 (&bits)[entries_a_thread], unsigned char* image) {
    if constexpr (W == Word::tag) {
      // Tagged quads take entries of several threads, by way of the image.
#pragma unroll
      for (int i = 0; i < entries_a_thread; ++i) {
        const int entry = thread_ + i * THREADS;
        if (entry < entries) store_element<Element>(image + address(cta_, entry), 0, bits[i]);
      }
      __syncthreads();
    }
    const RingWords slot = published_ + static_cast<i64>(step & 1) * slot_words_;
    const bool gave_up = ring_.gave_up(step);  // waited for together with the first shuffle
    // exchange: publish
    if constexpr (W == Word::tag) {
      if (gave_up) return false;
      for (int q = thread_, i = 0; q < quads_a_cta; q += THREADS, ++i) Codec::store(slot + 2 * i * THREADS, tagged(q, step, image));
    } else {
#pragma unroll
      for (int i = 0; i < entries_a_thread; ++i) {
        const u64 word = Codec::join(bits[i]);
        const int entry = thread_ + i * THREADS;
        if (entry % Codec::word_entries == 0 && entry < quads_a_cta * entries_a_quad && !gave_up)
          Codec::store(slot + i * THREADS / Codec::word_entries, Codec::stamped(word, step));
      }
    }
    ring_.arrive(gave_up);
    return !gave_up;
  }

 private:
  using Codec = Ring<W>;
  static constexpr int quads_a_thread = divide_up(quads, THREADS);
  static constexpr int polls_at_once = POLLS_AT_ONCE < quads_a_thread ? POLLS_AT_ONCE : quads_a_thread;
  static constexpr bool contiguous = Image::planes == 1 && Image::entries == GROUP_BATCH;

  __device__ __forceinline__ int quad_of(int i) const { return thread_ + i * THREADS; }
  __device__ __forceinline__ bool has_quad(int i) const { return (i + 1) * THREADS <= quads || quad_of(i) < quads; }

  __device__ __forceinline__ void note_nonfinite(u32 step) const { store_shared(nonfinite_after_, step + 1); }

  __device__ __forceinline__ void stage(Quad v, int quad, unsigned char* image, u32 step) const {
    const int cta = quad / quads_a_cta, first = quad % quads_a_cta * entries_a_quad;
    if constexpr (W == Word::stamp) {
      v = {Codec::without_stamp(v.low), Codec::without_stamp(v.high)};
      if (Codec::is_flagged(v.low | v.high)) {
        v = {Codec::unflagged(v.low), Codec::unflagged(v.high)};
        if constexpr (WATCH_NONFINITE) note_nonfinite(step);  // a bounded value is a NaN or finite
      }
    }
    if constexpr (WATCH_NONFINITE && !(W == Word::stamp && Codec::flags_nan)) {
      // The tag is no entry.
      const u64 high = W == Word::tag ? v.high & ~0ull >> Codec::element_bits : v.high;
      if (Codec::any_nonfinite(v.low) || Codec::any_nonfinite(high)) note_nonfinite(step);
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
        constexpr int half = Codec::word_entries;
        const u64 from = (e < half ? v.low : v.high) >> (e % half * Codec::element_bits);
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

  __device__ __forceinline__ Quad tagged(int quad, u32 step, const unsigned char* image) const {
    Quad v;
#pragma unroll
    for (int e = 0; e < entries_a_quad; ++e) {
      const int entry = quad * entries_a_quad + e;
      if (entry >= entries) break;
      const unsigned char* const from = image + address(cta_, entry);
      const u64 bits = Element::bytes == 2 ? *reinterpret_cast<const u16*>(from) : *reinterpret_cast<const u32*>(from);
      watch(static_cast<u32>(bits), step);  // a CTA does not stage its own tagged slice
      constexpr int half = Codec::word_entries;
      (e < half ? v.low : v.high) |= bits << (e % half * Codec::element_bits);
    }
    v.high |= Codec::tag_bits(step);
    return v;
  }

  Ring<W> ring_;
  // Of this thread in slot 0, and how far slot 1 lies from it.
  RingWords polled_;
  RingWords published_;
  int slot_words_;
  int cta_;
  u32 nonfinite_after_;
  int thread_;
};
