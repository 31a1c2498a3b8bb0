// bench and sweep from end to end on small models. Nothing is asserted about how long anything takes.
#include "bench/bench.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "support/random_model.hpp"

namespace sprnn::bench {
namespace {

using nlohmann::json;

BenchOptions quick() {
  BenchOptions options;
  options.batch = 2;
  options.steps = 10;
  options.rounds = 1;
  options.threads = 1;
  return options;
}

TEST(RandomModel, IsPrunedToThePatternAndScaledByTheNonZerosOfARow) {
  LayerSpec spec;
  spec.hidden_size = 64;
  spec.input_size = 32;
  spec.density = 0.25;
  spec.input_density = 0.5;
  spec.pattern = parse_pattern("row");
  const Model model = random_model(spec, 7);
  validate(model);
  const Direction& direction = model.layers.at(0).directions.at(0);
  EXPECT_EQ(direction.w_hh.nonzeros(), 4 * 64 * 16);
  EXPECT_EQ(direction.w_ih.nonzeros(), 4 * 64 * 16);
  float greatest = 0.0F, sum = 0.0F;
  for (const float value : direction.w_hh.values) {
    greatest = std::max(greatest, std::abs(value));
    sum += std::abs(value);
  }
  EXPECT_LT(greatest, 0.25F);  // 1 / sqrt(16)
  // Uniform, not the large values only that pruning by magnitude has left: the mean is half the limit.
  EXPECT_NEAR(sum / (4 * 64 * 16), 0.125F, 0.01F);
  EXPECT_EQ(model, random_model(spec, 7));
  EXPECT_NE(model, random_model(spec, 8));
}

TEST(Bench, ReportsOursAndEveryPeer) {
  LayerSpec spec;
  spec.cell = gru_cell();
  spec.hidden_size = 24;
  spec.density = 0.5;
  const BenchResult result = bench(random_model(spec, 1), quick());
  EXPECT_GT(result.timing.us_per_step, 0.0);
  EXPECT_LE(result.timing.us_per_step_min, result.timing.us_per_step);
  EXPECT_NEAR(result.density, 0.5, 0.01);
  const json report = json::parse(to_json(result));
  for (const char* key : {"us_per_step", "us_per_step_min", "threads", "isa", "dtype", "slope_us_per_step"}) {
    EXPECT_TRUE(report.contains(key)) << key;
  }
  EXPECT_EQ(report.at("dtype"), "fp32");
  ASSERT_EQ(report.at("peers").size(), 2U);
  for (const json& peer : report.at("peers")) {
    EXPECT_TRUE(peer.contains("refused") || (peer.at("us_per_step") > 0 && peer.contains("us_per_step_min")))
        << peer;
  }
  EXPECT_THAT(report.at("peers").at(1).at("name").get<std::string>(), testing::HasSubstr("bf16"));
  EXPECT_THAT(to_text(result), testing::HasSubstr("oneDNN fp32"));
}

TEST(Bench, RunsWithoutPeersAndRefusesOptionsOutOfRange) {
  const Model model = random_model({.hidden_size = 8}, 1);
  BenchOptions options = quick();
  options.peers = false;
  EXPECT_TRUE(bench(model, options).peers.empty());
  options.steps = 0;
  EXPECT_THROW((void)bench(model, options), Error);
}

TEST(Bench, ReportsWhatOnlyAGpuHas) {
  BenchResult result;
  result.timing = {.us_per_step = 2.0,
                   .us_per_step_min = 1.5,
                   .repeats = 3,
                   .slope_us_per_step = 1.5,
                   .intercept_us = 9.0};
  result.gpu = GpuResult{.gpu = "some GPU",
                         .plan = "2 groups",
                         .recurrent_us_per_step = 1.25,
                         .recurrent_intercept_us = 8.0,
                         .first_call_us = 700.0,
                         .repeated_call_us = 512.0,
                         .parts = {{"exchange", 1.0, std::nullopt}, {"recurrent", 1.0, 1.25}}};
  const json report = json::parse(to_json(result));
  EXPECT_EQ(report.at("recurrent_us_per_step"), 1.25);
  EXPECT_EQ(report.at("intercept_us"), 9.0);
  EXPECT_EQ(report.at("first_call_us"), 700.0);
  EXPECT_EQ(report.at("repeated_call_us"), 512.0);
  EXPECT_EQ(report.at("gpu"), "some GPU");
  EXPECT_FALSE(report.at("parts").at(0).contains("measured_us"));
  EXPECT_EQ(report.at("parts").at(1).at("measured_us"), 1.25);
  for (const char* words : {"some GPU", "2 groups", "exchange", "1.250"}) {
    EXPECT_THAT(to_text(result), testing::HasSubstr(words));
  }
}

TEST(Bench, TimesALayerOnTheGpu) {
  if (gpu_count() == 0) GTEST_SKIP() << "no GPU";
  BenchOptions options = quick();
  options.engine = "cuda";
  options.steps = 40;
  const BenchResult result = bench(random_model({.hidden_size = 64, .dtype = DType::fp16}, 1), options);
  EXPECT_EQ(result.engine, "cuda");
  EXPECT_TRUE(result.peers.empty());
  ASSERT_TRUE(result.gpu);
  EXPECT_GT(result.gpu->recurrent_us_per_step, 0.0);
  EXPECT_GT(result.gpu->first_call_us, 0.0);
  EXPECT_EQ(result.gpu->parts.back().name, "whole layer");
}

TEST(Sweep, HasARowADensityAndTheDenseOneFirst) {
  SweepOptions options;
  options.densities = {0.25, 0.5};
  options.run = quick();
  const SweepResult result = sweep(random_model({.cell = gru_cell(), .hidden_size = 32}, 3), options);
  ASSERT_EQ(result.rows.size(), 3U);
  EXPECT_EQ(result.rows[0].density, 1.0);
  EXPECT_EQ(result.rows[0].times_faster_than_dense, 1.0);
  EXPECT_LT(result.rows[0].rel_error, 1e-5);
  EXPECT_EQ(result.rows[2].density, 0.25);
  EXPECT_NEAR(result.rows[2].reached, 0.25, 0.01);
  EXPECT_LT(result.rows[1].rel_error, result.rows[2].rel_error);
  EXPECT_EQ(json::parse(to_json(result)).at("rows").size(), 3U);
}

TEST(Sweep, TakesTheCallersSequence) {
  const Model model = random_model({.hidden_size = 8}, 3);
  SweepOptions options;
  options.densities = {0.5};
  options.run = quick();
  options.run.peers = false;
  options.x = FloatArray{{12, 3, 8}, std::vector<float>(12 * 3 * 8, 0.5F)};
  const SweepResult result = sweep(model, options);
  EXPECT_EQ(result.batch, 3);
  EXPECT_EQ(result.steps, 12);
  options.x = FloatArray{{12, 9}, std::vector<float>(12 * 9, 0.5F)};
  EXPECT_THROW((void)sweep(model, options), Error);
}

}  // namespace
}  // namespace sprnn::bench
