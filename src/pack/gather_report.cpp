// How well packing went.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <numeric>

#include "pack/gather_matrix.hpp"
#include "pack/gather_order.hpp"
#include "plan/strategy.hpp"

namespace sprnn::gather {

namespace {

using std::size_t;

// Wavefronts of all of one warp's loads in a pass, in the packed order and in the order of the columns.
struct Wavefronts {
  std::int64_t loads = 0, packed = 0, unordered = 0;
};

std::int64_t count(const std::vector<Entry>& table, const Image& image) {
  std::int64_t total = 0;
  std::array<std::int64_t, warp_lanes> addresses{};
  for (size_t begin = 0; begin < table.size(); begin += warp_lanes) {
    for (size_t lane = 0; lane < warp_lanes; ++lane) addresses[lane] = table[begin + lane].address;
    total += wavefronts(addresses, image);
  }
  return total;
}

void count_warp(const MatrixView& view, int cta, int pass, int warp, Wavefronts& sum) {
  const MatrixLayout& layout = view.layout;
  const int slots = layout.passes[static_cast<size_t>(pass)].slots();
  std::vector<Entry> table(static_cast<size_t>(slots) * warp_lanes);
  std::vector<std::vector<Entry>> rows(static_cast<size_t>(warp_lanes / layout.lanes));
  for (int s = 0; s < slots; ++s) {
    for (int lane = 0; lane < warp_lanes; ++lane) {
      const Pair pair = view.load(cta, layout.slot(pass, s), warp * warp_lanes + lane);
      Entry& entry = table[static_cast<size_t>(s * warp_lanes + lane)];
      entry = {view.address(pair), pair.value};
      if (pair.value != 0) rows[static_cast<size_t>(lane / layout.lanes)].push_back(entry);
    }
  }
  for (std::vector<Entry>& row : rows) {
    std::sort(row.begin(), row.end(), [&](const Entry& a, const Entry& b) {
      return view.columns[a.address / layout.image.word_bytes] <
             view.columns[b.address / layout.image.word_bytes];
    });
  }
  sum.loads += slots;
  sum.packed += count(table, layout.image);
  sum.unordered +=
      count(arrange(rows, layout.lanes, slots, layout.image, /*bank_order=*/false), layout.image);
}

}  // namespace

void report_matrix(const MatrixView& view, std::span<const std::int32_t> row_nonzeros,
                   std::vector<PackFigure>& figures) {
  const MatrixLayout& layout = view.layout;
  const auto add = [&](std::string_view what, double value, const char* unit) {
    figures.push_back({fmt::format("{} {}", layout.name, what), value, unit});
  };
  Wavefronts sum;
  for (int cta = 0; cta < layout.ctas; ++cta) {
    for (int pass = 0; pass < static_cast<int>(layout.passes.size()); ++pass) {
      for (int warp = 0; warp < layout.threads / warp_lanes; ++warp) count_warp(view, cta, pass, warp, sum);
    }
  }
  const double loads = std::max<double>(1.0, static_cast<double>(sum.loads));
  add("wavefronts a load, in column order", static_cast<double>(sum.unordered) / loads, "");
  add("wavefronts a load, as packed", static_cast<double>(sum.packed) / loads, "");
  add("wavefronts a load, at best", warp_lanes / layout.image.phase_lanes(), "");

  const double stored = static_cast<double>(sum.loads) * warp_lanes;
  const auto nonzeros =
      static_cast<double>(std::accumulate(row_nonzeros.begin(), row_nonzeros.end(), std::int64_t{0}));
  add("padding", stored > 0.0 ? 100.0 * (stored - nonzeros) / stored : 0.0, "%");

  std::int64_t most = 0;
  for (int cta = 0; cta < layout.ctas; ++cta) {
    std::int64_t own = 0;
    for (std::int32_t local = 0; local < layout.rows_a_cta(); ++local) {
      if (view.units[std::int64_t{cta} * layout.units_a_cta + local / layout.gates] < 0) continue;
      own += row_nonzeros[static_cast<size_t>(view.row(cta, local))];
    }
    most = std::max(most, own);
  }
  add("balance between CTAs, most / mean non-zeros",
      nonzeros > 0.0 ? static_cast<double>(most) * layout.ctas / nonzeros : 1.0, "");
  for (const Place place : places) {
    add(fmt::format("slots a lane, {}", to_string(place)), layout.slots[static_cast<size_t>(place)], "");
  }
}

std::vector<PackFigure> report(const std::vector<Section>& sections, const DirectionPlan& direction_plan,
                               const Problem& problem) {
  const DirectionProblem& direction = gpu::problem_of(direction_plan, problem);
  const View view = make_view(sections, std::get<GatherPlan>(direction_plan.choice), problem, direction);
  std::vector<PackFigure> figures;
  report_matrix(view.w_hh, direction.w_hh.row_nonzeros, figures);
  if (view.w_hr) report_matrix(*view.w_hr, direction.w_hr.row_nonzeros, figures);
  return figures;
}

}  // namespace sprnn::gather
