// The sections of a direction packed by strategy dense-mma, sparse-mma or vector-mma, seen through its
// layout.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "pack/gather_view.hpp"
#include "pack/gpu_sections.hpp"
#include "pack/mma_pair.hpp"
#include "plan/mma_layout.hpp"

namespace sprnn::mma {

// Non-zeros of each row beyond two of four, also where there are none.
[[nodiscard]] std::vector<std::int32_t> rests_of(const MatrixSummary& summary);

struct View {
  Layout layout;
  std::array<const std::uint16_t*, 3> halves{};  // [place]
  const std::int32_t* units = nullptr;           // the unit at each position
  std::optional<gather::MatrixView> rest;
  std::shared_ptr<const std::vector<std::int32_t>> staged;  // beside a rest: the column at each place

  [[nodiscard]] const std::uint16_t* in(Fragment at) const noexcept {
    return halves[static_cast<std::size_t>(layout.w_hh.place_of(at.step))];
  }
  // sparse: of which two of its columns 4 g to 4 g + 3 row r has weights.
  [[nodiscard]] Pair pair(Fragment at, int r, int g) const noexcept {
    const int bits = in(at)[layout.w_hh.pair_half(at, r, g)] >> MatrixLayout::pair_shift(g);
    return {bits & 3, bits >> 2 & 3};
  }
  // The bit pattern at row r of the tile and column k of the step.
  [[nodiscard]] std::uint16_t weight(Fragment at, int r, int k) const noexcept {
    if (!layout.w_hh.sparse) return in(at)[layout.w_hh.weight_half(at, r, k)];
    const int g = k / 4;
    const Pair columns = pair(at, r, g);
    for (int i = 0; i < weights_of_four; ++i) {
      if (columns[static_cast<std::size_t>(i)] == k % 4)
        return in(at)[layout.w_hh.weight_half(at, r, weights_of_four * g + i)];
    }
    return 0;
  }
  // The position that column k reads.
  [[nodiscard]] std::int64_t position(Fragment at, int k) const noexcept {
    return layout.w_hh.gathered ? in(at)[layout.w_hh.column_half(at, k)] : layout.w_hh.dense_column(at, k);
  }
  // The matrix's column at a position, -1 for none.
  [[nodiscard]] std::int32_t column(std::int64_t position) const noexcept {
    return position < layout.state.positions ? units[position] : -1;
  }

  // visit(fragment): the fragments of a tile of a CTA follow one another, warp by warp,
  // step by step.
  template <class Visit>
  void for_each_fragment(Visit&& visit) const {
    const MatrixLayout& w = layout.w_hh;
    for (int cta = 0; cta < w.ctas; ++cta) {
      for (int tile = 0; tile < w.tiles; ++tile) {
        for (int warp = 0; warp < w.column_warps(); ++warp) {
          for (int step = 0; step < w.steps.total(); ++step) visit(Fragment{cta, warp, step, tile});
        }
      }
    }
  }
};

// The sections must outlive the view, and must have the sizes that the plan derives.
[[nodiscard]] View make_view(const std::vector<Section>& sections, const MmaPlan& plan,
                             const Problem& problem, const DirectionProblem& direction);

}  // namespace sprnn::mma
