// Which SMs lie on which side of the L2, and how a launch's CTAs are spread over the two.
//
// The L2 of an A100, H100 or H200 is two halves, each next to half of the SMs. A word that an SM writes is
// seen by one of its own side after 510 cycles, by one of the other after 760 (H100): a group of CTAs that
// exchange states should lie on one side.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engines/cuda/gpu.hpp"
#include "engines/cuda/kernel_code.hpp"

namespace sprnn::cuda {

struct L2Sides {
  std::array<int, 2> sms{};  // of each side; all on side 0 if there are no two
  Buffer side_of_sm;         // [SM] bytes; empty if there are no two
  [[nodiscard]] bool two() const noexcept { return sms[1] > 0; }
};

// Measured on first use, a millisecond, and kept. The GPU must be current. Throws Error of `code`.
[[nodiscard]] std::shared_ptr<const L2Sides> l2_sides(const Gpu& gpu, const CodeSource& code);

// The side of each SM from the cycles that its atomics took to each line, [sm][line]: SMs of one side have
// the same lines near. Empty where lines are not clearly of two kinds, which then are the other way round for
// other SMs.
[[nodiscard]] std::vector<std::uint8_t> sides_of(std::span<const std::uint32_t> cycles, std::size_t lines);

struct Placement {
  int blocks = 0;      // to launch: at least `roles`
  int roles = 0;       // CTAs that work
  int near_roles = 0;  // of them on side 0
  bool placed = false;
};

// CTAs lie where they come to lie, as those of clusters do.
[[nodiscard]] constexpr Placement unplaced(int groups, int ctas) {
  return {groups * ctas, groups * ctas, groups * ctas, false};
}

// Whole groups to sides. Where they do not fit, CTAs lie where they come to lie; so do those of a launch that
// leaves half of the SMs free for others: to choose, CTAs must be started on all SMs.
[[nodiscard]] Placement place(const std::array<int, 2>& sms, int groups, int ctas);

}  // namespace sprnn::cuda
