// What engines rely on instead of checking. Sizes and places are derived from the checked plan, never read.
#include <algorithm>
#include <array>

#include "pack/gather_matrix.hpp"
#include "pack/gather_order.hpp"
#include "plan/strategy.hpp"

namespace sprnn::gather {

namespace {

using std::size_t;

using gpu::refuse;

// Every row of the CTA's units, in as many parts as the plan has room for, and -1 in the other places.
void check_row_map(const MatrixView& view) {
  const MatrixLayout& layout = view.layout;
  std::vector<int> parts(static_cast<size_t>(layout.rows_a_cta()));
  for (int cta = 0; cta < layout.ctas; ++cta) {
    parts.assign(parts.size(), 0);
    const std::int32_t* units = view.units + std::int64_t{cta} * layout.units_a_cta;
    int expected = 0, count = 0;
    for (int u = 0; u < layout.units_a_cta; ++u) expected += units[u] >= 0 ? layout.gates : 0;
    for (int pass = 0; pass < static_cast<int>(layout.passes.size()); ++pass) {
      for (int group = 0; group < layout.row_groups(); ++group) {
        const std::int32_t row = view.local_row(cta, pass, group);
        if (row == -1) continue;
        const bool exists = row >= 0 && row < layout.rows_a_cta() && units[row / layout.gates] >= 0;
        if (!exists) refuse("{}.row_map: CTA {} has no row {}", layout.name, cta, row);
        int& so_far = parts[static_cast<size_t>(row)];
        if (++so_far > layout.parts)
          refuse("{}.row_map: CTA {} has row {} in more than {} parts", layout.name, cta, row, layout.parts);
        if (so_far == 1) ++count;
      }
    }
    if (count != expected) {
      refuse("{}.row_map: CTA {} sums {} rows, expected {}", layout.name, cta, count, expected);
    }
  }
}

// Each pair is a finite non-zero of its own column, or padding; and each row has as many as the problem says.
// Returns the largest magnitude.
std::uint32_t check_pairs(const MatrixView& view, std::span<const std::int32_t> row_nonzeros, DType dtype) {
  const MatrixLayout& layout = view.layout;
  const Image& image = layout.image;
  std::vector<bool> taken;  // [row of the CTA][position]: by one of the row's pairs
  int taken_of = -1;
  std::vector<std::int32_t> nonzeros(row_nonzeros.size(), 0);
  std::uint32_t largest = 0;
  view.for_each_pair([&](int cta, int pass, int group, int lane, int slot, Pair pair) {
    const std::int64_t address = view.address(pair);
    const auto fail = [&](std::string_view what) {
      refuse("{}: CTA {}, row pass {}, lane {}, slot {}: address {} and value bits {:#x}: {}", layout.name,
             cta, pass, group * layout.lanes + lane, slot, address, pair.value, what);
    };
    if (pair.value == 0) return;
    if (!gpu::is_finite_bits(dtype, pair.value)) fail("weights must be finite");
    const std::int64_t position = address / image.word_bytes;
    if (address % image.word_bytes != 0 || position >= image.positions || view.columns[position] < 0) {
      fail("not the address of a column");
    }
    const std::int32_t local = view.local_row(cta, pass, group);
    if (local < 0) fail("a non-zero where the CTA has no row");
    const std::int64_t row = view.row(cta, local);
    if (taken_of != cta) {
      taken.assign(static_cast<size_t>(layout.rows_a_cta() * image.positions), false);
      taken_of = cta;
    }
    const auto bit = static_cast<size_t>(local * image.positions + position);
    if (taken[bit]) fail("the row has this column twice");
    taken[bit] = true;
    ++nonzeros[static_cast<size_t>(row)];
    largest = std::max(largest, gpu::magnitude_bits(dtype, pair.value));
  });
  for (size_t row = 0; row < nonzeros.size(); ++row) {
    if (nonzeros[row] != row_nonzeros[row]) {
      refuse("{}: row {} has {} non-zeros, expected {}", layout.name, row, nonzeros[row], row_nonzeros[row]);
    }
  }
  return largest;
}

// Padding reads the always-zero words that pack chose: zeros add nothing, and no bank more conflicts.
void check_padding(const MatrixView& view) {
  const MatrixLayout& layout = view.layout;
  std::array<Entry, warp_lanes> found{};
  for (int cta = 0; cta < layout.ctas; ++cta) {
    for (int pass = 0; pass < static_cast<int>(layout.passes.size()); ++pass) {
      for (int s = 0; s < layout.passes[static_cast<size_t>(pass)].slots(); ++s) {
        for (int first = 0; first < layout.threads; first += warp_lanes) {
          for (int lane = 0; lane < warp_lanes; ++lane) {
            const Pair pair = view.load(cta, layout.slot(pass, s), first + lane);
            found[static_cast<size_t>(lane)] = {view.address(pair), pair.value};
          }
          std::array<Entry, warp_lanes> expected = found;
          pad(expected, layout.image);
          for (size_t lane = 0; lane < warp_lanes; ++lane) {
            if (found[lane].address == expected[lane].address) continue;
            refuse("{}: CTA {}, row pass {}, lane {}, slot {}: padding reads address {}, expected {}",
                   layout.name, cta, pass, first + static_cast<int>(lane), s, found[lane].address,
                   expected[lane].address);
          }
        }
      }
    }
  }
}

// The half word that an odd number of fp32 register slots leaves over.
void check_spare_offsets(const MatrixView& view) {
  const MatrixLayout& layout = view.layout;
  const int slots = layout.slots[0];
  if (!layout.wide_values || slots % 2 == 0) return;
  for (int cta = 0; cta < layout.ctas; ++cta) {
    for (int thread = 0; thread < layout.threads; ++thread) {
      if (view.load(cta, {Place::registers, slots}, thread).offset == 0) continue;
      refuse("{}.registers: CTA {}, thread {}: the offset after the last slot is not zero", layout.name, cta,
             thread);
    }
  }
}

}  // namespace

std::uint32_t check_matrix(const MatrixView& view, std::span<const std::int32_t> row_nonzeros, DType dtype) {
  check_row_map(view);
  const std::uint32_t largest = check_pairs(view, row_nonzeros, dtype);
  check_padding(view);
  check_spare_offsets(view);
  return largest;
}

void validate(const std::vector<Section>& sections, const DirectionPlan& direction_plan,
              const Problem& problem) {
  const GatherPlan& plan = std::get<GatherPlan>(direction_plan.choice);
  const DirectionProblem& direction = gpu::problem_of(direction_plan, problem);
  gpu::check_sizes(sections, section_sizes(plan, problem, direction));

  const View view = make_view(sections, plan, problem, direction);
  gpu::check_maps(sections, view.layout);
  const auto check_of = [&](const MatrixView& matrix, const MatrixSummary& summary) {
    const std::uint32_t largest = check_matrix(matrix, summary.row_nonzeros, problem.dtype);
    gpu::check_large(matrix.layout.name, summary, problem.dtype, largest);
  };
  check_of(view.w_hh, direction.w_hh);
  if (view.w_hr) check_of(*view.w_hr, direction.w_hr);
  gpu::check_input(sections, plan.w_ih, direction, problem.dtype);
}

}  // namespace sprnn::gather
