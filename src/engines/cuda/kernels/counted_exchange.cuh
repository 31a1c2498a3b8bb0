// The exchange of a state inside a cluster by warps that have whole rows (dense-mma, sparse-mma). A warp takes part on its own: it waits
// for all of the state, computes its rows' sums, updates its units' cells, and stores their words to every CTA's shared
// memory. No thread waits for another warp of its CTA. (Where one warp stored the words of all, fewer stores that carry more
// each, a timestep took 0.1 us more: LSTM and GRU 256, GRU 384.)
//
// A word says nothing by itself: an mbarrier in each CTA counts the bytes that have come, of all words of a state together.
// So words carry any value. A word is four neighbouring units of one batch entry, as a lane of operand B takes them
// (held_quads.cuh), and each lane reads its own when it needs it. A slot is [plane][step][four units of 16][batch entry]:
// the words of four units, which a warp stores together, lie together.
#pragma once

#include "arguments.cuh"
#include "held_quads.cuh"
#include "held_slice.cuh"
#include "ring.cuh"

template <class M>
class CountedExchange : public HeldSlice<M> {
  using Slice = HeldSlice<M>;

 public:
  static constexpr int first_step = 1;  // as held_exchange.cuh numbers the states
  static constexpr int entries = Slice::entries, entries_a_thread = Slice::entries_a_thread;
  static constexpr int planes = M::Image::planes;  // of 8 batch entries

  // `shared`: where the CTA's shared memory begins.
  __device__ __forceinline__ CountedExchange(const Arguments& a, const Role& role, u32 shared)
      : ring_(shared + RING_AT), counters_(shared + COUNTERS_AT), cta_(role.index()), last_(a.steps + first_step) {
#pragma unroll
    for (int i = 0; i < entries_a_thread; ++i) {
      const int entry = Slice::entry(i);
      const int unit = role.cta * M::Image::units_a_cta + Slice::unit_of(entry), b = Slice::batch_of(entry);
      published_[i] = entry % 4 == 0 && entry < entries ? 8 * word_at(b / 8, unit / 16, b % 8, unit % 16 / 4) : -1;
    }
    if (threadIdx.x == 0) {
      for (int slot = 0; slot < 2; ++slot) {
        asm volatile("mbarrier.init.shared.b64 [%0], 1;" ::"r"(counters_ + 8 * slot) : "memory");
        expect(slot);
      }
      asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
  }

  // The state that a run starts from, of which this thread has `bits`. The cluster has met.
  __device__ __forceinline__ void begin(const Arguments&, int, const u32 (&bits)[entries_a_thread], unsigned char* memory) {
    publish(first_step, bits, memory);
  }

  // State number `step`, for a warp. If the wait is given up it is anything, and so is what is computed from it; the next
  // `publish` says so.
  class Columns {
   public:
    __device__ __forceinline__ Columns(CountedExchange& exchange, u32 step, const Deadline& deadline, u32)
        : exchange_(exchange), slot_(exchange.ring_ + (step & 1) * slot_bytes), step_(step), deadline_(deadline) {}

    // Returns when all of it is there.
    template <class WhileWaiting>
    __device__ __forceinline__ void receive(WhileWaiting&& while_waiting) {
      while_waiting();
      exchange_.wait(step_, deadline_);
      __syncwarp();  // all lanes have added up the sums of the last timestep before one leaves those of this
    }
    // Operand B of a step of the weights: what it has of entries that there are not is zero, or another's.
    __device__ __forceinline__ void operand(int step, OperandB<M> (&b)[planes]) const {
      const int entry = threadIdx.x % 32 / 4 % plane_entries, four = threadIdx.x % 4;
#pragma unroll
      for (int plane = 0; plane < planes; ++plane) {
        if constexpr (M::sparse) {
          // Of each two words two units, as share_halves (held_quads.cuh) has them.
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            const u32 at = at_word(2 * step + i / 2, four / 2 * 2 + i % 2, plane, entry) + four % 2 * 4;
            asm volatile("ld.shared.u32 %0, [%1];" : "=r"(b[plane].words[i]) : "r"(at));
          }
        } else {
          load(step, four, plane, entry, b[plane].words);
        }
      }
    }
    // For the rare product: four units' state of a step and one batch entry.
    __device__ __forceinline__ void again(int step, int four, int plane, int entry, u32 (&h)[2]) const {
      load(step, four, plane, entry, h);
    }

   private:
    __device__ __forceinline__ u32 at_word(int step, int four, int plane, int entry) const {
      return slot_ + 8 * word_at(plane, step, entry, four);
    }
    __device__ __forceinline__ void load(int step, int four, int plane, int entry, u32 (&word)[2]) const {
      const u32 at = at_word(step, four, plane, entry);
      asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(word[0]), "=r"(word[1]) : "r"(at));
    }

    CountedExchange& exchange_;
    u32 slot_, step_;
    Deadline deadline_;
  };

  // Publishes the entries that this thread owns as state number `step`, by the threads of a warp, which have read all of the
  // state before. False: the warp has given up, and nothing is published.
  __device__ __forceinline__ bool publish(u32 step, const u32 (&bits)[entries_a_thread], unsigned char*) {
    const bool gave_up = __any_sync(~0u, gave_up_);
    const u32 slot = step & 1;
#pragma unroll
    for (int i = 0; i < entries_a_thread; ++i) {
      const u64 word = Ring<Word::stamp>::join(bits[i]);
      // Nobody would wait for the last state: a CTA that leaves must have all words that are under way to it.
      if (published_[i] < 0 || gave_up || step == last_) continue;
      // exchange: publish-counted
#pragma unroll
      for (int cta = 0; cta < CTAS; ++cta) {
        const u32 there = at_cta(ring_, cta);
        asm volatile("st.async.shared::cluster.mbarrier::complete_tx::bytes.u64 [%0], %1, [%2];" ::"r"(
                         there + slot * slot_bytes + published_[i]),
                     "l"(word), "r"(there + COUNTERS_AT - RING_AT + 8 * slot)
                     : "memory");
      }
    }
    return !gave_up;
  }

  // exchange: let-land
  // For who gave up: words may be under way that it did not wait for. Their way takes less than a tenth of this.
  __device__ __forceinline__ void let_land() const {
    const i64 begin = clock64();
    while (clock64() - begin < 50000) {
    }
  }

 private:
  static constexpr int plane_entries = planes > 1 ? 8 : power_of_two_from(GROUP_BATCH);
  static constexpr int steps = M::steps * (M::sparse ? 2 : 1);  // of 16 units
  static constexpr int slot_bytes = 8 * planes * steps * plane_entries * 4;
  static constexpr int state_bytes = CTAS * entries * Element::bytes;  // of all words that are published

  __device__ __forceinline__ static int word_at(int plane, int step, int entry, int four) {
    // Of sparse weights two lanes take halves of words 0 and 2, then of 1 and 3: in different banks.
    const int place = M::sparse ? four % 2 * 2 + four / 2 : four;
    return ((plane * steps + step) * 4 + place) * plane_entries + entry;
  }
  __device__ __forceinline__ static u32 at_cta(u32 address, int cta) {
    u32 there;
    asm("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(there) : "r"(address), "r"(cta));
    return there;
  }

  // exchange: arm
  __device__ __forceinline__ void expect(u32 slot) const {
    asm volatile("mbarrier.arrive.expect_tx.shared.b64 _, [%0], %1;" ::"r"(counters_ + 8 * slot), "r"(state_bytes) : "memory");
  }
  // By each lane, for what it reads.
  __device__ __forceinline__ void wait(u32 step, const Deadline& deadline) {
    constexpr i64 look_ns = 20000;  // after so long it says no, to let this thread look at the clock
    const u32 most_ns = static_cast<u32>(min(look_ns, deadline.limit / 4));
    const u32 counter = counters_ + 8 * (step & 1), parity = (step - 1) >> 1 & 1;
    Patience patience(deadline.limit);
    bool there = false;
    while (!there && !gave_up_) {
      u32 completed;
      // exchange: wait-counted
      asm volatile(
          "{.reg .pred p; mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 p, [%1], %2, %3; selp.u32 %0, 1, 0, p;}"
          : "=r"(completed)
          : "r"(counter), "r"(parity), "r"(most_ns)
          : "memory");
      there = completed != 0;
      if (!there) gave_up_ = patience.exhausted(deadline.status, abort_deadline, deadline.timestep, cta_, Status::no_word);
    }
    if (threadIdx.x == 0 && there) expect(step & 1);  // the state after the next
    Ring<Word::stamp>::fence();
  }

  u32 ring_, counters_;
  int published_[entries_a_thread];  // bytes of a slot; -1: another lane stores the word, or there is none
  int cta_;
  u32 last_;
  bool gave_up_ = false;
};
