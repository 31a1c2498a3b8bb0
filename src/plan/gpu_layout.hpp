// Sizes and places that all strategies of a GPU derive from a plan: pack, validate, interpreter and kernel
// agree because they all ask here.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "sprnn/plan.hpp"

namespace sprnn::gpu {

inline constexpr int warp_lanes = 32;
inline constexpr int bank_row_bytes = 128;    // shared memory serves one such row a cycle
inline constexpr int most_cluster_ctas = 16;  // CUDA's limit

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

// Where weights live, in the order in which the kernel fills the places.
enum class Place : std::uint8_t { registers, shared, l2 };
inline constexpr std::array places = {Place::registers, Place::shared, Place::l2};
[[nodiscard]] std::string_view to_string(Place place) noexcept;

// What the kernel outside its product, and the engines, know of a layer: who owns which unit, and the images.
struct Frame {
  int ctas = 1;       // a group
  int threads = 128;  // a CTA
  int gates = 1;
  bool in_cluster = false;
  std::int64_t units = 0;    // H
  std::int64_t outputs = 0;  // R: what is fed back
  int units_a_cta = 0;
  int outputs_a_cta = 0;
  Image state;                  // of h, as W_hh reads it
  std::optional<Image> output;  // of o tanh(c), as W_hr reads it

  [[nodiscard]] int rows_a_cta() const noexcept { return units_a_cta * gates; }
  [[nodiscard]] std::int64_t positions() const noexcept { return std::int64_t{ctas} * units_a_cta; }
};

[[nodiscard]] Frame make_frame(const GpuPlan& plan, int units_a_cta, int outputs_a_cta, int word_bytes,
                               const Problem& problem, const DirectionProblem& direction);
// Of a direction that is planned for a GPU.
[[nodiscard]] Frame make_frame(const DirectionPlan& plan, const Problem& problem,
                               const DirectionProblem& direction);

// Whether a state leaves a bit for a stamp: a bounded h its top exponent bit, relu its sign bit; a projected
// h and some variants neither.
[[nodiscard]] bool has_free_bit(const Problem& problem, const DirectionProblem& direction);

struct SectionSize {
  std::string name;
  std::int64_t bytes = 0;
};
// The sections of a packed direction that every strategy has, in order; the strategy's own lie between maps
// and input.
//   unit_map         int32 [ctas][units_a_cta]: the unit at each position, -1 for none
//   output_map       the same for the projected outputs; only with a projection
//   w_ih.dense       bit patterns [G*H][I]; or
//   w_ih.row_begin   int64 [G*H + 1], w_ih.columns int32, w_ih.values bit patterns
[[nodiscard]] std::vector<SectionSize> map_sections(const Frame& frame);
[[nodiscard]] std::vector<SectionSize> input_sections(InputStorage storage, const Problem& problem,
                                                      const DirectionProblem& direction);
[[nodiscard]] std::int64_t total_bytes(const std::vector<SectionSize>& sections) noexcept;

// Of a session beside the state: a tile of the input projection, and the rings.
[[nodiscard]] std::int64_t workspace_bytes(const GpuPlan& plan, const Frame& frame, const Problem& problem);
// 128-bit quads of a slot of one group's ring, where the state is staged.
[[nodiscard]] std::int64_t staged_quads(int ctas, int units_a_cta, int group_batch, int element_bytes,
                                        ExchangeWord word);
// Two slots of them, in shared memory.
[[nodiscard]] constexpr std::int64_t shared_ring_bytes(std::int64_t quads) { return 2 * 16 * quads; }
// What counts the words of either.
inline constexpr std::int64_t counter_bytes = 16;
// The rings' part of it, where the state is staged.
[[nodiscard]] std::int64_t ring_bytes(const GpuPlan& plan, const Frame& frame);

}  // namespace sprnn::gpu
