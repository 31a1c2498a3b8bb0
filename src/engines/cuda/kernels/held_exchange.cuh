// The exchange of a state vector that tensor cores multiply without a detour through shared memory: a warp of strategy
// dense-mma polls the words of its own columns, and they are operand B of mma.m16n8k16 as they come. So no warp waits
// for the polls of another before its product.
//
// A word is four neighbouring units of one batch entry. Operand B has room for 8 batch entries, a lane for each and
// four units of a step's 16; where a group has 4, 2 or 1, the lanes behind them hold the next steps' words, and hand
// them down when it is their turn.
#pragma once

#include "arguments.cuh"
#include "ring.cuh"

// The state of the columns of a warp's steps, as a lane holds it.
template <class M>
struct HeldState {
  static constexpr int planes = M::Image::planes;  // of 8 batch entries
  static constexpr int entries = planes > 1 ? 8 : power_of_two_from(GROUP_BATCH);
  static constexpr int parts = 8 / entries;                   // steps side by side in a warp's lanes
  static constexpr int words = divide_up(M::steps, parts);    // 64 bits each, of a plane: step w * parts + the lane's part

  u32 word[planes][words][2];
  bool nonfinite;  // for all lanes of a warp: one of them has a NaN or an infinity

  __device__ __forceinline__ explicit HeldState(unsigned char*) {}

  // Of lane l: batch entry of a plane, which of the steps side by side, which four units of 16.
  __device__ __forceinline__ static int entry_of_lane(int lane) { return lane / 4 % entries; }
  __device__ __forceinline__ static int part_of_lane(int lane) { return lane / 4 / entries; }
  __device__ __forceinline__ static int lane_of(int entry, int part, int four) { return (part * entries + entry) * 4 + four; }

  // Operand B of a step; what it has of entries that there are not is anything.
  __device__ __forceinline__ void operand(int step, u32 (&b)[planes][2]) const {
#pragma unroll
    for (int plane = 0; plane < planes; ++plane) {
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const u32 own = word[plane][step / parts][i];
        b[plane][i] = step % parts == 0 ? own : __shfl_down_sync(~0u, own, step % parts * entries * 4);
      }
    }
  }
};

// `M` is the matrix that reads the state (plan.cuh), `W` its word.
template <class M, Word W>
class HeldExchange {
 public:
  static constexpr int first_step = 1;  // the number of the state that a run starts from: it is exchanged like all others
  using State = HeldState<M>;           // the ring is [warp][plane][two words (tag: word)][lane] quads; a tag takes the upper half

  static constexpr int entries = M::Image::units_a_cta * GROUP_BATCH;  // of a slice
  static constexpr int entries_a_thread = divide_up(entries, THREADS);

  static constexpr i64 words(int groups) { return 4ll * groups * quads; }  // of the ring of all groups
  // Of a CTA's slice: four neighbouring lanes have a word.
  __device__ __forceinline__ static int unit_of(int entry) { return entry / (4 * GROUP_BATCH) * 4 + entry % 4; }
  __device__ __forceinline__ static int batch_of(int entry) { return entry / 4 % GROUP_BATCH; }

  __device__ __forceinline__ HeldExchange(u64* ring, int groups, const Role& role, u32* barrier, u32 given_up,
                                          int poll_wait)
      : ring_(role, barrier, given_up, poll_wait), slot_words_(2 * quads * groups), warp_(threadIdx.x / 32), lane_(threadIdx.x % 32) {
    u64* const own = ring + 2 * quads * role.group;
    first_quad_ = warp_ * quads_a_lane * 32 + lane_;
    polled_ = own + 2 * first_quad_;
    words_ = words_here(State::planes - 1);
    words_of_full_planes_ = words_here(0);
#pragma unroll
    for (int i = 0; i < entries_a_thread; ++i) {
      const int entry = threadIdx.x + i * THREADS, b = batch_of(entry);
      const int unit = role.cta * M::Image::units_a_cta + unit_of(entry);
      const int warp = unit / 16 / M::steps, step = unit / 16 % M::steps;
      const int word = step / State::parts;
      const int quad = (warp * State::planes + b / 8) * quads_a_plane + word / words_a_quad;
      // No column reads what lies behind the last step: units that there are not.
      const bool publishes = entry % 4 == 0 && entry < entries && warp < THREADS / 32;
      const int lane = State::lane_of(b % 8, step % State::parts, unit % 16 / 4);
      published_[i] = publishes ? own + 2 * (quad * 32 + lane) + word % words_a_quad : nullptr;
    }
  }

  __device__ __forceinline__ static bool is_nonfinite(u32, const State& state) { return state.nonfinite; }

  // The state that a run starts from, of which this thread has `bits`.
  __device__ __forceinline__ void begin(const Arguments&, int, const u32 (&bits)[entries_a_thread], unsigned char* memory) {
    publish(first_step, bits, memory);
  }

  // State number `step`: waits until all of the warp's columns are there. If it is given up, what is not is anything,
  // and so is what is computed from it; the next `publish` says so.
  template <class WhileWaiting>
  __device__ __forceinline__ void receive(u32 step, State& state, const Deadline& deadline, WhileWaiting&& while_waiting) {
    ring_.wait_to_poll(step, deadline);
    const u64* const own = polled_ + static_cast<i64>(step & 1) * slot_words_;
    u64 flags = 0;
    bool nonfinite = false;
    // In one round, unless the registers were planned for fewer polls.
#pragma unroll
    for (int first = 0; first < quads_a_lane; first += polls_at_once) {
      Quad v[polls_at_once];
      const auto plane_of = [&](int i) { return (first + i) / quads_a_plane; };
      const auto word_of = [&](int i) { return (first + i) % quads_a_plane * words_a_quad; };
      ring_.poll(
          v, own, first_quad_, [&](int i) { return has_word(plane_of(i), word_of(i)); }, [&](int i) { return (first + i) * 32; },
          [&](int i, const Quad& quad) {
            if constexpr (W == Word::tag) return Codec::is_fresh(quad, step);
            return Codec::is_fresh(quad.low, step) && (Codec::is_fresh(quad.high, step) || !has_word(plane_of(i), word_of(i) + 1));
          },
          deadline, [&] {
            if (first == 0) while_waiting();
          });
      // Words that nobody polls or publishes are zero.
#pragma unroll
      for (int i = 0; i < polls_at_once; ++i) {
        if (first + i >= quads_a_lane) continue;
        const u64 words[] = {v[i].low, v[i].high};
#pragma unroll
        for (int w = word_of(i); w < word_of(i) + words_a_quad && w < State::words; ++w) {
          u64 word = words[w - word_of(i)];
          if constexpr (W == Word::stamp) {
            flags |= word;
            word = Codec::without_stamp(word);
          }
          if constexpr (!can_flag) nonfinite |= Codec::any_nonfinite(word);
          state.word[plane_of(i)][w][0] = static_cast<u32>(word);
          state.word[plane_of(i)][w][1] = static_cast<u32>(word >> 32);
        }
      }
    }
    if constexpr (can_flag) {
      nonfinite = Codec::is_flagged(flags);  // a bounded value is a NaN or finite
      if (nonfinite) unflag(state);
    }
    state.nonfinite = __any_sync(~0u, nonfinite);
    Codec::fence();
  }

  // Publishes entry thread + i * THREADS of this CTA's slice for i = 0, 1, ... as state number `step`. By all threads,
  // which must have met since the last `receive`. False: this CTA has given up, and nothing is published.
  __device__ __forceinline__ bool publish(u32 step, const u32 (&bits)[entries_a_thread], unsigned char*) {
    const bool gave_up = ring_.gave_up();  // waited for together with the first shuffle
#pragma unroll
    for (int i = 0; i < entries_a_thread; ++i) {
      const u64 word = Codec::join(bits[i]);
      if (published_[i] == nullptr || gave_up) continue;
      u64* const to = published_[i] + static_cast<i64>(step & 1) * slot_words_;
      if constexpr (W == Word::tag) {
        store_relaxed_128(to, {word, Codec::tag_bits(step)});
      } else {
        store_relaxed_64(to, Codec::stamped(word, step));
      }
    }
    ring_.arrive(gave_up);
    return !gave_up;
  }

 private:
  using Codec = Ring<W>;
  static constexpr bool can_flag = W == Word::stamp && Codec::flags_nan;
  static constexpr int words_a_quad = W == Word::tag ? 1 : 2;
  static constexpr int quads_a_plane = divide_up(State::words, words_a_quad);
  static constexpr int quads_a_lane = State::planes * quads_a_plane;
  static constexpr int quads = THREADS * quads_a_lane;  // of a slot of a group
  static constexpr int polls_at_once = POLLS_AT_ONCE < quads_a_lane ? POLLS_AT_ONCE : quads_a_lane;
  static constexpr int published_units = CTAS * M::Image::units_a_cta;
  static constexpr bool all_published =
      published_units >= THREADS / 32 * M::steps * 16 && M::steps % State::parts == 0 && State::entries * State::planes == GROUP_BATCH;

  // Of this lane's words of a plane, those from the first on that somebody publishes.
  __device__ __forceinline__ int words_here(int plane) const {
    if (plane * 8 + State::entry_of_lane(lane_) >= GROUP_BATCH) return 0;
    const int units = published_units - warp_ * M::steps * 16 - lane_ % 4 * 4;
    const int steps = units <= 0 ? 0 : units > M::steps * 16 ? M::steps : (units + 15) / 16;
    const int behind = steps - State::part_of_lane(lane_);
    return behind <= 0 ? 0 : divide_up(behind, State::parts);
  }
  __device__ __forceinline__ bool has_word(int plane, int w) const {
    if (plane >= State::planes || w >= State::words) return false;
    return all_published || w < (plane + 1 < State::planes ? words_of_full_planes_ : words_);
  }

  __device__ __forceinline__ static void unflag(State& state) {
#pragma unroll
    for (int plane = 0; plane < State::planes; ++plane) {
#pragma unroll
      for (int w = 0; w < State::words; ++w) {
        const u64 word = Codec::unflagged(static_cast<u64>(state.word[plane][w][1]) << 32 | state.word[plane][w][0]);
        state.word[plane][w][0] = static_cast<u32>(word);
        state.word[plane][w][1] = static_cast<u32>(word >> 32);
      }
    }
  }

  Ring<W> ring_;
  // Of this thread in slot 0, and how far slot 1 lies from it.
  const u64* polled_;
  u64* published_[entries_a_thread];  // null: another lane stores the word, or there is none
  int slot_words_;
  int warp_, lane_, first_quad_;
  int words_, words_of_full_planes_;
};
