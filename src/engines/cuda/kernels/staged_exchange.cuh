// The exchange of a state vector that two products read, where sparse-mma gathers a rest: a warp polls the words of its own columns
// and leaves them in shared memory (staged_columns.cuh). Its fragments' product waits for no other warp; the gather comes
// after a barrier.
#pragma once

#include "arguments.cuh"
#include "padding.cuh"
#include "ring.cuh"
#include "staged_columns.cuh"

template <class M, Word W>
class StagedExchange : public HeldSlice<M> {
  using Slice = HeldSlice<M>;
  using Image = StagedColumns<M, W>;
  using Quads = typename Image::Quads;

 public:
  static constexpr int first_step = 1;  // the number of the state that a run starts from: it is exchanged like all others
  static constexpr int entries_a_thread = Slice::entries_a_thread;

  static constexpr i64 words(int groups) { return 4ll * groups * Quads::a_slot; }  // of the ring of all groups

  __device__ __forceinline__ StagedExchange(const RingOfGroup& ring, const Role& role, u32* barrier, u32 given_up, int poll_wait)
      : ring_(role, barrier, given_up, poll_wait), words_(ring.words), slot_words_(2 * Quads::a_slot * ring.groups) {
    const int own = 2 * Quads::a_slot * ring.group;
    polled_ = own + 2 * first_quad();
    units_left_ = min(published_units - column_warp<M>() * Image::columns, Image::columns) - Image::first_unit();
#pragma unroll
    for (int i = 0; i < entries_a_thread; ++i) {
      const int entry = Slice::entry(i), unit = role.cta * M::Image::units_a_cta + Slice::unit_of(entry);
      // No column reads what lies behind the last step: units that there are not.
      const int column_warp = unit / Image::columns;
      const bool publishes = entry % 4 == 0 && entry < Slice::entries && column_warp < M::column_warps;
      const auto word_at = [](int warp, int unit, int b, bool) { return warp * 64 * Quads::a_lane + Image::word_at(unit, b); };
      const int word = publishes ? word_at(column_warp, unit % Image::columns, Slice::batch_of(entry), false)
                                 : Padded::of_thread(role.cta, i, word_at);
      published_[i] = word < 0 ? -1 : own + word;
    }
  }

  // The state that a run starts from, of which this thread has `bits`.
  __device__ __forceinline__ void begin(const Arguments&, int, const u32 (&bits)[entries_a_thread], unsigned char* memory) {
    // exchange: begin-staged
    publish(first_step, bits, memory);
  }

  // State number `step`. If a wait is given up, what is not there is anything, and so is what is computed from it; the next
  // `publish` says so.
  class Columns {
   public:
    // `image`: who stages there has met all others since they read the last state.
    __device__ __forceinline__ Columns(StagedExchange& exchange, u32 step, const Deadline& deadline, u32 image)
        : exchange_(exchange), step_(step), deadline_(deadline), image_(image) {}

    // Returns when the warp has staged all its words.
    template <class WhileWaiting>
    __device__ __forceinline__ void receive(WhileWaiting&& while_waiting) {
      exchange_.ring_.wait_to_poll(step_, deadline_);
      const RingWords from = exchange_.words_ + (exchange_.polled_ + exchange_.slot_at(step_));
#pragma unroll
      for (int first = 0; first < Quads::a_lane; first += polls_at_once) {
        Quad v[polls_at_once];
        const auto has = [&](int i, int w) { return first + i < Quads::a_lane && exchange_.has(first + i, w); };
        const auto wants = [&](int i) { return has(i, 0); };
        const auto place = [&](int i) { return (first + i) * 32; };
        exchange_.ring_.ask(v, from, wants, place);
        if (first == 0) while_waiting();
        bool any_odd = true;  // one test for what has not come, and for a NaN
        if constexpr (can_flag) {
          u64 odd = 0;
#pragma unroll
          for (int i = 0; i < polls_at_once; ++i) odd |= wants(i) ? Codec::oddity(v[i], step_, true, has(i, 1)) : 0;
          any_odd = __any_sync(~0u, odd != 0);
        }
        if (any_odd) {
          exchange_.ring_.wait(
              v, from, step_, first_quad(), wants, place, [&](int i, const Quad& q) { return is_there(q, step_, has(i, 1)); }, deadline_);
          __syncwarp();
        }
        stage(first, v, any_odd);
      }
      __syncwarp();
    }

    // Operand B of a step of the weights.
    __device__ __forceinline__ void operand(int weights_step, OperandB<M> (&b)[1]) const { image_.operand(weights_step, b[0]); }

    // After all was staged. The same for all lanes of a warp: whether one of them had a NaN or an infinity.
    __device__ __forceinline__ bool end_nonfinite() const {
      Codec::fence();
      return __any_sync(~0u, nonfinite_);
    }
    // For the rare product: four units' state of a step of operand B and one batch entry.
    __device__ __forceinline__ void again(int step, int four, int, int entry, u32 (&h)[2]) const { image_.units(step, four, entry, h); }

   private:
    // An exponent of ones, and one more, carry into the sign's place. One bit of all words is left: of a flag for each the
    // compiler makes so many, in code for sm_120, that it spills.
    static constexpr u32 in_each_half = 0x00010001;
    __device__ __forceinline__ static u32 carried(u32 two) {
      return (two & in_each_half * Element::exponent) + in_each_half * (Element::sign - Element::exponent);
    }

    // The quads from `first` on; words that nobody publishes are zero.
    template <int N>
    __device__ __forceinline__ void stage(int first, const Quad (&quads)[N], bool may_be_flagged) {
      u64 words[N][Quads::words], all = 0;
      u32 carries = 0;
#pragma unroll
      for (int i = 0; i < N * Quads::words; ++i) {
        const Quad& quad = quads[i / Quads::words];
        u64& word = words[i / Quads::words][i % Quads::words];
        word = i % Quads::words == 0 ? quad.low : quad.high;
        all |= word;
        if constexpr (W == Word::stamp) word = Codec::without_stamp(word);
        if constexpr (!can_flag) carries |= carried(static_cast<u32>(word)) | carried(static_cast<u32>(word >> 32));
      }
      nonfinite_ |= (carries & in_each_half * Element::sign) != 0;
      if (can_flag && may_be_flagged && Codec::is_flagged(all)) {
        nonfinite_ = true;
#pragma unroll
        for (int i = 0; i < N * Quads::words; ++i) {
          u64& word = words[i / Quads::words][i % Quads::words];
          word = Codec::unflagged(word);
        }
      }
#pragma unroll
      for (int i = 0; i < N; ++i) {
        // exchange: stage-own
        if (first + i < Quads::a_lane) image_.store(first + i, words[i]);
      }
    }

    StagedExchange& exchange_;
    u32 step_;
    Deadline deadline_;
    Image image_;
    bool nonfinite_ = false;
  };

  // Publishes the entries that this thread owns as state number `step`. By all threads, which must have met since the last
  // product. False: this CTA has given up, and nothing is published.
  __device__ __forceinline__ bool publish(u32 step, const u32 (&bits)[entries_a_thread], unsigned char*) {
    return ring_.publish(step, bits, published_, words_, slot_at(step), Padded::any);
  }

 private:
  using Codec = Ring<W>;
  using Padded = Padding<M, W>;
  static constexpr bool can_flag = W == Word::stamp && Codec::flags_nan;  // a bounded value is a NaN or finite
  static constexpr int polls_at_once = POLLS_AT_ONCE < Quads::a_lane ? POLLS_AT_ONCE : Quads::a_lane;
  static constexpr int published_units = CTAS * M::Image::units_a_cta;

  // Whether somebody publishes word `w` of a lane's quad.
  __device__ __forceinline__ bool has(int quad, int w) const {
    if constexpr (Padded::published) return Image::has(quad, w);
    return w < Quads::words && Image::units_behind(quad, w) < units_left_;
  }
  __device__ __forceinline__ static bool is_there(const Quad& quad, u32 step, bool has_second) {
    if constexpr (W == Word::tag) return Codec::is_fresh(quad, step);
    return Codec::is_fresh(quad.low, step) && (Codec::is_fresh(quad.high, step) || !has_second);
  }
  // Of this thread in a slot of its group.
  __device__ __forceinline__ static int first_quad() { return column_warp<M>() * Quads::a_lane * 32 + threadIdx.x % 32; }
  // In words, behind slot 0.
  __device__ __forceinline__ int slot_at(u32 step) const { return static_cast<int>(step & 1) * slot_words_; }

  Ring<W> ring_;
  RingWords words_;
  int polled_;                       // of this thread in slot 0
  int published_[entries_a_thread];  // -1: another lane stores the word, or there is none
  int slot_words_;                   // how far slot 1 lies from slot 0
  int units_left_;                   // from the lane's first one on
};
