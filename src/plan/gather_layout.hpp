// Every size, grid and offset of strategy gather, derived from a plan: pack, validate, interpreter and
// kernel agree because they all ask here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sprnn/plan.hpp"

namespace sprnn::gather {

inline constexpr int warp_lanes = 32;
inline constexpr int bank_row_bytes = 128;  // shared memory serves one such row a cycle
inline constexpr int quad = 4;  // slots in one 16-byte read, and products in one half-precision sum
inline constexpr std::int64_t offset_values = 65536;  // of a 16-bit offset

// A state vector in shared memory: [plane][position][batch entries of a word]. Each plane ends in zeros,
// one word of them for each bank class, which padding reads.
struct Image {
  std::int64_t positions = 0;
  int word_bytes = 0;
  int entries = 0;         // batch entries a word
  int planes = 0;          // words a position: planes * entries >= group_batch
  std::int64_t zeros = 0;  // address of the always-zero words in a plane
  std::int64_t plane_bytes = 0;

  [[nodiscard]] std::int64_t bytes() const noexcept { return planes * plane_bytes; }
  // Lanes that one phase of a load serves, and the classes of addresses that it can serve at once.
  [[nodiscard]] int phase_lanes() const noexcept;
  [[nodiscard]] int class_bytes() const noexcept { return word_bytes < 4 ? 4 : word_bytes; }
  [[nodiscard]] int bank_classes() const noexcept { return bank_row_bytes / class_bytes(); }
  [[nodiscard]] int bank_class(std::int64_t address) const noexcept {
    return static_cast<int>(address / class_bytes() % bank_classes());
  }
  [[nodiscard]] std::int64_t zero_word(int bank_class) const noexcept {
    return zeros + bank_class * class_bytes();
  }
};

[[nodiscard]] Image make_image(std::int64_t positions, int word_bytes, int group_batch, DType dtype);

enum class Place : std::uint8_t { registers, shared, l2 };
inline constexpr std::array places = {Place::registers, Place::shared, Place::l2};
[[nodiscard]] std::string_view to_string(Place place) noexcept;

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
  int lanes = 32;  // a row
  int offset_unit = 1;
  bool half_sums = false;
  bool wide_values = false;  // fp32: a 32-bit value, and two slots' offsets share a register
  Image image;               // of what the columns multiply
  std::vector<RowPass> passes;
  std::vector<std::array<int, 3>> first;  // [pass][place]: index of the pass's first slot
  std::array<int, 3> slots{};             // [place]: a lane, all passes

  [[nodiscard]] int rows_a_cta() const noexcept { return units_a_cta * gates; }
  [[nodiscard]] int row_groups() const noexcept { return threads / lanes; }
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

struct Layout {
  MatrixLayout w_hh;
  std::optional<MatrixLayout> w_hr;  // its columns multiply the unprojected output
  std::int64_t units = 0;            // H
  std::int64_t outputs = 0;          // R: what is fed back
  int outputs_a_cta = 0;
};

[[nodiscard]] Layout make_layout(const GatherPlan& plan, const Problem& problem,
                                 const DirectionProblem& direction);

// The sections of a packed direction, in order:
//   unit_map         int32 [ctas][units_a_cta]: the unit at each position, -1 for none
//   output_map       the same for the projected outputs; only with a projection
//   M.row_map        int32 [ctas][passes][row_groups]: the CTA's row that a row group sums, -1 for none
//   M.registers, M.shared, M.l2   pairs, MatrixLayout::block_words of each CTA; M is w_hh, then w_hr
//   w_ih.dense       bit patterns [G*H][I]; or
//   w_ih.row_begin   int64 [G*H + 1], w_ih.columns int32, w_ih.values bit patterns
struct SectionSize {
  std::string name;
  std::int64_t bytes = 0;
};
[[nodiscard]] std::vector<SectionSize> section_sizes(const GatherPlan& plan, const Problem& problem,
                                                     const DirectionProblem& direction);

// Budgets: what the layout needs of a thread's registers and of a CTA's shared memory. The compiler keeps an
// opaque pair as it is, and unpacks others: 3.5 registers a pair were seen, 2 where nothing was spilled.
[[nodiscard]] int pair_registers(int slots, bool wide_values, bool opaque) noexcept;
[[nodiscard]] int pair_registers(const Layout& layout, bool opaque) noexcept;
[[nodiscard]] SharedBudget shared_budget(const Layout& layout, int group_batch,
                                         std::int64_t available) noexcept;

// Throws Error(format) that names the field, unless every field is in range, agrees with the others and
// with the problem: what make_layout and all that follows rely on.
void check(const GatherPlan& plan, const Problem& problem, const DirectionProblem& direction);

}  // namespace sprnn::gather
