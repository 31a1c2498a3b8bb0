// Packing for strategy gather: units to CTAs, rows to lanes, pairs to slots; and back.
#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <utility>

#include "base/parallel.hpp"
#include "pack/gather_matrix.hpp"
#include "pack/gather_order.hpp"
#include "pack/gather_spread.hpp"
#include "plan/gather_balance.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn::gather {

namespace {

using std::size_t;

using gpu::section;

// Packs one matrix CTA by CTA: its rows to passes and row groups, row groups to phases, then each warp's
// pairs in bank-aware order.
class MatrixPacker {
 public:
  MatrixPacker(const MatrixSource& source, const MatrixLayout& layout, DType dtype, bool bank_order,
               std::vector<Section>& sections)
      : source_(source), layout_(layout), dtype_(dtype), bank_order_(bank_order) {
    row_map_ = section(sections, layout.name + ".row_map").as<std::int32_t>();
    for (const Place place : places) {
      pairs_[static_cast<size_t>(place)] =
          section(sections, fmt::format("{}.{}", layout.name, to_string(place))).as<std::uint32_t>();
    }
  }

  // Each CTA writes to places of its own, so the bytes are the same however many threads share them.
  void pack() {
    const size_t width = static_cast<size_t>(layout_.units_a_cta);
    const auto threads = static_cast<size_t>(this_cpu().cpu().threads);
    parallel_for(static_cast<size_t>(layout_.ctas), threads, [&](size_t cta) {
      const auto own = source_.unit_map.subspan(cta * width, width);
      const std::vector<std::int32_t> rows = assign_rows(own, source_.row_nonzeros, layout_);
      if (rows.empty()) refuse_rows(fmt::format("a row of CTA {}", cta));
      for (int pass = 0; pass < static_cast<int>(layout_.passes.size()); ++pass) {
        pack_pass(static_cast<int>(cta), pass, rows, own);
      }
    });
  }

 private:
  void pack_pass(int cta, int pass, const std::vector<std::int32_t>& rows,
                 std::span<const std::int32_t> units) {
    const int slots = layout_.passes[static_cast<size_t>(pass)].slots();
    std::vector<RowGroup> groups(static_cast<size_t>(layout_.row_groups()));
    for (size_t g = 0; g < groups.size(); ++g) {
      const size_t index = static_cast<size_t>(pass) * groups.size() + g;
      if (rows[index] >= 0) groups[g] = {rows[index], part(rows, index, units)};
      if (groups[g].pairs.size() > static_cast<size_t>(slots * layout_.lanes))
        refuse_rows(fmt::format("row {} of CTA {}", rows[index], cta));
    }
    if (bank_order_) spread_banks(groups, layout_.lanes, slots, layout_.image);
    const int groups_a_warp = warp_lanes / layout_.lanes;
    std::vector<std::vector<Entry>> warp_rows(static_cast<size_t>(groups_a_warp));
    for (int first = 0; first < layout_.row_groups(); first += groups_a_warp) {
      for (int g = 0; g < groups_a_warp; ++g) {
        RowGroup& group = groups[static_cast<size_t>(first + g)];
        row_map_[layout_.row_map_index(cta, pass, first + g)] = group.row;
        warp_rows[static_cast<size_t>(g)] = std::move(group.pairs);
      }
      store(cta, pass, first * layout_.lanes, slots,
            arrange(warp_rows, layout_.lanes, slots, layout_.image, bank_order_));
    }
  }

  [[noreturn]] void refuse_rows(const std::string& what) const {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("{}: {} has more non-zeros than the plan has room for; make a plan for these weights",
                    layout_.name, what));
  }

  // The pairs of a row group: an even part of its row.
  [[nodiscard]] std::vector<Entry> part(const std::vector<std::int32_t>& rows, size_t index,
                                        std::span<const std::int32_t> units) const {
    const std::int32_t local = rows[index];
    size_t begin = index, end = index + 1;
    while (begin > 0 && rows[begin - 1] == local) --begin;
    while (end < rows.size() && rows[end] == local) ++end;
    std::vector<Entry> all;
    collect(local % layout_.gates * layout_.units + units[static_cast<size_t>(local / layout_.gates)], all);
    const auto boundary = [&](size_t k) {
      return all.begin() + static_cast<std::ptrdiff_t>(all.size() * k / (end - begin));
    };
    return {boundary(index - begin), boundary(index + 1 - begin)};
  }

  void collect(std::int64_t row, std::vector<Entry>& pairs) const {
    const float* values = source_.matrix.row(row);
    for (std::int64_t column = 0; column < source_.matrix.cols; ++column) {
      if (!source_.has(values, column)) continue;
      pairs.push_back({source_.positions[static_cast<size_t>(column)] * layout_.image.word_bytes,
                       to_bits(dtype_, values[column])});
    }
  }

  void store(int cta, int pass, int first_thread, int slots, const std::vector<Entry>& table) {
    for (int s = 0; s < slots; ++s) {
      const Slot slot = layout_.slot(pass, s);
      std::uint32_t* block = pairs_[static_cast<size_t>(slot.place)] + cta * layout_.block_words(slot.place);
      for (int lane = 0; lane < warp_lanes; ++lane) {
        const Entry& entry = table[static_cast<size_t>(s * warp_lanes + lane)];
        const auto offset = static_cast<std::uint32_t>(entry.address / layout_.offset_unit);
        layout_.store(block, slot, first_thread + lane, {offset, entry.value});
      }
    }
  }

  const MatrixSource& source_;
  const MatrixLayout& layout_;
  DType dtype_;
  bool bank_order_;
  std::int32_t* row_map_ = nullptr;
  std::array<std::uint32_t*, 3> pairs_{};
};

bool has_nonzero(const float* row, std::int64_t column) { return is_nonzero(row[column]); }

}  // namespace

void pack_matrix(const MatrixSource& source, const MatrixLayout& layout, DType dtype, bool bank_order,
                 std::vector<Section>& sections) {
  MatrixPacker(source, layout, dtype, bank_order, sections).pack();
}

void unpack_matrix(const MatrixView& view, DType dtype, Matrix& matrix) {
  view.for_each_pair([&](int cta, int pass, int group, int, int, Pair pair) {
    if (pair.value == 0) return;
    const std::int64_t row = view.row(cta, view.local_row(cta, pass, group));
    const std::int32_t column = view.columns[view.address(pair) / view.layout.image.word_bytes];
    matrix.row(row)[column] = from_bits(dtype, pair.value);
  });
}

std::vector<Section> pack(const Direction& weights, const DirectionPlan& direction_plan,
                          const Problem& problem) {
  const GatherPlan& plan = std::get<GatherPlan>(direction_plan.choice);
  const DirectionProblem& direction = gpu::problem_of(direction_plan, problem);
  const Layout layout = make_layout(plan, problem, direction);
  std::vector<Section> sections = gpu::make_sections(section_sizes(plan, problem, direction));
  const std::vector<std::int32_t> unit_map =
      assign_units(direction.w_hh.row_nonzeros, layout.gates, plan.ctas, layout.units_a_cta);
  std::vector<std::int32_t> output_map = unit_map;
  gpu::write_map(sections, "unit_map", unit_map);
  if (layout.w_hr) {
    output_map = assign_units(direction.w_hr.row_nonzeros, 1, plan.ctas, layout.outputs_a_cta);
    gpu::write_map(sections, "output_map", output_map);
  }

  pack_matrix({weights.w_hh, direction.w_hh.row_nonzeros, has_nonzero, unit_map,
               gpu::positions_of(output_map, layout.outputs)},
              layout.w_hh, problem.dtype, plan.bank_order, sections);
  if (layout.w_hr) {
    pack_matrix({weights.w_hr, direction.w_hr.row_nonzeros, has_nonzero, output_map,
                 gpu::positions_of(unit_map, layout.units)},
                *layout.w_hr, problem.dtype, plan.bank_order, sections);
  }
  gpu::pack_input(weights.w_ih, plan.w_ih, problem.dtype, sections);
  return sections;
}

void unpack(const std::vector<Section>& sections, const DirectionPlan& direction_plan, const Problem& problem,
            Direction& weights) {
  const GatherPlan& plan = std::get<GatherPlan>(direction_plan.choice);
  const View view = make_view(sections, plan, problem, gpu::problem_of(direction_plan, problem));
  unpack_matrix(view.w_hh, problem.dtype, weights.w_hh);
  if (view.w_hr) unpack_matrix(*view.w_hr, problem.dtype, weights.w_hr);
  gpu::unpack_input(sections, plan.w_ih, problem.dtype, weights.w_ih);
}

}  // namespace sprnn::gather
