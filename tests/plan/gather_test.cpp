// The planner of strategy gather, with problems that need no weights.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "plan/gather_layout.hpp"
#include "plan/strategy.hpp"
#include "sprnn/error.hpp"
#include "support/random_model.hpp"

namespace sprnn::test {
namespace {

MatrixSummary summary(std::int64_t rows, std::int64_t cols, double density, Random& random) {
  MatrixSummary s{rows, cols, std::vector<std::int32_t>(static_cast<std::size_t>(rows)), 0, 0};
  const double mean = static_cast<double>(cols) * density;
  for (std::int32_t& count : s.row_nonzeros) {
    // About the spread of independent entries.
    const double drawn = mean + std::sqrt(mean * (1.0 - density)) * 1.7 *
                                    (random.uniform(-1.0, 1.0) + random.uniform(-1.0, 1.0));
    count = static_cast<std::int32_t>(std::clamp(drawn, 0.0, static_cast<double>(cols)));
  }
  return s;
}

Problem problem(const Cell& cell, std::int64_t hidden, int batch, double density, DType dtype = DType::fp16,
                std::int64_t projection = 0) {
  Random random(1);
  Problem p{dtype, batch, hidden, hidden, projection, {}};
  DirectionProblem d;
  d.cell = cell;
  const std::int64_t rows = cell.gates() * hidden;
  d.w_ih = summary(rows, hidden, density, random);
  d.w_hh = summary(rows, projection > 0 ? projection : hidden, density, random);
  if (projection > 0) d.w_hr = summary(projection, hidden, density, random);
  p.directions.push_back(d);
  return p;
}

DirectionPlan plan_for(const Problem& p, std::string_view device, GpuWishes wishes = {}) {
  wishes.strategy = GpuStrategy::gather;
  const Plan plan = make_plan(p, find_device(device), {{}, wishes});
  const DirectionPlan& direction = plan.directions[0];
  gather::check(std::get<GatherPlan>(direction.choice), p, p.directions[0]);
  return direction;
}

const GatherPlan& choice(const DirectionPlan& plan) { return std::get<GatherPlan>(plan.choice); }

double part(const DirectionPlan& plan, std::string_view name) {
  for (const CostPart& p : plan.cost) {
    if (p.name == name) return p.microseconds;
  }
  ADD_FAILURE() << "no part " << name;
  return 0.0;
}

// A guard against drift, not a proof: some of these rows gave the model its constants. Engine cuda, recurrent
// part by slope, the planner's own choices: first an H200, 2026-11-30, then an H100, 2026-11-22, of kernels
// that have become up to a tenth faster.
TEST(GatherPlan, StaysNearWhatWasMeasured) {
  const struct {
    Cell cell;
    DType dtype;
    std::int64_t hidden;
    int batch;
    double density, measured, within;
  } cases[] = {{tanh_cell(), DType::fp16, 2304, 4, 0.1, 1.03, 0.1},
               {tanh_cell(), DType::fp16, 2304, 4, 0.3, 1.33, 0.1},
               {tanh_cell(), DType::fp16, 2304, 8, 0.1, 1.19, 0.1},
               {tanh_cell(), DType::fp16, 5632, 4, 0.3, 5.58, 0.1},
               {lstm_cell(), DType::fp16, 1024, 4, 0.1, 0.92, 0.1},
               {lstm_cell(), DType::fp16, 2048, 4, 0.1, 1.42, 0.1},
               {lstm_cell(), DType::fp16, 2304, 4, 0.1, 1.68, 0.1},
               {lstm_cell(), DType::fp16, 2304, 4, 0.3, 3.45, 0.1},
               {lstm_cell(), DType::fp16, 2304, 1, 0.1, 1.36, 0.1},
               {lstm_cell(), DType::fp16, 4096, 4, 0.1, 3.77, 0.1},
               {lstm_cell(), DType::fp16, 4096, 4, 0.01, 1.26, 0.1},
               {gru_cell(), DType::fp16, 2560, 4, 0.1, 1.56, 0.1},
               {lstm_cell(), DType::fp16, 512, 1, 0.1, 1.07, 0.25},
               {lstm_cell(), DType::fp16, 512, 16, 0.2, 1.11, 0.25},
               {lstm_cell(), DType::bf16, 1024, 4, 0.1, 1.02, 0.25},
               {lstm_cell(), DType::fp32, 1024, 4, 0.1, 1.25, 0.25},
               {gru_cell(), DType::fp16, 1024, 4, 0.1, 0.92, 0.25},
               {gru_cell(), DType::fp16, 384, 1, 0.3, 1.12, 0.25},
               {gru_cell(), DType::fp32, 768, 2, 0.05, 1.21, 0.25},
               {gru_cell(), DType::bf16, 1536, 8, 0.1, 1.54, 0.25},
               {relu_cell(), DType::fp16, 1024, 4, 0.2, 0.88, 0.25},
               {tanh_cell(), DType::fp32, 1000, 3, 0.1, 0.99, 0.25},
               {tanh_cell(), DType::fp16, 700, 1, 0.5, 1.07, 0.25},
               {lstm_cell(), DType::fp16, 333, 5, 0.3, 1.03, 0.25}};
  for (const auto& c : cases) {
    const DirectionPlan plan = plan_for(problem(c.cell, c.hidden, c.batch, c.density, c.dtype), "h100");
    const double recurrent = plan.microseconds() - part(plan, "input projection");
    EXPECT_NEAR(recurrent / c.measured, 1.0, c.within)
        << to_string(c.cell) << " " << c.hidden << ", batch " << c.batch << ", " << c.density;
  }
}

// Two groups of CTAs paid at batch 4; two copies of LSTM 2304 at 30 % do not fit in registers.
TEST(GatherPlan, ChoosesTheMeasuredNumberOfGroups) {
  EXPECT_EQ(choice(plan_for(problem(tanh_cell(), 2304, 4, 0.3), "h100")).groups, 2);
  EXPECT_EQ(choice(plan_for(problem(tanh_cell(), 2304, 4, 0.1), "h100")).groups, 2);
  EXPECT_EQ(choice(plan_for(problem(lstm_cell(), 2048, 4, 0.1), "h100")).groups, 2);
  EXPECT_EQ(choice(plan_for(problem(lstm_cell(), 2304, 4, 0.3), "h100")).groups, 1);
}

TEST(GatherPlan, EverySizeGetsAPlan) {
  for (const char* device : {"h100", "a100"}) {
    for (const DType dtype : {DType::fp16, DType::fp32}) {
      for (const std::int64_t hidden : {1, 127, 2304, 16384}) {
        for (const int batch : {1, 5, 32}) {
          for (const double density : {0.0, 0.05, 1.0}) {
            if (hidden > 1000 && batch == 5) continue;
            const Problem p =
                problem(hidden > 3000 ? tanh_cell() : lstm_cell(), hidden, batch, density, dtype);
            const DirectionPlan plan = plan_for(p, device);
            const GatherPlan& g = choice(plan);
            EXPECT_LE(g.groups * g.ctas, find_device(device).gpu().sm_count);
            EXPECT_GE(g.groups * g.group_batch * g.passes, batch);
            EXPECT_LE(g.registers.working + g.registers.weights, g.registers.available);
            EXPECT_LE(g.shared.total(), g.shared.available);
            EXPECT_GT(plan.microseconds(), 0.0);
            EXPECT_LT(plan.rejected.size(), 24U);
          }
        }
      }
    }
  }
}

TEST(GatherPlan, OverflowGoesFromRegistersToSharedMemoryToL2) {
  const auto slots = [](const DirectionPlan& plan) {
    RowPass sum;
    for (const RowPass& pass : choice(plan).w_hh.passes) {
      sum.registers += pass.registers;
      sum.shared += pass.shared;
      sum.l2 += pass.l2;
    }
    return sum;
  };
  const RowPass small = slots(plan_for(problem(lstm_cell(), 1024, 1, 0.1), "h100"));
  EXPECT_GT(small.registers, 0);
  EXPECT_EQ(small.shared + small.l2, 0);
  const RowPass middle = slots(plan_for(problem(lstm_cell(), 2304, 4, 0.45), "h100", {.groups = 1}));
  EXPECT_GT(middle.registers, 0);
  EXPECT_GT(middle.shared, 0);
  EXPECT_EQ(middle.l2, 0);
  const DirectionPlan streaming = plan_for(problem(lstm_cell(), 4096, 4, 0.5), "h100");
  const RowPass large = slots(streaming);
  EXPECT_TRUE(large.registers > 0 && large.shared > 0 && large.l2 > 0);
  EXPECT_GT(part(streaming, "product"), 10.0);
}

TEST(GatherPlan, DevicesDifferWhereTheyShould) {
  const Problem p = problem(lstm_cell(), 2304, 4, 0.3);
  const DirectionPlan h100 = plan_for(p, "h100"), h200 = plan_for(p, "h200"), a100 = plan_for(p, "a100");
  EXPECT_EQ(choice(h100), choice(h200));
  EXPECT_LT(part(h200, "input projection"), part(h100, "input projection") + 1e-9);
  EXPECT_LE(choice(a100).groups * choice(a100).ctas, 108);
  EXPECT_LT(choice(a100).shared.available, choice(h100).shared.available);
  EXPECT_GT(a100.microseconds(), h100.microseconds());

  Device pcie = find_device("h100");
  std::get<GpuDescription>(pcie.description).sm_count = 114;
  const Plan smaller = make_plan(p, pcie, {{}, {.strategy = GpuStrategy::gather}});
  EXPECT_LE(choice(smaller.directions[0]).ctas, 114);
}

TEST(GatherPlan, BeyondSixteenBitOffsetsTheWordsNarrowThenCount) {
  const DirectionPlan narrow =
      plan_for(problem(tanh_cell(), 8192, 4, 0.05), "h100", {.groups = 1, .group_batch = 4});
  EXPECT_EQ(choice(narrow).word_bytes, 4);
  EXPECT_EQ(choice(narrow).w_hh.offset_unit, 1);
  const DirectionPlan counting =
      plan_for(problem(tanh_cell(), 16384, 4, 0.01, DType::fp32), "h100", {.groups = 4, .group_batch = 1});
  EXPECT_EQ(choice(counting).w_hh.offset_unit, choice(counting).word_bytes);
  const DirectionPlan wide =
      plan_for(problem(tanh_cell(), 2304, 8, 0.1), "h100", {.groups = 1, .group_batch = 8});
  EXPECT_EQ(choice(wide).word_bytes, 16);
}

TEST(GatherPlan, ProjectionHasTwoExchangesAndATag) {
  const DirectionPlan plan = plan_for(problem(lstm_cell(), 1024, 4, 0.1, DType::fp16, 256), "h100");
  ASSERT_TRUE(choice(plan).w_hr.has_value());
  EXPECT_EQ(choice(plan).exchange_word, ExchangeWord::tag);
  EXPECT_FALSE(choice(plan).w_hh.half_sums) << "a projected h is not bounded";
  EXPECT_TRUE(choice(plan).w_hr->half_sums);
  EXPECT_GT(part(plan, "projection exchange"), 0.5);
  EXPECT_GT(part(plan, "projection product"), 0.0);
}

TEST(GatherPlan, AStampNeedsABitThatHLeavesFree) {
  for (const Cell& cell : standard_cells()) {
    EXPECT_EQ(choice(plan_for(problem(cell, 64, 2, 0.2), "h100")).exchange_word, ExchangeWord::stamp)
        << to_string(cell);
  }
  Cell leaky = relu_cell();
  leaky.activations[0] = {ActivationKind::leaky_relu, 0.1F, 0.0F};
  EXPECT_EQ(choice(plan_for(problem(leaky, 64, 2, 0.2), "h100")).exchange_word, ExchangeWord::tag);
}

TEST(GatherPlan, SparseInputsAreStoredSparse) {
  Problem single = problem(lstm_cell(), 2048, 4, 0.05);
  EXPECT_EQ(choice(plan_for(single, "h100")).w_ih, InputStorage::dense);  // tensor cores
  single.dtype = DType::fp32;
  EXPECT_EQ(choice(plan_for(single, "h100")).w_ih, InputStorage::csr);
  EXPECT_EQ(choice(plan_for(problem(lstm_cell(), 2048, 4, 0.9), "h100")).w_ih, InputStorage::dense);
}

TEST(GatherPlan, WishesAreHonoured) {
  const Problem p = problem(lstm_cell(), 1024, 8, 0.2);
  for (const int lanes : {1, 4, 32})
    EXPECT_EQ(choice(plan_for(p, "h100", {.lanes = lanes})).w_hh.lanes, lanes);
  for (const int groups : {1, 3, 8})
    EXPECT_EQ(choice(plan_for(p, "h100", {.groups = groups})).groups, groups);
  for (const int batch : {1, 2, 8})
    EXPECT_EQ(choice(plan_for(p, "h100", {.group_batch = batch})).group_batch, batch);
  EXPECT_EQ(choice(plan_for(p, "h100", {.ctas = 32})).ctas, 32);
  EXPECT_EQ(choice(plan_for(p, "h100", {.warps = 20})).warps, 20);
  EXPECT_EQ(choice(plan_for(p, "h100", {.poll_wait_cycles = 77})).poll_wait_cycles, 77);
  EXPECT_EQ(choice(plan_for(p, "h100", {.wide_loads = false})).word_bytes, 2);
  for (const bool on : {false, true}) {
    EXPECT_EQ(choice(plan_for(p, "h100", {.stamps = on})).stamps, on);
    EXPECT_EQ(choice(plan_for(p, "h100", {.bank_order = on})).bank_order, on);
    EXPECT_EQ(choice(plan_for(p, "h100", {.opaque_pairs = on})).opaque_pairs, on);
    EXPECT_EQ(choice(plan_for(p, "h100", {.fence = on})).fence, on);
  }
  // Each optimisation is predicted to pay.
  const double best = plan_for(p, "h100").microseconds();
  EXPECT_GT(plan_for(p, "h100", {.stamps = false}).microseconds(), best + 0.3);
  EXPECT_GT(plan_for(p, "h100", {.wide_loads = false}).microseconds(), best);
  EXPECT_GT(plan_for(p, "h100", {.bank_order = false}).microseconds(), best);
}

void expect_refused(const Problem& p, const GpuWishes& wishes,
                    std::initializer_list<std::string_view> parts) {
  try {
    (void)plan_for(p, "h100", wishes);
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    for (const std::string_view text : parts) {
      EXPECT_NE(std::string(error.what()).find(text), std::string::npos) << error.what();
    }
  }
}

TEST(GatherPlan, WishesThatCannotBeMetAreRefusedWithTheReason) {
  const Problem p = problem(lstm_cell(), 1024, 8, 0.2);
  expect_refused(p, {.groups = 133}, {"groups 133", "1 to 132"});
  expect_refused(p, {.groups = 2, .ctas = 67}, {"ctas 67", "1 to 66"});
  expect_refused(p, {.group_batch = 9}, {"group_batch 9", "1 to 8"});
  expect_refused(p, {.warps = 6}, {"warps 6", "multiple of 4"});
  expect_refused(p, {.lanes = 12}, {"lanes 12", "8, 16 or 32"});
  expect_refused(problem(tanh_cell(), 16384, 32, 0.01), {.groups = 1, .group_batch = 32},
                 {"KiB shared memory a CTA", "would fit"});
}

TEST(GatherPlan, GroupsOfTheCtasThatAreAskedForFitTheGpu) {
  const GatherPlan plan = choice(plan_for(problem(lstm_cell(), 1000, 4, 0.1), "h100", {.ctas = 100}));
  EXPECT_EQ(plan.ctas, 100);
  EXPECT_EQ(plan.groups, 1);
}

TEST(GatherPlan, NoGroupIsWithoutBatchEntries) {
  for (const int batch : {3, 5, 7, 9, 11, 17, 24, 33}) {
    const GatherPlan plan = choice(plan_for(problem(lstm_cell(), 600, batch, 0.3), "h100"));
    EXPECT_LT((plan.groups - 1) * plan.group_batch, batch);
  }
  // Unless it was asked for.
  const Problem p = problem(lstm_cell(), 600, 9, 0.3);
  EXPECT_EQ(choice(plan_for(p, "h100", {.groups = 4, .group_batch = 4})).groups, 4);
}

TEST(GatherPlan, AGroupOfFewCtasIsACluster) {
  const Problem p = problem(lstm_cell(), 256, 4, 0.1);
  const GatherPlan cluster = choice(plan_for(p, "h100", {.ctas = 16}));
  EXPECT_TRUE(cluster.in_cluster);
  // Two slots of 256 units x the group's batch entries of 2 bytes.
  EXPECT_EQ(cluster.shared.ring, 2 * 256 * cluster.group_batch * 2);
  const GatherPlan through_l2 = choice(plan_for(p, "h100", {.ctas = 16, .in_cluster = false}));
  EXPECT_FALSE(through_l2.in_cluster);
  EXPECT_EQ(through_l2.shared.ring, 0);
  EXPECT_FALSE(choice(plan_for(p, "h100", {.ctas = 32})).in_cluster);
  EXPECT_FALSE(choice(plan_for(p, "h100", {.ctas = 16, .stamps = false})).in_cluster);
  for (const int ctas : {1, 8}) EXPECT_FALSE(choice(plan_for(p, "a100", {.ctas = ctas})).in_cluster);
  // A projected h has no bit for a stamp.
  EXPECT_FALSE(
      choice(plan_for(problem(lstm_cell(), 256, 4, 0.1, DType::fp16, 64), "h100", {.ctas = 8})).in_cluster);
  expect_refused(p, {.ctas = 32, .in_cluster = true}, {"a cluster has at most 16 CTAs"});
  expect_refused(p, {.ctas = 8, .stamps = false, .in_cluster = true}, {"a cluster exchanges stamped words"});
  expect_refused(problem(tanh_cell(), 64, 8, 0.5), {.groups = 8, .ctas = 16, .in_cluster = true},
                 {"7 clusters fit side by side"});
}

// Such a kernel with 78 slots spilled 2008 bytes.
TEST(GatherPlan, OneLaneHoldsTheWordsOfAllItsSlots) {
  const GpuWishes wishes{.groups = 2, .ctas = 64, .group_batch = 8, .warps = 8, .lanes = 1};
  expect_refused(problem(gru_cell(), 1024, 16, 0.3, DType::bf16), wishes,
                 {"registers a thread for words of state", "one lane a row group"});
  EXPECT_EQ(choice(plan_for(problem(gru_cell(), 1024, 16, 0.02, DType::bf16), "h100", wishes)).w_hh.lanes, 1);
}

TEST(GatherPlan, RejectedCandidatesSayWhyWithNumbers) {
  const DirectionPlan plan = plan_for(problem(tanh_cell(), 16384, 32, 0.01), "h100");
  bool too_large = false, dearer = false;
  for (const Rejected& rejected : plan.rejected) {
    too_large |= rejected.reason.find("needs ") != std::string::npos &&
                 rejected.reason.find(" available") != std::string::npos;
    dearer |= rejected.reason.find("predicted") != std::string::npos &&
              rejected.microseconds >= plan.microseconds();
    EXPECT_FALSE(rejected.candidate.empty());
  }
  EXPECT_TRUE(too_large);
  EXPECT_TRUE(dearer);
}

TEST(GatherPlan, WhatCannotExistIsRefused) {
  expect_refused(problem(tanh_cell(), 65536, 1, 0.0001), {}, {"words of state", "65536"});
  Device small = find_device("h100");
  std::get<GpuDescription>(small.description).shared_bytes_per_block = 8192;
  try {
    (void)make_plan(problem(tanh_cell(), 16384, 1, 0.01), small, {{}, {.strategy = GpuStrategy::gather}});
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_NE(std::string(error.what()).find("no batch would fit"), std::string::npos) << error.what();
  }
}

TEST(GatherPlan, JsonRoundTrip) {
  for (const DType dtype : {DType::fp32, DType::fp16, DType::bf16}) {
    for (const std::int64_t projection : {0, 64}) {
      const Problem p = problem(lstm_cell(), 300, 6, 0.3, dtype, projection);
      const GpuWishes wishes{.strategy = GpuStrategy::gather, .fence = true, .w_ih = InputStorage::csr};
      const Plan plan = make_plan(p, find_device("h100"), {{}, wishes});
      EXPECT_EQ(plan_from_json(to_json(plan)), plan);
      EXPECT_EQ(make_plan(p, find_device("h100"), {{}, wishes}), plan);
      const std::string text = gather::to_text(choice(plan.directions[0]));
      EXPECT_EQ(text.find('\n'), std::string::npos);
      EXPECT_NE(text.find("fence"), std::string::npos);
    }
  }
}

// What is of the wrong type is named, and so is a text that is not known.
TEST(GatherPlan, BadJsonIsRefused) {
  const nlohmann::json good = nlohmann::json::parse(
      to_json(make_plan(problem(lstm_cell(), 50, 2, 0.3, DType::fp16, 20), find_device("h100"))));
  for (const char* part : {"/directions/0/choice", "/problem"}) {
    const nlohmann::json::json_pointer at(part);
    const nlohmann::json flat = good.at(at).flatten();
    std::string last_key;
    for (const auto& [path, value] : flat.items()) {
      std::string key = path;
      const auto is_index = [&] { return std::isdigit(static_cast<unsigned char>(key.back())) != 0; };
      while (is_index()) key.erase(key.rfind('/'));  // an element of an array has the array's name
      key.erase(0, key.rfind('/') + 1);
      if (key == std::exchange(last_key, key)) continue;
      for (const nlohmann::json& bad :
           {nlohmann::json("text"), nlohmann::json(1.5), nlohmann::json(nullptr), nlohmann::json::object()}) {
        if (value.is_number_float() && bad.is_number()) continue;
        nlohmann::json changed = good;
        changed[at / nlohmann::json::json_pointer(path)] = bad;
        SCOPED_TRACE(path + " = " + bad.dump());
        try {
          (void)plan_from_json(changed.dump());
          ADD_FAILURE() << "not refused";
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::format);
          const std::string expected = value.is_string() && bad.is_string() ? "text" : key;
          EXPECT_NE(std::string(error.what()).find(expected), std::string::npos) << error.what();
        }
      }
    }
  }
}

}  // namespace
}  // namespace sprnn::test
