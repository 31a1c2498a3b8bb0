// The sections of a direction packed by strategy gather, seen through its layout.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "pack/gpu_sections.hpp"
#include "plan/gather_layout.hpp"

namespace sprnn::gather {

using gpu::find_section;

struct MatrixView {
  MatrixLayout layout;
  const std::int32_t* row_map = nullptr;
  std::array<const std::uint32_t*, 3> pairs{};  // [place]
  const std::int32_t* units = nullptr;          // whose rows each position of a CTA holds
  const std::int32_t* columns = nullptr;        // the column at each position of the image

  // The CTA's row that a row group sums in a pass, -1 for none.
  [[nodiscard]] std::int32_t local_row(int cta, int pass, int row_group) const noexcept {
    return row_map[layout.row_map_index(cta, pass, row_group)];
  }
  // The row of the matrix, given the CTA's row.
  [[nodiscard]] std::int64_t row(int cta, std::int32_t local) const noexcept {
    return local % layout.gates * layout.units +
           units[std::int64_t{cta} * layout.units_a_cta + local / layout.gates];
  }
  [[nodiscard]] Pair load(int cta, Slot slot, int thread) const noexcept {
    const std::uint32_t* blocks = pairs[static_cast<std::size_t>(slot.place)];
    return layout.load(blocks + cta * layout.block_words(slot.place), slot, thread);
  }
  [[nodiscard]] std::int64_t address(Pair pair) const noexcept {
    return std::int64_t{pair.offset} * layout.offset_unit;
  }

  // visit(cta, pass, row group, lane, slot of the pass, pair), padding included, CTA after CTA.
  template <class Visit>
  void for_each_pair(Visit&& visit) const {
    for (int cta = 0; cta < layout.ctas; ++cta) {
      for (int pass = 0; pass < static_cast<int>(layout.passes.size()); ++pass) {
        const int slots = layout.passes[static_cast<std::size_t>(pass)].slots();
        for (int group = 0; group < layout.row_groups(); ++group) {
          for (int s = 0; s < slots; ++s) {
            const Slot slot = layout.slot(pass, s);
            for (int lane = 0; lane < layout.lanes; ++lane) {
              visit(cta, pass, group, lane, s, load(cta, slot, group * layout.lanes + lane));
            }
          }
        }
      }
    }
  }
};

// `units`: whose rows each position of a CTA holds; `columns`: the column at each position of the image.
[[nodiscard]] MatrixView view_matrix(const std::vector<Section>& sections, const MatrixLayout& layout,
                                     const std::int32_t* units, const std::int32_t* columns);

struct View {
  Layout layout;
  MatrixView w_hh;
  std::optional<MatrixView> w_hr;
};

// The sections must outlive the view, and must have the sizes that the plan derives.
[[nodiscard]] View make_view(const std::vector<Section>& sections, const GatherPlan& plan,
                             const Problem& problem, const DirectionProblem& direction);

}  // namespace sprnn::gather
