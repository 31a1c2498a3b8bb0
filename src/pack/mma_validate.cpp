// What engines rely on instead of checking. Sizes and places are derived from the checked plan, never read.
#include <algorithm>

#include "pack/gather_matrix.hpp"
#include "pack/mma_view.hpp"
#include "plan/strategy.hpp"

namespace sprnn::mma {

namespace {

using gpu::refuse;
using std::size_t;

// A unit's position is its number.
void check_positions(const View& view) {
  for (std::int64_t position = 0; position < view.layout.positions(); ++position) {
    const std::int64_t expected = position < view.layout.units ? position : -1;
    if (view.units[position] != expected)
      refuse("unit_map[{}] is {}, expected {}", position, view.units[position], expected);
  }
}

class Checker {
 public:
  Checker(const View& view, const MatrixSummary& summary, DType dtype)
      : view_(view),
        layout_(view.layout.w_hh),
        summary_(summary),
        dtype_(dtype),
        last_tile_(static_cast<size_t>(layout_.image.positions), -1),
        nonzeros_(summary.row_nonzeros.size(), 0) {
    if (view.rest) twos_.resize(nonzeros_.size() * fours_a_row());
    if (layout_.gathered) tile_columns_.resize(static_cast<size_t>(layout_.ctas * layout_.tiles));
  }

  void run() {
    view_.for_each_fragment([&](Fragment at) {
      if (layout_.gathered) check_columns(at);
      if (layout_.sparse) check_pairs(at);
      for (int k = 0; k < layout_.step_columns(); ++k) check_weights(at, k);
    });
    const std::vector<std::int32_t> rests = view_.rest ? rests_of(summary_) : std::vector<std::int32_t>();
    for (size_t row = 0; row < nonzeros_.size(); ++row) {
      const std::int32_t expected = summary_.row_nonzeros[row] - (rests.empty() ? 0 : rests[row]);
      if (nonzeros_[row] != expected)
        refuse("w_hh: row {} has {} non-zeros, expected {}", row, nonzeros_[row], expected);
    }
    if (layout_.gathered) check_shared_columns();
    if (layout_.sparse && !view_.rest && !summary_.row_rests.empty())
      refuse("w_hh: the problem has row_rests, expected none: no row has more than two of four");
    if (view_.rest) {
      largest_ = std::max(largest_, gather::check_matrix(*view_.rest, rests, dtype_));
      check_rest();
    }
    gpu::check_large("w_hh", summary_, dtype_, largest_);
  }

 private:
  template <class... Args>
  [[noreturn]] void fail(Fragment at, fmt::format_string<Args...> what, Args&&... args) const {
    refuse("w_hh: CTA {}, tile {}, warp {}, step {}: {}", at.cta, at.tile, at.warp, at.step,
           fmt::format(what, std::forward<Args>(args)...));
  }

  // Each a column that the tile has not had, or the zeros that belong to its place.
  void check_columns(Fragment at) {
    const std::int64_t tile = std::int64_t{at.cta} * layout_.tiles + at.tile;
    for (int k = 0; k < operand_columns; ++k) {
      const std::int64_t position = view_.position(at, k);
      if (view_.in(at)[layout_.column_half(at, k + operand_columns)] != position)
        fail(at, "column {}: lanes {} and {} differ", k, k, k + operand_columns);
      if (position == layout_.zero_position(k)) continue;
      if (view_.column(position) < 0) fail(at, "column {} reads position {}, where no unit is", k, position);
      std::int64_t& last = last_tile_[static_cast<size_t>(position)];
      if (last == tile) fail(at, "column {} reads position {} a second time", k, position);
      last = tile;
      ++tile_columns_[static_cast<size_t>(tile)];
    }
    // Of an odd number of tiles the last has half a word to spare.
    if (at.tile % 2 == 1 || at.tile + 1 < layout_.tiles) return;
    for (int lane = 0; lane < warp_lanes; ++lane) {
      if (view_.in(at)[layout_.column_half(at, lane) + 1] != 0)
        fail(at, "lane {}: the spare half word is not zero", lane);
    }
  }

  // A tile has the columns of the units that share them.
  void check_shared_columns() const {
    const int sharing = mma_sharing_units(layout_.gates);
    for (size_t block = 0; block < summary_.shared_columns.size(); ++block) {
      const int unit = static_cast<int>(block) * sharing, cta = unit / layout_.units_a_cta;
      const int tile = cta * layout_.tiles + unit % layout_.units_a_cta / sharing;
      const std::int32_t found = tile_columns_[static_cast<size_t>(tile)];
      if (found != summary_.shared_columns[block])
        refuse("w_hh: shared_columns[{}] is {}, expected {}", block, summary_.shared_columns[block], found);
    }
  }

  // Ascending, and those that pack takes for these weights.
  void check_pairs(Fragment at) {
    for (int r = 0; r < tile_rows; ++r) {
      for (int g = 0; g < layout_.step_columns() / 4; ++g) {
        const Pair pair = view_.pair(at, r, g);
        unsigned used = 0;
        for (int i = 0; i < weights_of_four; ++i) {
          if (view_.in(at)[layout_.weight_half(at, r, weights_of_four * g + i)] != 0)
            used |= 1U << pair[static_cast<size_t>(i)];
        }
        if (pair[0] >= pair[1] || pair != pair_of(used))
          fail(at, "row {}: weights of columns {} and {} of the four from {} on, expected {} and {}", r,
               pair[0], pair[1], 4 * g, pair_of(used)[0], pair_of(used)[1]);
      }
    }
    // Of an odd number of tiles the last has half of the lanes to spare.
    const int tile = at.tile % layout_.tiles_a_warp();
    if (tile % 2 == 1 || tile + 1 < layout_.tiles_a_warp()) return;
    constexpr int two_lanes = 4;  // half words
    for (int r = 0; r < tile_rows; ++r) {
      for (const int g : {0, 4}) {
        if (view_.in(at)[layout_.pair_half(at, r, g) + two_lanes] != 0)
          fail(at, "row {}: a spare half word is not zero", r);
      }
    }
  }

  // Finite, and zero where no row or no column is; a column is there for the sake of a non-zero.
  void check_weights(Fragment at, int k) {
    const bool is_column = view_.column(view_.position(at, k)) >= 0;
    bool any = false;
    for (int r = 0; r < tile_rows; ++r) {
      const std::uint16_t bits = view_.weight(at, r, k);
      if (bits == 0) continue;
      any = true;
      const std::int64_t row = layout_.row(at.cta, at.tile, r);
      if (row < 0 || !is_column)
        fail(at, "row {}, column {}: value bits {:#x} where the matrix has no weight", r, k, bits);
      if (!gpu::is_finite_bits(dtype_, bits)) fail(at, "row {}, column {}: weights must be finite", r, k);
      ++nonzeros_[static_cast<size_t>(row)];
      largest_ = std::max(largest_, gpu::magnitude_bits(dtype_, bits));
      if (!twos_.empty()) {
        const auto column = static_cast<size_t>(view_.column(view_.position(at, k)));
        std::uint8_t& two = twos_[static_cast<size_t>(row) * fours_a_row() + column / 4];
        two = static_cast<std::uint8_t>(two | 1U << column % 4);
      }
    }
    if (layout_.gathered && is_column && !any) fail(at, "column {} has no non-zero", k);
  }

  // Each follows two that the fragments have in the same four columns.
  void check_rest() const {
    const gather::MatrixView& rest = *view_.rest;
    rest.for_each_pair([&](int cta, int pass, int group, int, int, gather::Pair pair) {
      if (pair.value == 0) return;
      const std::int64_t row = rest.row(cta, rest.local_row(cta, pass, group));
      const std::int32_t column = rest.columns[rest.address(pair) / rest.layout.image.word_bytes];
      const unsigned two = twos_[static_cast<size_t>(row) * fours_a_row() + static_cast<size_t>(column / 4)];
      if (std::popcount(two) < weights_of_four || two >> column % 4 != 0)
        refuse("w_hh.rest: row {}, column {} does not follow two non-zeros of its four columns", row, column);
    });
  }
  [[nodiscard]] size_t fours_a_row() const { return (static_cast<size_t>(summary_.cols) + 3) / 4; }

  const View& view_;
  const MatrixLayout& layout_;
  const MatrixSummary& summary_;
  DType dtype_;
  std::uint32_t largest_ = 0;               // magnitude, its bits
  std::vector<std::int64_t> last_tile_;     // [position]: the last that read it
  std::vector<std::int32_t> nonzeros_;      // [row]
  std::vector<std::int32_t> tile_columns_;  // [CTA][tile]: how many it has; only where each has its own
  std::vector<std::uint8_t> twos_;  // [row][four columns]: those that fragments have; only beside a rest
};

}  // namespace

void validate(const std::vector<Section>& sections, const DirectionPlan& direction_plan,
              const Problem& problem) {
  const MmaPlan& plan = std::get<MmaPlan>(direction_plan.choice);
  const DirectionProblem& direction = gpu::problem_of(direction_plan, problem);
  gpu::check_sizes(sections, section_sizes(plan, problem, direction));
  const View view = make_view(sections, plan, problem, direction);
  gpu::check_maps(sections, view.layout);
  check_positions(view);
  Checker(view, direction.w_hh, problem.dtype).run();
  gpu::check_input(sections, plan.w_ih, direction, problem.dtype);
}

}  // namespace sprnn::mma
