// Where row groups leave their sums: of every packed matrix each place once, a row's together, all of them
// and what is read past them within the room that the plan has for sums.
#include "engines/cuda/sum_places.hpp"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>
#include <set>

#include "support/random_model.hpp"

namespace sprnn::cuda {
namespace {

using test::Mask;

using test::ModelSpec;

void expect_good_places(const gather::MatrixView& matrix) {
  const gather::MatrixLayout& layout = matrix.layout;
  const auto rows = static_cast<std::size_t>(layout.rows_a_cta());
  const std::size_t groups = layout.passes.size() * static_cast<std::size_t>(layout.row_groups());
  const SumPlaces places = sum_places(matrix);
  ASSERT_EQ(places.of_row.size(), rows * static_cast<std::size_t>(layout.ctas));
  ASSERT_EQ(places.of_group.size(), groups * static_cast<std::size_t>(layout.ctas));
  for (std::size_t cta = 0; cta < static_cast<std::size_t>(layout.ctas); ++cta) {
    std::set<std::int64_t> taken;
    for (std::size_t row = 0; row < rows; ++row) {
      const std::int64_t first = places.of_row[cta * rows + row] >> 8;
      const std::int64_t count = places.of_row[cta * rows + row] & 0xFF;
      EXPECT_LE(count, layout.parts);
      // The kernel reads `parts` places of any row.
      EXPECT_LE(first + layout.parts, layout.sum_slots()) << "row " << row << " of CTA " << cta;
      std::int64_t next = first;
      for (std::size_t group = 0; group < groups; ++group) {
        const std::int32_t place = places.of_group[cta * groups + group];
        if (matrix.local_row(static_cast<int>(cta), 0, static_cast<int>(group)) !=
            static_cast<std::int32_t>(row))
          continue;
        EXPECT_EQ(place, next++) << "row " << row << " of CTA " << cta << ": its parts in order";
        EXPECT_TRUE(taken.insert(place).second) << "place " << place << " of CTA " << cta << " twice";
      }
      EXPECT_EQ(next, first + count);
      const bool exists = matrix.units[cta * static_cast<std::size_t>(layout.units_a_cta) +
                                       row / static_cast<std::size_t>(layout.gates)] >= 0;
      EXPECT_EQ(count > 0, exists) << "row " << row << " of CTA " << cta;
    }
    for (std::size_t group = 0; group < groups; ++group) {
      const bool idle = matrix.local_row(static_cast<int>(cta), 0, static_cast<int>(group)) < 0;
      EXPECT_EQ(places.of_group[cta * groups + group] < 0, idle);
    }
    // Neighbouring units an odd number of places apart.
    const auto gates = static_cast<std::size_t>(layout.gates);
    for (std::size_t row = gates; row < rows; row += gates) {
      const std::uint32_t apart =
          (places.of_row[cta * rows + row] >> 8) - (places.of_row[cta * rows + row - gates] >> 8);
      EXPECT_EQ(apart % 2, 1U) << "unit " << row / gates << " of CTA " << cta;
    }
  }
}

struct Found {
  int most_parts = 1;
  std::size_t most_passes = 1;
};

Found check(const ModelSpec& spec, int batch, const GpuWishes& wishes) {
  SCOPED_TRACE(fmt::format("{}, batch {}", to_string(spec), batch));
  const Model model = test::random_model(spec);
  const Packed packed = pack(model, make_plan(describe(model, batch), find_device("h100"), {{}, wishes}));
  const auto& plan = std::get<GatherPlan>(packed.plan.directions[0].choice);
  const gather::View view = gather::make_view(packed.directions[0].sections, plan, packed.plan.problem,
                                              packed.plan.problem.directions[0]);
  expect_good_places(view.w_hh);
  if (view.w_hr) expect_good_places(*view.w_hr);
  EXPECT_GE(plan.shared.sums, view.w_hh.layout.sum_slots() * plan.group_batch * 4);
  return {plan.w_hh.parts, plan.w_hh.passes.size()};
}

TEST(SumPlaces, OfEveryCellAndMask) {
  Found found;
  for (const Cell& cell : test::standard_cells()) {
    for (const Mask mask : {Mask::uniform, Mask::skewed_rows, Mask::empty_rows, Mask::one_full_row}) {
      for (const std::int64_t hidden : {1, 7, 100, 331}) {
        for (const int lanes : {1, 4, 32}) {
          const ModelSpec spec{
              .cell = cell, .dtype = DType::fp16, .input = 3, .hidden = hidden, .density = 0.2, .mask = mask};
          // With few CTAs rows come in several passes.
          const std::optional<int> ctas = hidden == 331 && lanes == 32 ? std::optional(16) : std::nullopt;
          const Found one = check(spec, 3, {.ctas = ctas, .lanes = lanes, .w_ih = InputStorage::dense});
          found.most_parts = std::max(found.most_parts, one.most_parts);
          found.most_passes = std::max(found.most_passes, one.most_passes);
        }
      }
    }
  }
  EXPECT_EQ(found.most_parts, 16) << "the case that reads furthest";
  EXPECT_GT(found.most_passes, 1U);
}

TEST(SumPlaces, WithProjection) {
  for (const std::int64_t projection : {1, 30, 99}) {
    (void)check({.cell = lstm_cell(),
                 .dtype = DType::fp32,
                 .input = 3,
                 .hidden = 100,
                 .projection = projection,
                 .density = 0.3},
                2, {});
  }
}

}  // namespace
}  // namespace sprnn::cuda
