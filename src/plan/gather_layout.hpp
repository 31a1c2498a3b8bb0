// Every size, grid and offset of strategy gather, derived from a plan: pack, validate, interpreter and
// kernel agree because they all ask here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "plan/gpu_layout.hpp"

namespace sprnn::gather {

using gpu::bank_row_bytes;
using gpu::Image;
using gpu::make_image;
using gpu::Place;
using gpu::places;
using gpu::SectionSize;
using gpu::to_string;
using gpu::warp_lanes;
inline constexpr int quad = 4;  // slots in one 16-byte read, and products in one half-precision sum
inline constexpr std::int64_t offset_values = 65536;  // of a 16-bit offset

struct Pair {
  std::uint32_t offset = 0;  // address in a plane / offset_unit
  std::uint32_t value = 0;   // bit pattern
};

// Where a slot of a row pass lies: in `place`, which numbers the slots of all passes one after the other.
struct Slot {
  Place place = Place::registers;
  int index = 0;
};

// One recurrent matrix over the CTAs of a group. A CTA's row r is gate r % gates of its unit r / gates.
// Row group g of a pass is threads g * lanes ... (g + 1) * lanes - 1.
struct MatrixLayout {
  std::string name;  // "w_hh", "w_hr"
  int gates = 1;
  std::int64_t units = 0;  // the matrix has gates * units rows
  std::int64_t columns = 0;
  int ctas = 1;
  int threads = 128;  // a CTA
  int units_a_cta = 0;
  int lanes = 32;  // a row group
  int parts = 1;   // most row groups of a row
  int offset_unit = 1;
  bool half_sums = false;
  bool wide_values = false;  // fp32: a 32-bit value, and two slots' offsets share a register
  Image image;               // of what the columns multiply
  std::vector<RowPass> passes;
  std::vector<std::array<int, 3>> first;  // [pass][place]: index of the pass's first slot
  std::array<int, 3> slots{};             // [place]: a lane, all passes

  [[nodiscard]] int rows_a_cta() const noexcept { return units_a_cta * gates; }
  [[nodiscard]] int row_groups() const noexcept { return threads / lanes; }
  // Places for the sums of a CTA's row groups: neighbours in order, with a gap after a unit where needed.
  // Whoever adds up a row reads as many as the row with most parts has, past the last one too.
  [[nodiscard]] std::int64_t sum_slots() const noexcept {
    return static_cast<std::int64_t>(passes.size()) * row_groups() + units_a_cta + parts - 1;
  }
  [[nodiscard]] std::int64_t row_map_size() const noexcept {
    return std::int64_t{ctas} * static_cast<std::int64_t>(passes.size()) * row_groups();
  }
  [[nodiscard]] std::int64_t row_map_index(int cta, int pass, int row_group) const noexcept {
    return (std::int64_t{cta} * static_cast<std::int64_t>(passes.size()) + pass) * row_groups() + row_group;
  }
  [[nodiscard]] Slot slot(int pass, int s) const noexcept;
  // 32-bit words of one CTA in one place. Registers: [slot][thread], so that a warp loads them coalesced;
  // the others: [quad of slots][thread][4], so that a lane reads 16 bytes. With wide values the offsets
  // follow all values, two to a word, in the same order.
  [[nodiscard]] std::int64_t block_words(Place place) const noexcept;
  [[nodiscard]] Pair load(const std::uint32_t* block, Slot slot, int thread) const noexcept;
  void store(std::uint32_t* block, Slot slot, int thread, Pair pair) const noexcept;

 private:
  [[nodiscard]] std::int64_t value_word(Slot slot, int thread) const noexcept;
  [[nodiscard]] std::int64_t offset_word(Slot slot, int thread) const noexcept;
};

// 32-bit words of a place with `slots` slots a lane.
[[nodiscard]] std::int64_t block_words(Place place, int slots, int threads, bool wide_values) noexcept;

struct Layout : gpu::Frame {
  MatrixLayout w_hh;
  std::optional<MatrixLayout> w_hr;  // its columns multiply the unprojected output
};

// But for what the rows and columns are: gates, units, columns and the image.
[[nodiscard]] MatrixLayout make_matrix_layout(const GpuPlan& plan, const GatherMatrix& matrix,
                                              std::string name, DType dtype);

[[nodiscard]] Layout make_layout(const GatherPlan& plan, const Problem& problem,
                                 const DirectionProblem& direction);

// The sections of a packed direction, in order. Between those of gpu_layout.hpp lie, for w_hh and then w_hr:
//   M.row_map        int32 [ctas][passes][row_groups]: the CTA's row that a row group sums, whole or a
//                    part of it; -1 for none. Parts may lie anywhere in a pass.
//   M.registers, M.shared, M.l2   pairs, MatrixLayout::block_words of each CTA
[[nodiscard]] std::vector<SectionSize> section_sizes(const GatherPlan& plan, const Problem& problem,
                                                     const DirectionProblem& direction);
[[nodiscard]] std::vector<SectionSize> matrix_sections(const MatrixLayout& matrix);

// Sums of four halves must not overflow: what W_hr reads is bounded, what W_hh reads if the cell is and
// nothing is projected; and no weight may be large.
[[nodiscard]] bool sums_halves(const Problem& problem, const DirectionProblem& direction,
                               bool projection) noexcept;

// Budgets: what the layout needs of a thread's registers and of a CTA's shared memory. The compiler keeps an
// opaque pair as it is, and unpacks others: 3.5 registers a pair were seen, 2 where nothing was spilled.
[[nodiscard]] int pair_registers(int slots, bool wide_values, bool opaque) noexcept;
[[nodiscard]] int pair_registers(const Layout& layout, bool opaque) noexcept;
[[nodiscard]] SharedBudget shared_budget(const Layout& layout, int group_batch,
                                         std::int64_t available) noexcept;

// Of the strategy's check: one matrix of `gates` * `units_a_cta` rows a CTA, and whether its offsets reach
// the image. `half_sums`: whether it may have them.
void check_matrix(const GatherMatrix& matrix, std::string_view name, std::int64_t units_a_cta, int gates,
                  bool half_sums, int word_bytes, const GpuPlan& plan);
void check_image(const Image& image, int offset_unit, std::string_view name);

}  // namespace sprnn::gather
