// Words of a state in the ring that no unit is in, where tensor cores take it from there (dense-mma, sparse-mma; not those that are
// counted): behind the last unit, and where the steps side by side in a warp's lanes do not fill their last word.
//
// Where they are `published` they are exchanged as zeros like all others, each stored by a lane that has no word of its own. So no
// poll asks whether anybody publishes its word.
#pragma once

#include "held_quads.cuh"
#include "held_slice.cuh"

template <class M, Word W>
struct Padding {
  using Quads = HeldQuads<M, W>;
  using Slice = HeldSlice<M>;
  static constexpr int units_a_word = Slice::unit_words ? 1 : 4;
  // That so many units have, of all batch entries that there is room for.
  static constexpr int words_of_units = Slice::unit_words ? Quads::entries / 4 : Quads::entries * Quads::planes;
  static constexpr int exchanged_units = CTAS * M::Image::units_a_cta;
  // Of a column warp: what its steps have, and what its last words have that its steps have not, of those whose state is held
  // and of those whose is streamed.
  static constexpr int columns = 16 * Quads::all_steps;
  static constexpr int behind_held = 16 * (round_up(Quads::held_steps, Quads::parts) - Quads::held_steps);
  static constexpr int left_over = behind_held + 16 * (round_up(Quads::streamed_steps, Quads::parts) - Quads::streamed_steps);
  static constexpr int behind = exchanged_units < M::column_warps * columns ? M::column_warps * columns - exchanged_units : 0;
  static constexpr int words = (behind + M::column_warps * left_over) / units_a_word * words_of_units;
  static_assert(M::Image::units_a_cta % 4 == 0, "four neighbouring units are of one CTA");

  // The first of four neighbouring lanes stores their word, the second one of these.
  static constexpr int most = CTAS * Slice::entries_a_thread * (THREADS / 4);
  // Not where words of batch entries lack too.
  static constexpr bool published = (Slice::unit_words || Quads::entries * Quads::planes == GROUP_BATCH) && words <= most;
  static constexpr bool any = published && words > 0;

  // The `i`th word that this thread stores of them, or -1 for none: word_at(column warp, unit of it, batch entry, whether it is one
  // behind the last held step).
  template <class WordAt>
  __device__ __forceinline__ static int of_thread(int cta, int i, WordAt&& word_at) {
    const int number = (i * (THREADS / 4) + threadIdx.x / 4) * CTAS + cta;
    if (!any || threadIdx.x % 4 != 1 || number >= words) return -1;
    const int b = number % words_of_units * (Slice::unit_words ? 4 : 1), unit = number / words_of_units * units_a_word;
    if (unit < behind) {
      const int column = exchanged_units + unit;
      return word_at(column / columns, column % columns, b, false);
    }
    const int warp = (unit - behind) / at_least_one(left_over), further = (unit - behind) % at_least_one(left_over);
    const bool held = further < behind_held;
    return word_at(warp, held ? 16 * Quads::held_steps + further : columns + further - behind_held, b, held);
  }
};
