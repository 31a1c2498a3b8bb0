// The exchange of a state vector that tensor cores multiply without a detour through shared memory: a warp of strategy
// dense-mma polls the words of its own columns, and they are operand B of mma.m16n8k16 as they come; in sparse-mma two
// neighbouring lanes then share halves of theirs. So no warp waits for the polls of another before its product.
//
// The words of the first steps are asked for together and held: of those whose weights are on chip, unless the plan
// says otherwise. Those of the others come a quad at a time, another one asked for when one is taken. Row parts (mma.cuh)
// read the same words.
#pragma once

#include "arguments.cuh"
#include "held_quads.cuh"
#include "held_slice.cuh"
#include "mma.cuh"
#include "padding.cuh"
#include "ring.cuh"

template <class M, Word W>
class HeldExchange : public HeldSlice<M> {
  using Slice = HeldSlice<M>;

 public:
  using Quads = HeldQuads<M, W>;
  using Order = LateOrder<M>;
  using Operand = OperandB<M>;
  static constexpr int first_step = 1;  // the number of the state that a run starts from: it is exchanged like all others
  static constexpr int entries = Slice::entries, entries_a_thread = Slice::entries_a_thread;

  static constexpr i64 words(int groups) { return 4ll * groups * Quads::a_slot; }  // of the ring of all groups

  __device__ __forceinline__ HeldExchange(const RingOfGroup& ring, const Role& role, u32* barrier, u32 given_up, int poll_wait)
      : ring_(role, barrier, given_up, poll_wait), words_(ring.words), slot_words_(2 * Quads::a_slot * ring.groups) {
    const int lane = threadIdx.x % 32;
    const int own = 2 * Quads::a_slot * ring.group;
    polled_ = own + 2 * first_quad();
    const int units = published_units - column_warp<M>() * Quads::all_steps * 16 - lane % 4 * 4;
    const bool any = units > 0 && Quads::entry_of_lane(lane) < GROUP_BATCH;
    const int steps = !any ? 0 : units > Quads::all_steps * 16 ? Quads::all_steps : (units + 15) / 16;  // somebody publishes
    const int part = Quads::part_of_lane(lane);
    held_words_ = words_of(min(steps, Quads::held_steps) - part);
    streamed_words_ = words_of(steps - Quads::held_steps - part);
#pragma unroll
    for (int i = 0; i < entries_a_thread; ++i) {
      const int entry = Slice::entry(i), b = Slice::batch_of(entry);
      const int unit = role.cta * M::Image::units_a_cta + Slice::unit_of(entry);
      // No column reads what lies behind the last step: units that there are not.
      const int column_warp = unit / 16 / Quads::all_steps;
      const bool publishes = entry % 4 == 0 && entry < entries && column_warp < M::column_warps;
      const int word = publishes ? Quads::word_at(column_warp, unit % (16 * Quads::all_steps), b)
                                 : Padded::of_thread(role.cta, i, [](int warp, int unit, int b, bool behind_held) {
                                     return behind_held ? Quads::word_behind_held(warp, unit, b) : Quads::word_at(warp, unit, b);
                                   });
      published_[i] = word < 0 ? -1 : own + word;
    }
  }

  // The state that a run starts from, of which this thread has `bits`.
  __device__ __forceinline__ void begin(const Arguments&, int, const u32 (&bits)[entries_a_thread], unsigned char* memory) {
    // exchange: begin-held
    publish(first_step, bits, memory);
  }

  // State number `step`, as a lane holds it while the product of its warp goes through it: what is held, then the
  // streamed quads. If a wait is given up, what is not there is anything, and so is what is computed from it; the next
  // `publish` says so.
  class Columns {
   public:
    __device__ __forceinline__ Columns(HeldExchange& exchange, u32 step, const Deadline& deadline, u32)
        : exchange_(exchange), step_(step), deadline_(deadline) {}

    // Returns when all held words are there.
    template <class WhileWaiting>
    __device__ __forceinline__ void receive(WhileWaiting&& while_waiting) {
      exchange_.ring_.wait_to_poll(step_, deadline_);
      if constexpr (Quads::held == 0) {
        ask_streamed(0);
        while_waiting();
      }
      u64 flags = 0;  // all words, or'ed
      // In one round, unless the registers were planned for fewer polls.
#pragma unroll
      for (int first = 0; first < all_held; first += polls_at_once) {
        Quad v[polls_at_once];
        const auto plane_of = [&](int i) { return (first + i) / at_least_one(Quads::held); };
        const auto quad_of = [&](int i) { return (first + i) % at_least_one(Quads::held); };
        const auto has = [&](int i, int w) { return first + i < all_held && exchange_.has_held(plane_of(i), quad_of(i) * Quads::words + w); };
        const auto wants = [&](int i) { return has(i, 0); };
        const auto place = [&](int i) { return exchange_.place(plane_of(i), quad_of(i)); };
        exchange_.ring_.ask(v, from(), wants, place);
        if (first == 0) {
          if constexpr (Quads::streamed > 0) ask_streamed(0);
          while_waiting();
        }
        exchange_.ring_.wait(
            v, from(), step_, first_quad(), wants, place, [&](int i, const Quad& q) { return is_there(q, step_, true, has(i, 1)); }, deadline_);
#pragma unroll
        for (int i = 0; i < polls_at_once; ++i) {
          if (first + i >= all_held) continue;
          if constexpr (can_flag) flags |= v[i].low | v[i].high;
          // exchange: take-held
          take(v[i], word_[plane_of(i)][quad_of(i)]);  // words that nobody publishes are zero
        }
      }
      __syncwarp();
      // Here, so that one predicate is left of them, and all words are ready: else the compiler takes stamps off, and hands
      // words down, between the products (tanh 2304: 1.40 us instead of 1.29).
      if constexpr (can_flag) {
        nonfinite_ = Codec::is_flagged(flags);
        if (nonfinite_) change_held([](u64 word) { return Codec::unflagged(word); });
      }
      if constexpr (M::sparse) change_held(share_halves);
    }

    // Operand B of a held step of the weights.
    __device__ __forceinline__ void operand(int weights_step, Operand (&b)[Quads::planes]) const {
#pragma unroll
      for (int i = 0; i < Quads::operands_a_step; ++i) {
        const int step = weights_step * Quads::operands_a_step + i, place = Quads::place_in_quad(step);
#pragma unroll
        for (int plane = 0; plane < Quads::planes; ++plane)
          put<Quads>(b[plane], i, word_[plane][Quads::quad_of(step)][place / Quads::parts], place % Quads::parts);
      }
    }

    // The words of streamed quad `quad`, one after the other.
    __device__ __forceinline__ void take_streamed(int quad, u64 (&words)[Quads::planes][Quads::words]) {
      Quad(&coming)[Quads::planes] = coming_[quad % M::quads_ahead];
      const auto has = [&](int plane, int w) { return w < Quads::words && exchange_.has_streamed(plane, quad * Quads::words + w); };
      u64 odd = 0;  // one test for what has not come, and for a NaN
#pragma unroll
      for (int plane = 0; plane < Quads::planes; ++plane) odd |= Codec::oddity(coming[plane], step_, has(plane, 0), has(plane, 1));
      if (__any_sync(~0u, odd != 0)) {
        exchange_.ring_.wait(
            coming, from(), step_, first_quad(), [&](int plane) { return has(plane, 0) || has(plane, 1); },
            [&](int plane) { return exchange_.place(plane, Quads::held + quad); },
            [&](int plane, const Quad& q) { return is_there(q, step_, has(plane, 0), has(plane, 1)); }, deadline_);
        if constexpr (can_flag) {
#pragma unroll
          for (int plane = 0; plane < Quads::planes; ++plane) nonfinite_ |= Codec::is_flagged(coming[plane].low | coming[plane].high);
        }
        __syncwarp();
      }
#pragma unroll
      for (int plane = 0; plane < Quads::planes; ++plane) {
        take(coming[plane], words[plane]);
        coming[plane] = {};
        if constexpr (M::sparse) {
#pragma unroll
          for (int w = 0; w < Quads::words; ++w) words[plane][w] = share_halves(words[plane][w]);
        }
      }
      // The others not before the first has come: then they are there too.
      constexpr int ahead = M::quads_ahead;
#pragma unroll
      for (int i = 1; i <= ahead; ++i) {
        if ((i == ahead || quad == 0) && quad + i < Quads::streamed) ask_streamed(quad + i);
      }
    }

    // After all was taken. The same for all lanes of a warp: whether one of them had a NaN or an infinity.
    __device__ __forceinline__ bool end_nonfinite() const {
      Codec::fence();
      return __any_sync(~0u, nonfinite_);
    }
    // For the rare product: four units' state of a step and one batch entry. Anew from the ring, where it is until this CTA
    // has published.
    __device__ __forceinline__ void again(int step, int four, int plane, int entry, u32 (&h)[2]) const {
      const int place = Quads::place_in_quad(step);
      const Quad v = Codec::load(from() + 2 * exchange_.place(plane, Quads::quad_of(step)));
      u64 word = place / Quads::parts == 0 ? v.low : v.high;
      if constexpr (W == Word::stamp) word = Codec::without_stamp(word);
      if constexpr (can_flag) word = Codec::unflagged(word);
      const int owner = Quads::lane_of(entry, place % Quads::parts, four);
      h[0] = __shfl_sync(~0u, static_cast<u32>(word), owner);
      h[1] = __shfl_sync(~0u, static_cast<u32>(word >> 32), owner);
    }

   private:
    __device__ __forceinline__ RingWords from() const { return exchange_.words_ + (exchange_.polled_ + exchange_.slot_at(step_)); }

    template <class Change>
    __device__ __forceinline__ void change_held(Change&& change) {
#pragma unroll
      for (int plane = 0; plane < Quads::planes; ++plane) {
#pragma unroll
        for (int quad = 0; quad < Quads::held; ++quad) {
#pragma unroll
          for (int w = 0; w < Quads::words; ++w) word_[plane][quad][w] = change(word_[plane][quad][w]);
        }
      }
    }

    __device__ __forceinline__ void ask_streamed(int quad) {
      const auto has = [&](int plane, int w) { return w < Quads::words && exchange_.has_streamed(plane, quad * Quads::words + w); };
      exchange_.ring_.ask(
          coming_[quad % M::quads_ahead], from(), [&](int plane) { return has(plane, 0) || has(plane, 1); },
          [&](int plane) { return exchange_.place(plane, Quads::held + quad); });
    }

    __device__ __forceinline__ void take(const Quad& quad, u64 (&words)[Quads::words]) {
      const u64 of_quad[] = {quad.low, quad.high};
#pragma unroll
      for (int w = 0; w < Quads::words; ++w) {
        words[w] = of_quad[w];
        if constexpr (W == Word::stamp) words[w] = Codec::without_stamp(words[w]);
        if constexpr (!can_flag) nonfinite_ |= Codec::any_nonfinite(words[w]);
      }
    }

    HeldExchange& exchange_;
    u32 step_;
    Deadline deadline_;
    u64 word_[Quads::planes][at_least_one(Quads::held)][Quads::words];
    Quad coming_[M::quads_ahead][Quads::planes];  // streamed ones
    bool nonfinite_ = false;
  };

  // Publishes the entries that this thread owns as state number `step`. By all threads that share out the slice, which must
  // have met since the last product. False: this CTA has given up, and nothing is published.
  __device__ __forceinline__ bool publish(u32 step, const u32 (&bits)[entries_a_thread], unsigned char*) {
    return ring_.publish(step, bits, published_, words_, slot_at(step), Padded::any);
  }

 private:
  using Codec = Ring<W>;
  using Padded = Padding<M, W>;
  static constexpr bool can_flag = W == Word::stamp && Codec::flags_nan;  // a bounded value is a NaN or finite
  static constexpr int all_held = Quads::planes * Quads::held;
  static constexpr int polls_at_once = at_least_one(POLLS_AT_ONCE < all_held ? POLLS_AT_ONCE : all_held);
  static constexpr int published_units = CTAS * M::Image::units_a_cta;
  static constexpr bool all_published = Padded::published;

  __device__ __forceinline__ static int words_of(int steps) { return steps <= 0 ? 0 : divide_up(steps, Quads::parts); }
  __device__ __forceinline__ bool has_entry(int plane) const {
    return (plane + 1) * 8 <= GROUP_BATCH || plane == 0 || plane * 8 + Quads::entry_of_lane(threadIdx.x % 32) < GROUP_BATCH;
  }
  // Whether somebody publishes word `w` of this lane, of a plane's held ones or its streamed ones. Behind the last held
  // one there is none whatever the lane: left to the comparison, NVRTC 13.0 takes one for there.
  __device__ __forceinline__ bool has_held(int plane, int w) const {
    return w * Quads::parts < Quads::held_steps && (all_published || (w < held_words_ && has_entry(plane)));
  }
  __device__ __forceinline__ bool has_streamed(int plane, int w) const {
    if constexpr (all_published && Quads::streamed_steps % Quads::steps == 0) return true;
    return w * Quads::parts < Quads::streamed_steps && (all_published || (Order::step_at(w) < streamed_words_ && has_entry(plane)));
  }
  __device__ __forceinline__ static bool is_there(const Quad& quad, u32 step, bool has_first, bool has_second) {
    if constexpr (W == Word::tag) return Codec::is_fresh(quad, step);
    return (Codec::is_fresh(quad.low, step) || !has_first) && (Codec::is_fresh(quad.high, step) || !has_second);
  }

  // Of this thread in a slot of its group.
  __device__ __forceinline__ static int first_quad() { return column_warp<M>() * Quads::a_lane * 32 + threadIdx.x % 32; }
  // In words, behind slot 0.
  __device__ __forceinline__ int slot_at(u32 step) const { return static_cast<int>(step & 1) * slot_words_; }
  // In quads.
  __device__ __forceinline__ static int place(int plane, int quad) { return (plane * Quads::a_plane + quad) * 32; }

  Ring<W> ring_;
  RingWords words_;
  // Of this thread in slot 0, and how far slot 1 lies from it.
  int polled_;
  int published_[entries_a_thread];  // -1: another lane stores the word, or there is none
  int slot_words_;
  int held_words_, streamed_words_;
};
