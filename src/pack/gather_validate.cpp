// What engines rely on instead of checking. Sizes and places are derived from the checked plan, never read.
#include <fmt/format.h>

#include <array>
#include <span>

#include "pack/gather_order.hpp"
#include "pack/gather_view.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn::gather {

namespace {

using std::size_t;

template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorCode::format, fmt::format(format, std::forward<Args>(args)...));
}

void check_sizes(const std::vector<Section>& sections, const std::vector<SectionSize>& expected) {
  if (sections.size() != expected.size())
    refuse("{} sections, expected {}", sections.size(), expected.size());
  for (size_t i = 0; i < sections.size(); ++i) {
    if (sections[i].name() != expected[i].name) {
      refuse("section {} is '{}', expected '{}'", i, sections[i].name(), expected[i].name);
    }
    if (sections[i].size() != static_cast<size_t>(expected[i].bytes)) {
      refuse("{}: {} bytes, expected {}", sections[i].name(), sections[i].size(), expected[i].bytes);
    }
  }
}

// Every unit once, and -1 in the other places.
void check_map(std::string_view name, std::span<const std::int32_t> map, std::int64_t units) {
  std::vector<bool> seen(static_cast<size_t>(units), false);
  std::int64_t count = 0;
  for (size_t position = 0; position < map.size(); ++position) {
    const std::int32_t unit = map[position];
    if (unit == -1) continue;
    if (unit < 0 || unit >= units) refuse("{}[{}] is {}, expected -1 to {}", name, position, unit, units - 1);
    if (seen[static_cast<size_t>(unit)]) refuse("{}[{}]: unit {} is there twice", name, position, unit);
    seen[static_cast<size_t>(unit)] = true;
    ++count;
  }
  if (count != units) refuse("{} holds {} units, expected each of {} once", name, count, units);
}

// Every row of the CTA's units once, and -1 in the other places.
void check_row_map(const MatrixView& view) {
  const MatrixLayout& layout = view.layout;
  std::vector<bool> seen(static_cast<size_t>(layout.rows_a_cta()));
  for (int cta = 0; cta < layout.ctas; ++cta) {
    seen.assign(seen.size(), false);
    const std::int32_t* units = view.units + std::int64_t{cta} * layout.units_a_cta;
    int expected = 0;
    for (int u = 0; u < layout.units_a_cta; ++u) expected += units[u] >= 0 ? layout.gates : 0;
    int count = 0;
    for (int pass = 0; pass < static_cast<int>(layout.passes.size()); ++pass) {
      for (int group = 0; group < layout.row_groups(); ++group) {
        const std::int32_t row = view.local_row(cta, pass, group);
        if (row == -1) continue;
        const bool exists = row >= 0 && row < layout.rows_a_cta() && units[row / layout.gates] >= 0;
        if (!exists) refuse("{}.row_map: CTA {} has no row {}", layout.name, cta, row);
        if (seen[static_cast<size_t>(row)])
          refuse("{}.row_map: CTA {} has row {} twice", layout.name, cta, row);
        seen[static_cast<size_t>(row)] = true;
        ++count;
      }
    }
    if (count != expected) {
      refuse("{}.row_map: CTA {} sums {} rows, expected {}", layout.name, cta, count, expected);
    }
  }
}

bool is_finite_bits(DType dtype, std::uint32_t bits) {
  const std::uint32_t exponent = dtype == DType::fp32   ? 0x7F800000U
                                 : dtype == DType::fp16 ? 0x7C00U
                                                        : 0x7F80U;
  return (bits & exponent) != exponent;
}

// Each pair is a finite non-zero of its own column, or padding; and each row has as many as the problem says.
void check_pairs(const MatrixView& view, const MatrixSummary& summary, DType dtype) {
  const MatrixLayout& layout = view.layout;
  const Image& image = layout.image;
  std::vector<std::int64_t> last_row(static_cast<size_t>(image.positions), -1);  // that used the position
  std::vector<std::int32_t> nonzeros(summary.row_nonzeros.size(), 0);
  view.for_each_pair([&](int cta, int pass, int group, int lane, int slot, Pair pair) {
    const std::int64_t address = view.address(pair);
    const auto fail = [&](std::string_view what) {
      refuse("{}: CTA {}, row pass {}, lane {}, slot {}: address {} and value bits {:#x}: {}", layout.name,
             cta, pass, group * layout.lanes + lane, slot, address, pair.value, what);
    };
    if (pair.value == 0) return;
    if (!is_finite_bits(dtype, pair.value)) fail("weights must be finite");
    const std::int64_t position = address / image.word_bytes;
    if (address % image.word_bytes != 0 || position >= image.positions || view.columns[position] < 0) {
      fail("not the address of a column");
    }
    const std::int32_t local = view.local_row(cta, pass, group);
    if (local < 0) fail("a non-zero where the CTA has no row");
    const std::int64_t row = view.row(cta, local);
    if (last_row[static_cast<size_t>(position)] == row) fail("the row has this column twice");
    last_row[static_cast<size_t>(position)] = row;
    ++nonzeros[static_cast<size_t>(row)];
  });
  for (size_t row = 0; row < nonzeros.size(); ++row) {
    if (nonzeros[row] != summary.row_nonzeros[row]) {
      refuse("{}: row {} has {} non-zeros, expected {}", layout.name, row, nonzeros[row],
             summary.row_nonzeros[row]);
    }
  }
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

void check_matrix(const MatrixView& view, const MatrixSummary& summary, DType dtype) {
  check_row_map(view);
  check_pairs(view, summary, dtype);
  check_padding(view);
  check_spare_offsets(view);
}

template <class Bits>
void check_input(const std::vector<Section>& sections, InputStorage storage, const MatrixSummary& w_ih,
                 DType dtype) {
  const char* name = storage == InputStorage::dense ? "w_ih.dense" : "w_ih.values";
  const Section& values = find_section(sections, name);
  const Bits* bits = values.as<Bits>();
  for (size_t i = 0; i < values.count<Bits>(); ++i) {
    if (!is_finite_bits(dtype, bits[i])) refuse("{}[{}]: weights must be finite", name, i);
  }
  if (storage == InputStorage::dense) {
    for (size_t row = 0; row < w_ih.row_nonzeros.size(); ++row) {
      std::int32_t count = 0;
      const Bits* begin = bits + row * static_cast<size_t>(w_ih.cols);
      for (std::int64_t column = 0; column < w_ih.cols; ++column) count += begin[column] != 0 ? 1 : 0;
      if (count == w_ih.row_nonzeros[row]) continue;
      refuse("{}: row {} has {} non-zeros, expected {}", name, row, count, w_ih.row_nonzeros[row]);
    }
    return;
  }
  const std::int64_t* row_begin = find_section(sections, "w_ih.row_begin").as<std::int64_t>();
  const std::int32_t* columns = find_section(sections, "w_ih.columns").as<std::int32_t>();
  std::int64_t expected = 0;
  for (size_t row = 0; row <= w_ih.row_nonzeros.size(); ++row) {
    if (row_begin[row] != expected)
      refuse("w_ih.row_begin[{}] is {}, expected {}", row, row_begin[row], expected);
    if (row == w_ih.row_nonzeros.size()) break;
    std::int64_t next_column = 0;
    for (const std::int64_t end = expected + w_ih.row_nonzeros[row]; expected < end; ++expected) {
      const std::int64_t column = columns[expected];
      if (column < next_column || column >= w_ih.cols) {
        refuse("w_ih.columns[{}] is {}, expected {} to {}", expected, column, next_column, w_ih.cols - 1);
      }
      if (bits[expected] == 0) refuse("w_ih.values[{}] is zero, expected a non-zero", expected);
      next_column = column + 1;
    }
  }
}

}  // namespace

void validate(const std::vector<Section>& sections, const DirectionPlan& direction_plan,
              const Problem& problem) {
  const GatherPlan& plan = std::get<GatherPlan>(direction_plan.choice);
  const DirectionProblem& direction = problem_of(direction_plan, problem);
  check(plan, problem, direction);
  check_sizes(sections, section_sizes(plan, problem, direction));

  const View view = make_view(sections, plan, problem, direction);
  check_map("unit_map", {view.unit_map, sections[0].count<std::int32_t>()}, view.layout.units);
  if (view.w_hr)
    check_map("output_map", {view.output_map, sections[1].count<std::int32_t>()}, view.layout.outputs);
  check_matrix(view.w_hh, direction.w_hh, problem.dtype);
  if (view.w_hr) check_matrix(*view.w_hr, direction.w_hr, problem.dtype);
  if (problem.dtype == DType::fp32) {
    check_input<std::uint32_t>(sections, plan.w_ih, direction.w_ih, problem.dtype);
  } else {
    check_input<std::uint16_t>(sections, plan.w_ih, direction.w_ih, problem.dtype);
  }
}

}  // namespace sprnn::gather
