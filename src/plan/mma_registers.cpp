#include "plan/mma_registers.hpp"

#include <algorithm>
#include <bit>

#include "plan/gpu_registers.hpp"

namespace sprnn::mma {

namespace {

// Fitted to NVRTC 13.0 for sm_90, as gather_registers.cpp says: the least count that spills nothing, less the
// weights.
constexpr int base = 13;
// Where the state is held too.
constexpr int holding_base = 52, holding_streaming = 8, streaming_many_tiles = 24, many_tiles = 8;
constexpr int much_held = 48, many_sums = 40;  // with fewer, some take the place of others
constexpr int more_than_much = 12;             // tanh 3300 to 3800, batch 8
constexpr int adding_base = 34, adding_streaming = 12, two_steps_ahead = 4, streaming_entry = 4,
              streaming_entry_of_many = 28;
constexpr int planes_of_held = 12, streamed_plane_more = 8, parts_of_rows = 14;
constexpr int whole_quads = 16, few_steps = 2;  // of more steps than so: their loads are merged
// Of sparse weights: halves of words that a lane shares with its neighbour, four registers side by side for
// an operand, and what says of which columns weights on their way are. Of many tiles the first take the place
// of other things, but not in code for GPUs before Hopper.
constexpr int sparse_base = 17, sparse_of_held = 6, sparse_much_held = 26, sparse_few_tiles = 2,
              sparse_many_tiles = 5;
constexpr int sparse_streaming = 8, sparse_whole = 8, sparse_shared = 12, sparse_late = 8,
              sparse_late_plane = 4, sparse_uneven = 12, sparse_before_hopper = 10;
constexpr int uneven_warps = 4, uneven_streaming = 18, late_uneven_warps = 13;  // no power of two of them
constexpr int looking_for_nonfinite = 20;  // by relu, whose words have no flag
// With a rest the state is staged: quads that are polled together, none is held. 600 plans were compiled.
constexpr int staged_base = 96, staged_rounds = 30, staged_two_steps = 121, staged_streaming = 67;
constexpr int most_staged_tiles = 10, staged_many_tiles = 10, staged_most_tiles = 45;
constexpr int few_staged_tiles = 6, staged_of_more = 152;  // where all weights are on chip
constexpr int staged_wide = 20, staged_streaming_wide = 41, staged_entry = 20;
constexpr int staged_few_warps = 20, staged_uneven_warps = 14, staged_most_warps = 24;
constexpr int staged_relu = 15, staged_elsewhere = 18;
// Of whole rows in a cluster: beside an address a CTA. Sums of four products that do not wait for each other,
// at least.
constexpr int counting_base = 44, least_sums = 16, whole_rows = 24;
// Where all of it comes step by step: a quad of each plane on its way and one in use (of more on their way
// there are so few sums that it holds all the same: MatrixLayout::unrolled_quads_ahead).
constexpr int late_base = 31, late_plane = 8, late_entry = 10, late_entry_of_gates = 17;
constexpr int late_many_tiles = 14;
constexpr int state_in_flight = 8;  // words of h on their way from shared memory, a plane
constexpr int streaming = 8;        // addresses in L2
constexpr int staging_of_8 =
    11;  // 8ths: words of h lie 16 bytes apart, so a quad is staged at more addresses

}  // namespace

int working_registers(const MmaPlan& plan, const Layout& layout, const Cell& cell, int compute_capability) {
  const MatrixLayout& matrix = layout.w_hh;
  const int tiles = matrix.tiles_a_warp(), sums = 4 * tiles * matrix.image.planes;
  const bool streams = matrix.steps.l2 > 0, before_hopper = compute_capability < 90;
  const bool on_their_way = matrix.steps.shared > 0 || (matrix.gathered && streams);
  const int step = on_their_way ? fragment_words * matrix.fragments_ahead() : 0;
  // Of a rest's words a unit has all entries that there is room for.
  const auto batch = static_cast<unsigned>(plan.group_batch);
  const int slots = layout.rest && batch > 2 ? static_cast<int>(std::bit_ceil(batch)) : plan.group_batch;
  const int entries = (plan.units_a_cta * slots + matrix.threads() - 1) / matrix.threads();
  if (!matrix.gathered) {
    const bool uneven = !std::has_single_bit(static_cast<unsigned>(plan.warps));
    // Of few sums a lane has two each.
    const int chains = tiles * matrix.image.planes < 4 ? 2 : 1;
    const int held = 4 * matrix.state_quads(plan.group_batch, plan.exchange_word).held;
    const int streaming_step =
        fragment_words * matrix.streamed_ahead() + (matrix.streams_two_steps() ? two_steps_ahead : 0);
    // The warps' sums of a unit, asked for together.
    const int adding =
        adding_base + matrix.sum_sets() * matrix.gates + (streams ? adding_streaming + streaming_step : 0);
    if (matrix.whole_rows()) {
      const int own = (matrix.units_a_warp() * plan.group_batch + warp_lanes - 1) / warp_lanes;
      const int state = plan.in_cluster ? counting_base + plan.ctas
                                        : holding_base + whole_rows + held + std::max(0, held - much_held);
      const int whole = state + std::max(sums, least_sums) + step + (3 * matrix.gates + 2) * (own - 1);
      const bool looks = cell == relu_cell() && !plan.in_cluster;
      const int sparse = matrix.sparse ? sparse_whole + (on_their_way ? sparse_shared : 0) : 0;
      return std::max(adding, whole + sparse + (looks ? looking_for_nonfinite : 0)) +
             (uneven ? uneven_warps : 0);
    }
    if (matrix.asks_late) {
      const int streamed = streams ? fragment_words * matrix.streamed_ahead() : 0;
      const int late =
          late_base + sums + late_plane * matrix.image.planes + step + streamed +
          (matrix.gates > 1 ? late_entry_of_gates : late_entry) * entries +
          (tiles > many_tiles ? late_many_tiles : 0) + (uneven ? late_uneven_warps : 0) +
          (matrix.sparse ? sparse_late + (before_hopper ? sparse_late_plane * matrix.image.planes : 0) : 0);
      return std::max(adding, late);
    }
    if (matrix.has_rest) {
      const int quads = matrix.state_quads(plan.group_batch, plan.exchange_word).held;
      const int polls = std::min(staged_at_once, quads);
      const bool wide = plan.group_batch > plane_entries / 2, in_rounds = quads > staged_at_once;
      int staged = staged_base + polls + (in_rounds ? staged_rounds : 0) + (wide ? staged_wide : 0);
      if (streams) {
        const int ahead = (fragment_words + 1) * matrix.streamed_ahead();
        staged = matrix.streams_two_steps() ? staged_two_steps + 2 * polls
                                            : staged_streaming + polls + ahead + fragment_words * tiles;
        if (tiles > many_tiles) staged += tiles > most_staged_tiles ? staged_most_tiles : staged_many_tiles;
        if (wide) staged += tiles > many_tiles ? staged_many_tiles : staged_streaming_wide;
        staged += staged_entry * std::max(0, entries - (wide ? 2 : 1)) + (in_rounds ? staged_wide : 0);
        if (plan.warps == 16) staged += staged_most_warps;
      } else if (tiles > few_staged_tiles) {
        staged = std::max(staged, staged_of_more);
      }
      if (plan.warps == 4) staged += staged_few_warps;
      if (uneven) staged += staged_uneven_warps;
      if (cell == relu_cell()) staged += staged_relu;
      if (compute_capability != 90) staged += staged_elsewhere;
      return std::max(adding + (uneven ? uneven_warps : 0), staged);
    }
    const int much = held > much_held ? held - much_held + more_than_much : 0;
    const int multiplying = holding_base + held + much + (chains * sums + step) / 2 +
                            std::max(0, sums - many_sums) / 2 + (3 * matrix.gates + 2) * (entries - 1);
    int more = matrix.image.planes > 1 ? planes_of_held : 0;
    if (streams) {
      more = holding_streaming + 4 * matrix.image.planes + streaming_step;
      more += streaming_entry * (entries - 1);
      more += streamed_plane_more * std::max(0, matrix.image.planes - 2);
      if (uneven) more += uneven_streaming;
      const int quad = matrix.columns_a_quad(plan.group_batch, plan.exchange_word) / matrix.step_columns();
      if (!matrix.streams_two_steps() && quad > few_steps && matrix.steps.l2 % quad == 0) more += whole_quads;
      if (tiles > many_tiles) more += streaming_many_tiles + streaming_entry_of_many * (entries - 1);
    }
    if (matrix.row_parts > 1) more += parts_of_rows;
    if (matrix.sparse) more += (uneven ? sparse_uneven : 0) + (before_hopper ? sparse_before_hopper : 0);
    if (matrix.sparse && (before_hopper || tiles < sparse_many_tiles)) {
      more += sparse_base + held / sparse_of_held;
      // Each is handed down to other lanes besides.
      if (tiles > sparse_few_tiles && plan.group_batch <= plane_entries / 2)
        more += std::max(0, held - sparse_much_held);
      if (streams) more += sparse_streaming + matrix.streamed_ahead() / 2;
    }
    if (cell == relu_cell()) more += looking_for_nonfinite;
    return std::max(adding, multiplying + more) + (uneven ? uneven_warps : 0);
  }
  const int updating = plan.warps * matrix.gates;  // sums that are asked for together
  const int receiving =
      gpu::receiving_registers(plan, layout.state, plan.units_a_cta, plan.exchange_word) * staging_of_8 / 8;
  const int multiplying = sums + state_in_flight * matrix.image.planes + step;
  return base + std::max({multiplying, updating, receiving}) + (3 * matrix.gates + 2) * entries +
         (streams ? streaming : 0);
}

}  // namespace sprnn::mma
