// Packing for strategies dense-mma, sparse-mma and vector-mma: units to positions, rows to tiles, columns to
// steps; and back.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/parallel.hpp"
#include "pack/gather_matrix.hpp"
#include "pack/mma_columns.hpp"
#include "pack/mma_view.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn::mma {

namespace {

using std::size_t;

class Packer {
 public:
  // `rests`: what is beyond two of four is packed elsewhere.
  Packer(const Matrix& matrix, const MatrixLayout& layout, bool rests, DType dtype,
         std::vector<Section>& sections)
      : matrix_(matrix), layout_(layout), rests_(rests), dtype_(dtype) {
    for (const Place place : places) {
      halves_[static_cast<size_t>(place)] =
          gpu::section(sections, fmt::format("w_hh.{}", gpu::to_string(place))).as<std::uint16_t>();
    }
  }

  // Each CTA writes to places of its own, so the bytes are the same however many threads share them.
  void pack() {
    const auto threads = static_cast<size_t>(this_cpu().cpu().threads);
    parallel_for(static_cast<size_t>(layout_.ctas), threads, [&](size_t cta) {
      for (int tile = 0; tile < layout_.tiles; ++tile) pack_tile(static_cast<int>(cta), tile);
    });
  }

 private:
  void pack_tile(int cta, int tile) {
    const std::vector<std::int64_t> columns =
        layout_.gathered ? columns_of(cta, tile) : all_columns(cta, tile);
    const std::int64_t* next = columns.data();
    for (int warp = 0; warp < layout_.column_warps(); ++warp) {
      for (int step = 0; step < layout_.steps.total(); ++step, next += layout_.step_columns()) {
        const Fragment at{cta, warp, step, tile};
        if (layout_.sparse) {
          pack_pairs(at, next);
        } else {
          pack_fragment(at, next);
        }
      }
    }
  }

  // `columns`: of a step.
  void pack_fragment(Fragment at, const std::int64_t* columns) {
    std::uint16_t* const halves = halves_of(at);
    for (int k = 0; k < operand_columns; ++k) {
      if (layout_.gathered) {
        for (const int lane : {k, k + operand_columns})
          halves[layout_.column_half(at, lane)] = static_cast<std::uint16_t>(columns[k]);
      }
      for (int r = 0; r < tile_rows; ++r) {
        if (const std::uint16_t bits = weight(at, r, columns[k]); bits != 0)
          halves[layout_.weight_half(at, r, k)] = bits;
      }
    }
  }

  void pack_pairs(Fragment at, const std::int64_t* columns) {
    std::uint16_t* const halves = halves_of(at);
    for (int r = 0; r < tile_rows; ++r) {
      for (int g = 0; g < layout_.step_columns() / 4; ++g) {
        const std::int64_t* const four = columns + std::ptrdiff_t{4} * g;
        unsigned used = 0;
        for (int i = 0; i < 4; ++i) used |= (weight(at, r, four[i]) != 0 ? 1U : 0U) << i;
        if (rests_) {
          while (std::popcount(used) > weights_of_four) used &= ~std::bit_floor(used);
        }
        if (std::popcount(used) > weights_of_four) {
          throw Error(
              ErrorCode::invalid_argument,
              fmt::format("w_hh: row {} has {} non-zeros in columns {} to {}, the plan takes {}; make a "
                          "plan for these weights",
                          layout_.row(at.cta, at.tile, r), std::popcount(used), four[0],
                          std::min(four[3], matrix_.cols - 1), weights_of_four));
        }
        const Pair pair = pair_of(used);
        for (int i = 0; i < weights_of_four; ++i) {
          const int column = pair[static_cast<size_t>(i)];
          halves[layout_.weight_half(at, r, weights_of_four * g + i)] = weight(at, r, four[column]);
          halves[layout_.pair_half(at, r, g)] = static_cast<std::uint16_t>(
              halves[layout_.pair_half(at, r, g)] | column << (MatrixLayout::pair_shift(g) + 2 * i));
        }
      }
    }
  }

  [[nodiscard]] std::uint16_t* halves_of(Fragment at) const {
    return halves_[static_cast<size_t>(layout_.place_of(at.step))];
  }
  // The bit pattern of a row of a tile, 0 where the matrix has no such row or column.
  [[nodiscard]] std::uint16_t weight(Fragment at, int r, std::int64_t column) const {
    const std::int64_t row = layout_.row(at.cta, at.tile, r);
    if (row < 0 || column >= matrix_.cols) return 0;
    return static_cast<std::uint16_t>(to_bits(dtype_, matrix_.row(row)[column]));
  }

  [[nodiscard]] std::vector<std::int64_t> all_columns(int cta, int tile) const {
    std::vector<std::int64_t> columns;
    for (int warp = 0; warp < layout_.column_warps(); ++warp) {
      for (int step = 0; step < layout_.steps.total(); ++step) {
        for (int k = 0; k < layout_.step_columns(); ++k)
          columns.push_back(layout_.dense_column({cta, warp, step, tile}, k));
      }
    }
    return columns;
  }

  // What the steps of all warps read, one after the other. A unit's position is its number.
  [[nodiscard]] std::vector<std::int64_t> columns_of(int cta, int tile) const {
    const std::int64_t room = std::int64_t{layout_.column_warps()} * layout_.steps.total() * operand_columns;
    std::vector<std::int64_t> columns;
    for (std::int64_t column = 0; column < matrix_.cols; ++column) {
      for (int r = 0; r < tile_rows; ++r) {
        const std::int64_t row = layout_.row(cta, tile, r);
        if (row < 0 || !is_nonzero(matrix_.row(row)[column])) continue;
        columns.push_back(column);
        break;
      }
    }
    if (static_cast<std::int64_t>(columns.size()) > room) {
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("w_hh: the {} units from {} on share {} columns, the plan has room for {}; make a plan "
                      "for these weights",
                      layout_.rows_a_tile / layout_.gates,
                      cta * layout_.units_a_cta + tile * layout_.rows_a_tile / layout_.gates, columns.size(),
                      room));
    }
    return arrange_columns(columns, room, layout_);
  }

  const Matrix& matrix_;
  const MatrixLayout& layout_;
  bool rests_;
  DType dtype_;
  std::array<std::uint16_t*, 3> halves_{};
};

}  // namespace

std::vector<Section> pack(const Direction& weights, const DirectionPlan& direction_plan,
                          const Problem& problem) {
  const MmaPlan& plan = std::get<MmaPlan>(direction_plan.choice);
  const DirectionProblem& direction = gpu::problem_of(direction_plan, problem);
  const Layout layout = make_layout(plan, problem, direction);
  std::vector<Section> sections = gpu::make_sections(section_sizes(plan, problem, direction));
  std::vector<std::int32_t> unit_map(static_cast<size_t>(layout.positions()), -1);
  std::iota(unit_map.begin(), unit_map.begin() + static_cast<std::ptrdiff_t>(layout.units), 0);
  gpu::write_map(sections, "unit_map", unit_map);
  Packer(weights.w_hh, layout.w_hh, layout.rest.has_value(), problem.dtype, sections).pack();
  if (layout.rest) {
    std::vector<std::int64_t> positions(static_cast<size_t>(layout.units));
    for (std::int64_t column = 0; column < layout.units; ++column)
      positions[static_cast<size_t>(column)] = layout.w_hh.staged_position(column, plan.group_batch);
    gather::pack_matrix({weights.w_hh, rests_of(direction.w_hh), is_rest, unit_map, positions}, *layout.rest,
                        problem.dtype, /*bank_order=*/true, sections);
  }
  gpu::pack_input(weights.w_ih, plan.w_ih, problem.dtype, sections);
  return sections;
}

void unpack(const std::vector<Section>& sections, const DirectionPlan& direction_plan, const Problem& problem,
            Direction& weights) {
  const MmaPlan& plan = std::get<MmaPlan>(direction_plan.choice);
  const View view = make_view(sections, plan, problem, gpu::problem_of(direction_plan, problem));
  view.for_each_fragment([&](Fragment at) {
    for (int k = 0; k < view.layout.w_hh.step_columns(); ++k) {
      const std::int32_t column = view.column(view.position(at, k));
      for (int r = 0; column >= 0 && r < tile_rows; ++r) {
        const std::int64_t row = view.layout.w_hh.row(at.cta, at.tile, r);
        const std::uint16_t bits = view.weight(at, r, k);
        if (row >= 0 && bits != 0) weights.w_hh.row(row)[column] = from_bits(problem.dtype, bits);
      }
    }
  });
  if (view.rest) gather::unpack_matrix(*view.rest, problem.dtype, weights.w_hh);
  gpu::unpack_input(sections, plan.w_ih, problem.dtype, weights.w_ih);
}

std::vector<PackFigure> report(const std::vector<Section>& sections, const DirectionPlan& direction_plan,
                               const Problem& problem) {
  const DirectionProblem& direction = gpu::problem_of(direction_plan, problem);
  const View view = make_view(sections, std::get<MmaPlan>(direction_plan.choice), problem, direction);
  const MatrixLayout& layout = view.layout.w_hh;
  std::int64_t fragments = 0, packed = 0;
  std::array<std::int64_t, operand_columns> positions{};
  view.for_each_fragment([&](Fragment at) {
    for (int k = 0; layout.gathered && k < operand_columns; ++k)
      positions[static_cast<size_t>(k)] = view.position(at, k);
    packed += wavefronts(positions);
    ++fragments;
  });
  const double stored = static_cast<double>(fragments) * tile_rows * operand_columns;
  std::int64_t nonzeros = direction.w_hh.nonzeros();
  if (view.rest) {
    for (const std::int32_t rest : rests_of(direction.w_hh)) nonzeros -= rest;
  }
  std::vector<PackFigure> figures{{"w_hh zeros among what is multiplied",
                                   100.0 * (stored - static_cast<double>(nonzeros)) / stored, "%"}};
  if (layout.gathered) {  // else no column is read from shared memory
    figures.push_back({"w_hh wavefronts a step's columns, as packed",
                       static_cast<double>(packed) / static_cast<double>(fragments), ""});
    figures.push_back({"w_hh wavefronts a step's columns, at best", operand_columns / column_phases, ""});
  }
  for (const Place place : places) {
    figures.push_back({fmt::format("w_hh steps a warp, {}", gpu::to_string(place)),
                       static_cast<double>(layout.steps_in(place)), ""});
  }
  if (view.rest) gather::report_matrix(*view.rest, rests_of(direction.w_hh), figures);
  return figures;
}

}  // namespace sprnn::mma
