// Every size and place of strategies dense-mma, sparse-mma and vector-mma, derived from a plan: pack,
// validate, interpreter and kernel agree because they all ask here.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "plan/gather_layout.hpp"
#include "plan/gpu_layout.hpp"

namespace sprnn::mma {

using gpu::Image;
using gpu::Place;
using gpu::places;
using gpu::SectionSize;
using gpu::warp_lanes;

inline constexpr int tile_rows = mma_tile_rows;
inline constexpr int operand_columns = 16;  // of mma.m16n8k16, and what a fragment holds of a row
inline constexpr int weights_of_four = 2;   // neighbouring columns, that a sparse fragment holds
inline constexpr int column_phases = 8;     // columns of a step that one phase of ldmatrix reads together
inline constexpr int fragment_words = 4;    // 32-bit words of a lane
inline constexpr int word_bytes = 16;       // of the image of h: 8 batch entries, a row of ldmatrix
inline constexpr int held_units = 4;        // of a batch entry, in a word of the ring that a lane holds
inline constexpr int most_tiles = 16;       // of a CTA: their sums stay in registers
inline constexpr int most_row_parts = 2;    // or as many as warps: whole rows
inline constexpr int plane_entries = 8;     // of the batch, that a lane of operand B has room for
inline constexpr int late_columns = 32;     // of a quad at most, of more than plane_entries
inline constexpr int staged_at_once = 12;   // quads that a lane has asked for, before it stages them

// Which fragment, of all CTAs. `warp`: of those that share out the columns of the tile.
struct Fragment {
  int cta = 0, warp = 0, step = 0, tile = 0;
};

// W_hh over the CTAs of a group. A CTA's row r is gate r % gates of its unit r / gates, and row
// r % rows_a_tile of tile r / rows_a_tile.
struct MatrixLayout {
  int gates = 1;
  std::int64_t units = 0;
  int ctas = 1;
  int warps = 4;
  int row_parts = 1;
  int units_a_cta = 0;
  int rows_a_tile = tile_rows;  // the others are empty
  int tiles = 1;                // a CTA, a multiple of row_parts
  bool gathered = false;
  bool sparse = false;
  bool asks_late = false;
  bool has_rest = false;
  MmaSteps steps;
  int kept_steps = 0;
  Image image;  // gathered: in shared memory; else its positions are those that the ring's words hold

  [[nodiscard]] int threads() const noexcept { return warps * warp_lanes; }
  [[nodiscard]] int step_columns() const noexcept { return mma_step_columns(sparse); }
  [[nodiscard]] int tiles_a_warp() const noexcept { return tiles / row_parts; }
  // That share out the columns of a tile.
  [[nodiscard]] int column_warps() const noexcept { return warps / row_parts; }
  // A warp has all columns of its rows, whole units: it adds up nothing with others, updates its units' cells
  // and exchanges them by itself. In a cluster the words are counted: kernels/counted_exchange.cuh.
  [[nodiscard]] bool whole_rows() const noexcept { return !gathered && column_warps() == 1; }
  [[nodiscard]] int units_a_warp() const noexcept { return tiles_a_warp() * rows_a_tile / gates; }
  [[nodiscard]] int steps_in(Place place) const noexcept;
  // The matrix's row at row r of a CTA's tile, -1 for none. A position holds the unit of its own number.
  [[nodiscard]] std::int64_t row(int cta, int tile, int r) const noexcept;
  // Words of a lane that say which columns a step has, two tiles to a word. gathered: lanes l and l + 16 have
  // column l. sparse: the metadata of mma.sp, lanes 4 i and 4 i + 1 those of the even tile, the next two of
  // the odd one.
  [[nodiscard]] int index_words() const noexcept { return gathered || sparse ? (tiles_a_warp() + 1) / 2 : 0; }
  // Words of one CTA: fragments as [step][tile][thread][4], then index words as [step][word][thread].
  [[nodiscard]] std::int64_t block_words(Place place) const noexcept;
  // Of all CTAs, from L2 or memory in a timestep.
  [[nodiscard]] std::int64_t streamed_bytes() const noexcept { return 4 * ctas * block_words(Place::l2); }
  // Of row r's kth weight: the half word of its place's section. A lane's words are those of operand A of
  // mma.m16n8k16, and of mma.sp.m16n8k32: weights 2 g and 2 g + 1 are those of columns 4 g to 4 g + 3.
  [[nodiscard]] std::int64_t weight_half(Fragment at, int r, int k) const noexcept;
  // gathered: that holds a lane's column.
  [[nodiscard]] std::int64_t column_half(Fragment at, int lane) const noexcept;
  // sparse: that holds which of columns 4 g to 4 g + 3 row r's weights 2 g and 2 g + 1 are of, two bits each
  // from bit `pair_shift(g)` on.
  [[nodiscard]] std::int64_t pair_half(Fragment at, int r, int g) const noexcept;
  [[nodiscard]] static int pair_shift(int g) noexcept { return g % 4 * 4; }
  [[nodiscard]] Place place_of(int step) const noexcept;
  // The position that column k of a fragment reads, where its tile has all columns. A lane of operand B of
  // mma.m16n8k16 has columns 2 l, 2 l + 1, 2 l + 8 and 2 l + 9, which are neighbouring positions. Of
  // mma.sp.m16n8k32 two neighbouring lanes have 4 neighbouring positions, a half each, in each of 4 words.
  [[nodiscard]] std::int64_t dense_column(Fragment at, int k) const noexcept {
    const int word = k / 16 * 4 + k / 4 % 2 * 2 + k / 8 % 2;
    const int position = sparse ? word * 4 + k % 4 : k % 8 / 2 * 4 + k / 8 * 2 + k % 2;
    return (std::int64_t{at.warp} * steps.total() + at.step) * step_columns() + position;
  }
  // Steps whose state a lane asks for at once and holds together; that of the others comes step by step. With
  // a rest all of it is staged in shared memory.
  [[nodiscard]] int held_steps() const noexcept {
    return asks_late ? 0 : has_rest ? steps.total() : steps.registers + steps.shared;
  }
  // What is asked for late begins with a whole quad.
  [[nodiscard]] int late_steps() const noexcept { return late_columns / step_columns(); }
  [[nodiscard]] bool streams_state() const noexcept { return held_steps() < steps.total(); }
  // 128-bit words of a lane in which the state of such columns is exchanged: kernels/held_exchange.cuh.
  struct Quads {
    int held = 0, streamed = 0;  // of all planes
    [[nodiscard]] int total() const noexcept { return held + streamed; }
  };
  [[nodiscard]] int columns_a_quad(int group_batch, ExchangeWord word) const noexcept;
  [[nodiscard]] Quads state_quads(int group_batch, ExchangeWord word) const noexcept;
  // Of a slot of a group's ring: row parts read the same ones. Counted words take no more.
  [[nodiscard]] std::int64_t ring_quads(int group_batch, ExchangeWord word) const noexcept {
    return std::int64_t{column_warps()} * warp_lanes * state_quads(group_batch, word).total();
  }
  // With a rest, whose pairs read all batch entries of a unit: a word is four of them, else four units of
  // one.
  [[nodiscard]] bool unit_words(int group_batch) const noexcept { return has_rest && group_batch > 2; }
  // Batch entries that are exchanged: whole words of a unit.
  [[nodiscard]] int exchanged_entries(int group_batch) const noexcept {
    return !unit_words(group_batch) ? group_batch : group_batch > 4 ? 8 : 4;
  }
  // With a rest: where column `column` is staged, and how many such places there are. A column warp's lie in
  // blocks of rows of ldmatrix: kernels/staged_columns.cuh.
  [[nodiscard]] std::int64_t staged_position(std::int64_t column, int group_batch) const noexcept;
  [[nodiscard]] std::int64_t staged_positions(int group_batch) const noexcept;
  // gathered: positions of zeros that padding reads, one for each column of a phase.
  [[nodiscard]] std::int64_t zero_position(int k) const noexcept {
    return image.zeros / word_bytes + k % column_phases;
  }
  // Fragments of 512 bytes a warp that are on their way to registers, each into its own of as many places: of
  // each step's tiles a whole number of times as many, and enough to fill the time that shared memory takes.
  [[nodiscard]] int fragments_ahead() const noexcept;
  // Memory takes longer: where there are few tiles, also those of the next step (of an even number of steps).
  [[nodiscard]] bool streams_two_steps() const noexcept { return !gathered && tiles_a_warp() <= 4; }
  [[nodiscard]] int streamed_ahead() const noexcept {
    return streams_two_steps() ? 2 * tiles_a_warp() : fragments_ahead();
  }
  // The same of unrolled code, which with 12 and 16 warps lacks registers for it.
  [[nodiscard]] bool unrolled_streams_two_steps() const noexcept {
    return streams_two_steps() && threads() <= 256;
  }
  // Quads of a plane that unrolled code has on their way. Of two tiles or one the products of a quad take
  // less time than the next one's way from L2: tanh 3520, batch 32, two tiles, 6.3 us a timestep with three
  // of them, 7.2 with one (H200); of four and five tiles nothing was gained.
  [[nodiscard]] int unrolled_quads_ahead() const noexcept {
    return threads() <= 256 && tiles_a_warp() <= 2 && image.planes <= 4 ? 3 : 1;
  }
  // Whether the code of steps whose state comes late is unrolled: kernels/late_order.cuh. `word`: of the
  // state.
  [[nodiscard]] bool unrolls_late_steps(const GpuPlan& plan, const Cell& cell,
                                        ExchangeWord word) const noexcept;
  // Sums of a CTA: [set][batch entry][row of its tiles], up to the last row that there is. Each column warp
  // has a set; but where weights lie in L2 for want of room, and the state comes late anyway, two of them
  // share one.
  [[nodiscard]] int sum_sets() const noexcept {
    const bool shares = asks_late && steps.l2 > 0 && column_warps() % 2 == 0;
    return shares ? column_warps() / 2 : column_warps();
  }
  [[nodiscard]] int sum_rows() const noexcept {
    const int last = units_a_cta * gates - 1;
    return last / rows_a_tile * tile_rows + last % rows_a_tile + 1;
  }
  // Words from one batch entry's sums to the next one's, and how many more lie behind every second entry, so
  // that what is stored or loaded together lies in 32 banks. Of entries b, b + 2, b + 4 and b + 6 those of
  // eight rows are stored together. Loaded are those of four units and of two entries; where words are of one
  // unit, of 4 or 8.
  [[nodiscard]] int sum_pitch(int group_batch) const noexcept {
    const int bank = unit_words(group_batch) ? 32 / exchanged_entries(group_batch) : 16;
    return (sum_rows() + 31 - bank) / 32 * 32 + bank;
  }
  [[nodiscard]] int sum_gap(int group_batch) const noexcept { return unit_words(group_batch) ? 0 : 8; }
  // Of a set.
  [[nodiscard]] int sum_words(int group_batch) const noexcept {
    return group_batch * sum_pitch(group_batch) + (group_batch - 1) / 2 * sum_gap(group_batch);
  }

 private:
  [[nodiscard]] std::int64_t first_word(Fragment at) const noexcept;  // of its CTA's block
  // Of the word's lane 0, behind that.
  [[nodiscard]] std::int64_t index_word(Fragment at) const noexcept;
  [[nodiscard]] int warp_of(Fragment at) const noexcept {  // of the CTA
    return at.tile / tiles_a_warp() * column_warps() + at.warp;
  }
};

struct Layout : gpu::Frame {
  MatrixLayout w_hh;
  std::optional<gather::MatrixLayout> rest;  // of its non-zeros, "w_hh.rest"
};

// Of the state in shared memory: a pair of the rest reads all batch entries of the group at once.
[[nodiscard]] int bytes_of_word(const MmaPlan& plan) noexcept;

[[nodiscard]] Layout make_layout(const MmaPlan& plan, const Problem& problem,
                                 const DirectionProblem& direction);

// The sections of a packed direction, in order: between those of gpu_layout.hpp w_hh.registers, w_hh.shared
// and w_hh.l2, MatrixLayout::block_words of each CTA, then those of the rest as gather_layout.hpp has them.
[[nodiscard]] std::vector<SectionSize> section_sizes(const MmaPlan& plan, const Problem& problem,
                                                     const DirectionProblem& direction);

// Registers of a thread that hold weights and what says of which columns they are.
[[nodiscard]] int weight_registers(const MatrixLayout& layout, int steps) noexcept;
// Of what the rest's row groups leave, part of the budget's sums.
[[nodiscard]] std::int64_t rest_sum_bytes(const gather::MatrixLayout& rest, int group_batch) noexcept;
[[nodiscard]] SharedBudget shared_budget(const Layout& layout, int group_batch,
                                         std::int64_t available) noexcept;

// Why the strategy cannot run the direction; empty if it can.
[[nodiscard]] std::string missing(const Problem& problem, const DirectionProblem& direction,
                                  GpuStrategy strategy);

}  // namespace sprnn::mma
