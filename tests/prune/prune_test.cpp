// prune on whole models: which matrices, which densities, and what the report says.
#include "sprnn/prune.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "sprnn/error.hpp"

namespace sprnn {
namespace {

using testing::HasSubstr;

struct Shape {
  Cell cell = lstm_cell();
  std::int64_t input = 5, hidden = 7, projection = 0;
  int layers = 2, directions = 1;
};

Model random_model(const Shape& shape, std::uint64_t seed = 1) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<float> weight(-1.0F, 1.0F);
  const auto fill = [&](Matrix& matrix, std::int64_t rows, std::int64_t cols) {
    matrix = {rows, cols, std::vector<float>(static_cast<std::size_t>(rows * cols))};
    for (float& v : matrix.values) v = weight(random);
  };
  Model model;
  model.input_size = shape.input;
  model.hidden_size = shape.hidden;
  model.projection_size = shape.projection;
  const std::int64_t fed_back = shape.projection > 0 ? shape.projection : shape.hidden;
  for (int l = 0; l < shape.layers; ++l) {
    Layer& layer = model.layers.emplace_back();
    for (int d = 0; d < shape.directions; ++d) {
      Direction& direction = layer.directions.emplace_back();
      direction.cell = shape.cell;
      direction.reverse = d == 1;
      const std::int64_t rows = shape.cell.gates() * shape.hidden;
      fill(direction.w_ih, rows, l == 0 ? shape.input : shape.directions * fed_back);
      fill(direction.w_hh, rows, fed_back);
      if (shape.projection > 0) fill(direction.w_hr, shape.projection, shape.hidden);
      direction.b_ih.assign(static_cast<std::size_t>(rows), 0.25F);
      direction.b_hh.assign(static_cast<std::size_t>(rows), 0.5F);
    }
  }
  validate(model);
  return model;
}

std::vector<std::string> names(const std::vector<MatrixReport>& reports) {
  std::vector<std::string> result;
  for (const MatrixReport& report : reports) result.push_back(report.name);
  return result;
}

std::string refusal(Model model, const PruneOptions& options) {
  const Model before = model;
  try {
    (void)prune(model, options);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
    EXPECT_EQ(model, before);
    return error.what();
  }
  return "accepted";
}

TEST(Prune, leaves_everything_but_w_hh_alone) {
  const Model before = random_model({.projection = 3, .directions = 2});
  Model model = before;
  const auto reports = prune(model, {.density = 0.4});
  EXPECT_THAT(names(reports), testing::ElementsAre("weight_hh_l0", "weight_hh_l0_reverse", "weight_hh_l1",
                                                   "weight_hh_l1_reverse"));
  for (std::size_t l = 0; l < 2; ++l) {
    for (std::size_t d = 0; d < 2; ++d) {
      Direction& direction = model.layers[l].directions[d];
      const Matrix& original = before.layers[l].directions[d].w_hh;
      EXPECT_EQ(direction.w_hh.nonzeros(), std::llround(0.4 * 28 * 3));
      for (std::size_t i = 0; i < original.values.size(); ++i) {
        EXPECT_TRUE(direction.w_hh.values[i] == original.values[i] || !is_nonzero(direction.w_hh.values[i]));
      }
      direction.w_hh = original;
    }
  }
  EXPECT_EQ(model, before);
}

TEST(Prune, applies_the_mask_of_every_pattern_to_both_matrices) {
  for (const char* name : {"unstructured", "row", "block:3x2", "unit:2x3", "2:4"}) {
    const Pattern pattern = parse_pattern(name);
    const bool ratio = pattern.kind == Pattern::Kind::n_of_m;
    const double density = ratio ? 0.5 : 0.3, input_density = ratio ? 0.5 : 0.6;
    for (const Cell& cell : {tanh_cell(), gru_cell(), lstm_cell()}) {
      const Model before = random_model({.cell = cell, .directions = 2});
      Model model = before;
      (void)prune(model, {.pattern = pattern, .density = density, .input_density = input_density});
      Model expected = before;
      for (Layer& layer : expected.layers) {
        for (Direction& d : layer.directions) {
          const auto w_hh = prune_mask(d.w_hh, cell.gates(), pattern, density);
          const auto w_ih = prune_mask(d.w_ih, cell.gates(), pattern, input_density);
          for (std::size_t i = 0; i < w_hh.size(); ++i) d.w_hh.values[i] = w_hh[i] ? d.w_hh.values[i] : 0.0F;
          for (std::size_t i = 0; i < w_ih.size(); ++i) d.w_ih.values[i] = w_ih[i] ? d.w_ih.values[i] : 0.0F;
        }
      }
      EXPECT_EQ(model, expected) << name << " " << to_string(cell);
    }
  }
}

TEST(Prune, pruned_entries_are_positive_zeros) {
  Model model = random_model({.cell = tanh_cell(), .layers = 1});
  for (float& v : model.layers[0].directions[0].w_hh.values) v = -1.0F;
  (void)prune(model, {.density = 0.0});
  for (const float v : model.layers[0].directions[0].w_hh.values) {
    EXPECT_EQ(v, 0.0F);
    EXPECT_FALSE(std::signbit(v));
  }
}

TEST(Prune, global_ranks_all_w_hh_together_and_all_w_ih_together) {
  Model model = random_model({.layers = 2, .directions = 2});
  for (float& v : model.layers[0].directions[1].w_hh.values) v *= 100.0F;  // wins the whole budget of W_hh
  for (float& v : model.layers[0].directions[0].w_ih.values) v *= 0.001F;  // gets nothing of W_ih's
  const auto reports =
      prune(model, {.pattern = parse_pattern("global"), .density = 0.25, .input_density = 0.5});
  EXPECT_THAT(names(reports), testing::ElementsAre("weight_ih_l0", "weight_hh_l0", "weight_ih_l0_reverse",
                                                   "weight_hh_l0_reverse", "weight_ih_l1", "weight_hh_l1",
                                                   "weight_ih_l1_reverse", "weight_hh_l1_reverse"));
  std::int64_t w_ih = 0, w_hh = 0, w_ih_entries = 0;
  for (const Layer& layer : model.layers) {
    for (const Direction& direction : layer.directions) {
      w_ih += direction.w_ih.nonzeros();
      w_ih_entries += direction.w_ih.rows * direction.w_ih.cols;
      w_hh += direction.w_hh.nonzeros();
    }
  }
  EXPECT_EQ(w_ih, std::llround(0.5 * static_cast<double>(w_ih_entries)));
  EXPECT_EQ(w_hh, 28 * 7);
  EXPECT_GT(model.layers[0].directions[1].w_hh.nonzeros(), 28 * 7 * 9 / 10);
  EXPECT_EQ(model.layers[0].directions[0].w_ih.nonzeros(), 0);
}

TEST(Prune, takes_densities_per_layer) {
  Model model = random_model({.input = 7, .layers = 3});
  const auto reports =
      prune(model, {.layer_density = {0.5, 1.0, 0.0}, .layer_input_density = {0.25, 0.75, 1.0}});
  ASSERT_EQ(reports.size(), 6U);
  const double wanted[] = {0.25, 0.5, 0.75, 1.0, 1.0, 0.0};
  for (std::size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(reports[i].wanted, wanted[i]) << reports[i].name;
    EXPECT_EQ(reports[i].reached, wanted[i]) << reports[i].name;
  }
}

TEST(Prune, reports_what_was_reached_and_lost) {
  Model model = random_model({.cell = tanh_cell(), .input = 4, .hidden = 4, .layers = 1});
  model.layers[0].directions[0].w_hh.values = {4, 0, 0, 0, 2, -0.0F, 0, 1, 0, 0, 0, 0, 0, 2, 0, 0};
  // Nine entries: 4, the 2s, 1, -0.0 and four +0.0, which are not stored.
  auto report = prune(model, {.density = 9.0 / 16}).at(0);
  EXPECT_EQ(report.name, "weight_hh_l0");
  EXPECT_EQ(report.rows, 4);
  EXPECT_EQ(report.cols, 4);
  EXPECT_EQ(report.wanted, 9.0 / 16);
  EXPECT_EQ(report.reached, 5.0 / 16);
  EXPECT_EQ(report.min_row, 0);
  EXPECT_EQ(report.max_row, 3);
  EXPECT_EQ(report.norm_lost, 0.0);
  report = prune(model, {.density = 1.0 / 16}).at(0);
  EXPECT_EQ(report.reached, 1.0 / 16);
  EXPECT_EQ(report.max_row, 1);
  EXPECT_DOUBLE_EQ(report.norm_lost, std::sqrt(9.0 / 25.0));
  report = prune(model, {.density = 0.0}).at(0);
  EXPECT_EQ(report.norm_lost, 1.0);
  report = prune(model, {.density = 0.0}).at(0);  // a matrix of zeros loses nothing
  EXPECT_EQ(report.norm_lost, 0.0);
}

TEST(Prune, n_of_m_says_the_density_itself) {
  Model model = random_model({.hidden = 8, .layers = 1});
  const PruneOptions unsaid{.pattern = parse_pattern("1:4")};
  EXPECT_EQ(prune(model, unsaid).at(0).wanted, 0.25);
  EXPECT_EQ(model.layers[0].directions[0].w_hh.nonzeros(), 32 * 2);
  EXPECT_THAT(refusal(model, {.pattern = parse_pattern("1:4"), .density = 0.3}), HasSubstr("0.3"));
  EXPECT_THAT(refusal(model, {.pattern = parse_pattern("1:4"), .input_density = 1.0}),
              HasSubstr("input density 1"));
  EXPECT_THAT(refusal(model, {.pattern = parse_pattern("1:4"), .layer_density = {0.25}}),
              HasSubstr("layer_density"));
}

TEST(Prune, refuses_bad_options_by_name_and_changes_nothing) {
  const Model model = random_model({});
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_THAT(refusal(model, {.density = 1.5}), HasSubstr("density is 1.5"));
  EXPECT_THAT(refusal(model, {.density = -0.1}), HasSubstr("density is -0.1"));
  EXPECT_THAT(refusal(model, {.density = nan}), HasSubstr("density is nan"));
  EXPECT_THAT(refusal(model, {.input_density = nan}), HasSubstr("input density is nan"));
  EXPECT_THAT(refusal(model, {.layer_density = {0.5, 2.0}}), HasSubstr("layer_density[1] is 2"));
  EXPECT_THAT(refusal(model, {.layer_density = {0.5}}), HasSubstr("layer_density has 1 values"));
  EXPECT_THAT(refusal(model, {.layer_input_density = {0.5, 0.5, 0.5}}),
              HasSubstr("layer_input_density has 3"));
  EXPECT_THAT(refusal(model, {.pattern = parse_pattern("global"), .layer_density = {0.5, 0.5}}),
              HasSubstr("global"));
  EXPECT_THAT(refusal(model, {.pattern = {Pattern::Kind::unit, 4, 0}}), HasSubstr("unit:4x0"));
  Model bad = model;
  bad.layers[1].directions[0].w_hh.values[3] = std::numeric_limits<float>::infinity();
  EXPECT_THAT(refusal(bad, {.density = 0.5}), HasSubstr("weight_hh_l1"));
}

}  // namespace
}  // namespace sprnn
