// Which strategy of a GPU the planner takes, and what it says of the others.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <limits>
#include <nlohmann/json.hpp>

#include "sprnn/error.hpp"
#include "sprnn/plan.hpp"
#include "support/random_model.hpp"

namespace sprnn {
namespace {

using test::ModelSpec;
using testing::HasSubstr;

Plan plan_for(const ModelSpec& spec, int batch, const GpuWishes& wishes = {}) {
  return make_plan(describe(test::random_model(spec), batch), find_device("h100"), {{}, wishes});
}

std::vector<const Rejected*> of_strategy(const Plan& plan, std::string_view strategy) {
  std::vector<const Rejected*> found;
  for (const Rejected& rejected : plan.directions[0].rejected) {
    if (rejected.candidate.starts_with(strategy)) found.push_back(&rejected);
  }
  return found;
}

TEST(Strategy, TheCheapestIsTakenAndTheOthersArePriced) {
  const Plan sparse =
      plan_for({.cell = lstm_cell(), .dtype = DType::fp16, .hidden = 512, .density = 0.02}, 4);
  EXPECT_TRUE(std::holds_alternative<GatherPlan>(sparse.directions[0].choice));
  const Plan dense = plan_for({.cell = lstm_cell(), .dtype = DType::fp16, .hidden = 1024, .density = 1.0}, 4);
  ASSERT_TRUE(std::holds_alternative<MmaPlan>(dense.directions[0].choice));
  EXPECT_FALSE(std::get<MmaPlan>(dense.directions[0].choice).gathered);
  for (const Plan* plan : {&sparse, &dense}) {
    for (const char* strategy : {"gather", "dense-mma", "vector-mma"}) {
      GpuWishes wishes;
      wishes.strategy = parse_gpu_strategy(strategy);
      const Plan forced = make_plan(plan->problem, plan->device, {{}, wishes});
      EXPECT_GE(forced.directions[0].microseconds(), plan->directions[0].microseconds());
      const auto others = of_strategy(*plan, strategy);
      const bool priced = std::any_of(others.begin(), others.end(), [&](const Rejected* rejected) {
        return rejected->microseconds == forced.directions[0].microseconds();
      });
      EXPECT_TRUE(priced || forced.directions[0].choice == plan->directions[0].choice) << strategy;
    }
  }
}

TEST(Strategy, WhatHasNoPlanSaysWhy) {
  const Plan plan = plan_for({.cell = gru_cell(), .dtype = DType::fp32, .hidden = 64, .density = 0.5}, 2);
  EXPECT_TRUE(std::holds_alternative<GatherPlan>(plan.directions[0].choice));
  for (const char* strategy : {"dense-mma", "sparse-mma", "vector-mma"}) {
    const auto others = of_strategy(plan, strategy);
    ASSERT_EQ(others.size(), 1U) << strategy;
    EXPECT_THAT(others[0]->reason, HasSubstr("the weights are fp32"));
    EXPECT_EQ(others[0]->microseconds, 0.0);
  }
}

TEST(Strategy, WhereNoneHasAPlanEachSaysWhy) {
  Device small = find_device("h100");
  std::get<GpuDescription>(small.description).shared_bytes_per_block = 2048;
  const Model model =
      test::random_model({.cell = tanh_cell(), .dtype = DType::fp32, .hidden = 4000, .density = 0.001});
  try {
    (void)make_plan(describe(model, 1), small);
    FAIL() << "has a plan";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_THAT(error.what(), HasSubstr("KiB shared memory"));
    EXPECT_THAT(error.what(), HasSubstr("no dense-mma plan"));
    EXPECT_THAT(error.what(), HasSubstr("no vector-mma plan"));
  }
}

// 2:4 rows need half of the weights that dense ones do.
TEST(Strategy, TwoOfFourNeighboursAreTakenBySparseTensorCores) {
  const ModelSpec spec{
      .cell = lstm_cell(), .dtype = DType::fp16, .input = 1, .hidden = 1024, .mask = test::Mask::two_of_four};
  const Plan plan = plan_for(spec, 32);
  EXPECT_TRUE(std::get<MmaPlan>(plan.directions[0].choice).sparse) << to_text(plan);
  EXPECT_GE(of_strategy(plan, "dense-mma").size(), 1U);
  const Plan others = plan_for({.cell = lstm_cell(), .dtype = DType::fp16, .hidden = 256, .density = 1.0}, 4);
  const auto sparse = of_strategy(others, "sparse-mma");
  ASSERT_GE(sparse.size(), 1U);
  EXPECT_GT(sparse[0]->microseconds, 0.0) << "half of the weights are gathered: it can, at a price";
}

TEST(Strategy, GroupsFillPlanesOfEightEntries) {
  const ModelSpec spec{.cell = lstm_cell(), .dtype = DType::fp16, .hidden = 640, .density = 0.5};
  const auto group_batch = [&](const GpuWishes& wishes) {
    return std::get<MmaPlan>(plan_for(spec, 12, wishes).directions[0].choice).group_batch;
  };
  for (const bool late : {false, true}) {
    GpuWishes wishes{.strategy = GpuStrategy::dense_mma, .groups = 1, .asks_late = late};
    EXPECT_EQ(group_batch(wishes), 16) << late;
    wishes.group_batch = 12;
    EXPECT_EQ(group_batch(wishes), 12) << late;
  }
}

TEST(Strategy, AWishThatOneHasChoosesIt) {
  const ModelSpec spec{.cell = lstm_cell(), .dtype = DType::fp16, .hidden = 256, .density = 1.0};
  EXPECT_TRUE(std::holds_alternative<GatherPlan>(plan_for(spec, 4, {.lanes = 8}).directions[0].choice));
}

TEST(Strategy, WhetherACandidateIsInAClusterIsSaid) {
  const ModelSpec spec{.cell = lstm_cell(), .dtype = DType::fp16, .hidden = 256, .density = 1.0};
  const auto rejected = [&](bool in_cluster) {
    return plan_for(spec, 1, {.ctas = 16, .in_cluster = in_cluster}).directions[0].rejected;
  };
  const std::vector<Rejected> in_cluster = rejected(true), through_l2 = rejected(false);
  EXPECT_GE(in_cluster.size(), 3U);
  for (const Rejected& other : in_cluster)
    EXPECT_TRUE(other.microseconds == 0.0 || other.candidate.ends_with(", in a cluster")) << other.candidate;
  for (const Rejected& other : through_l2)
    EXPECT_EQ(other.candidate.find("cluster"), std::string::npos) << other.candidate;
}

TEST(Strategy, WholeRowsThatNeedMoreCtasAreRefusedByName) {
  const Model model = test::random_model({.cell = lstm_cell(), .dtype = DType::fp16, .hidden = 256});
  Device device = find_device("h100");
  std::get<GpuDescription>(device.description).sm_count = 2;
  try {
    (void)make_plan(describe(model, 1), device,
                    {{}, {.strategy = GpuStrategy::dense_mma, .warps = 4, .row_parts = 4}});
    ADD_FAILURE() << "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
    EXPECT_NE(std::string(error.what()).find("need more CTAs a group than 2"), std::string::npos)
        << error.what();
  }
}

// Words that are counted never leave a cluster's shared memory, so no ring is kept for them elsewhere.
TEST(Strategy, CountedWordsNeedNoRingOutsideTheCluster) {
  const ModelSpec spec{.cell = lstm_cell(), .dtype = DType::fp16, .hidden = 128};
  const auto beside_the_tile = [&](bool in_cluster, int row_parts) {
    const Plan plan = plan_for(spec, 1,
                               {.strategy = GpuStrategy::dense_mma,
                                .groups = 1,
                                .ctas = 8,
                                .warps = 4,
                                .row_parts = row_parts,
                                .in_cluster = in_cluster});
    const DirectionPlan& direction = plan.directions[0];
    const int tile =
        4 * 4 * 128 * std::get<MmaPlan>(direction.choice).tile_steps;  // fp32, 4 gates, 128 units
    return direction.workspace_bytes - tile;
  };
  EXPECT_EQ(beside_the_tile(true, 4), 0);
  EXPECT_GT(beside_the_tile(false, 4), 0);
  EXPECT_GT(beside_the_tile(true, 1), 0);
}

// The ring of a cluster lies in shared memory; where it does not fit, the group is none.
TEST(Strategy, ARingInSharedMemoryIsCounted) {
  const Model model = test::random_model({.cell = tanh_cell(), .dtype = DType::fp16, .hidden = 400});
  Device device = find_device("h100");
  auto& gpu = std::get<GpuDescription>(device.description);
  gpu.sm_count = 6;
  gpu.max_registers_per_thread = 176;
  int clusters = 0, others = 0;
  for (const GpuStrategy strategy : {GpuStrategy::gather, GpuStrategy::dense_mma, GpuStrategy::vector_mma}) {
    for (const int batch : {1, 4, 9}) {
      for (int kib = 14; kib <= 40; kib += 2) {
        gpu.shared_bytes_per_block = gpu.shared_bytes_per_sm = kib * 1024;
        const GpuWishes wishes{.strategy = strategy, .groups = 1, .ctas = 6, .warps = 4};
        try {
          const GpuPlan plan = make_plan(describe(model, batch), device, {{}, wishes}).directions[0].gpu();
          EXPECT_LE(plan.shared.total(), plan.shared.available) << to_string(strategy) << kib << " " << batch;
          EXPECT_EQ(plan.in_cluster, plan.shared.ring > 0);
          ++(plan.in_cluster ? clusters : others);
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), ErrorCode::unsupported) << error.what();
        }
      }
    }
  }
  EXPECT_GT(clusters, 10);
  EXPECT_GT(others, 0);
}

// What plan_from_json says of a plan whose choice has another value at `field`.
std::string refusal(const Plan& plan, const std::string& field, const nlohmann::json& value) {
  nlohmann::json changed = nlohmann::json::parse(to_json(plan));
  changed["directions"][0]["choice"].at(nlohmann::json::json_pointer(field)) = value;
  try {
    (void)plan_from_json(changed.dump());
    return "not refused";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::format) << error.what();
    return error.what();
  }
}

std::vector<Plan> plans_of_every_strategy() {
  std::vector<Plan> plans{plan_for({.cell = lstm_cell(), .hidden = 40, .projection = 12, .density = 0.3}, 3)};
  const ModelSpec spec{.cell = gru_cell(), .dtype = DType::fp16, .hidden = 100, .density = 0.5};
  for (const GpuStrategy strategy :
       {GpuStrategy::gather, GpuStrategy::dense_mma, GpuStrategy::sparse_mma, GpuStrategy::vector_mma})
    plans.push_back(plan_for(spec, 3, {.strategy = strategy}));
  return plans;
}

// A plan's JSON may come from anywhere: whoever reads it, to compile code for it or to look at it, divides by
// its numbers and takes them as sizes.
TEST(HostilePlan, EachNumberOfTheChoiceIsRefusedByName) {
  for (const Plan& plan : plans_of_every_strategy()) {
    const nlohmann::json choice = nlohmann::json::parse(to_json(plan))["directions"][0]["choice"];
    SCOPED_TRACE(to_string(plan.directions[0].choice.index() == 1
                               ? GpuStrategy::gather
                               : std::get<MmaPlan>(plan.directions[0].choice).strategy()));
    const nlohmann::json flat = choice.flatten();
    for (const auto& [path, value] : flat.items()) {
      if (!value.is_number_integer()) continue;
      std::string name = path;
      while (std::isdigit(static_cast<unsigned char>(name.back())) != 0) name.erase(name.rfind('/'));
      name.erase(0, name.rfind('/') + 1);
      for (const int bad : {-1, std::numeric_limits<int>::min(), std::numeric_limits<int>::max()}) {
        // Measured by the session; more shared memory than is needed.
        if (name == "poll_wait_cycles" && bad == tuned_poll_wait) continue;
        if (path == "/shared/available" && bad > 0) continue;
        EXPECT_THAT(refusal(plan, path, bad), HasSubstr(name)) << path << " = " << bad;
      }
    }
    for (const char* field : {"groups", "group_batch", "passes", "ctas", "warps", "tile_steps"}) {
      EXPECT_THAT(refusal(plan, std::string("/") + field, 0), HasSubstr(std::string(field) + " is 0"));
    }
  }
}

TEST(HostilePlan, WhatAStrategyDividesByIsRefusedByName) {
  const std::vector<Plan> plans = plans_of_every_strategy();
  for (const char* matrix : {"w_hh", "w_hr"}) {
    for (const char* field : {"units_a_cta", "lanes", "parts", "offset_unit"}) {
      EXPECT_THAT(
          refusal(plans[0], std::string("/") + matrix + "/" + field, 0),
          HasSubstr(std::string("direction 0: GPU plan: ") + matrix + "." + field + " is 0, expected"));
    }
  }
  EXPECT_THAT(refusal(plans[1], "/word_bytes", 0), HasSubstr("word_bytes is 0, expected"));
  for (std::size_t i = 2; i < plans.size(); ++i) {
    EXPECT_THAT(refusal(plans[i], "/units_a_cta", 0), HasSubstr("units_a_cta is 0, expected"));
    EXPECT_THAT(refusal(plans[i], "/row_parts", 0), HasSubstr("row_parts is 0, expected"));
    EXPECT_THAT(refusal(plans[i], "/steps", {0, 0, 0}), HasSubstr("steps is 0, expected"));
  }
  EXPECT_THAT(refusal(plans[3], "/rest/lanes", 0), HasSubstr("rest.lanes is 0, expected"));
}

TEST(HostilePlan, ALayoutOfTheCpuForAnAbsentMatrixIsRefusedByName) {
  const ModelSpec spec{.cell = lstm_cell(), .hidden = 20};
  const Plan plan = make_plan(describe(test::random_model(spec), 1), find_device("cpu"));
  EXPECT_THAT(refusal(plan, "/w_hh", "none"),
              HasSubstr("direction 0: w_hh: layout none for a matrix that is"));
  EXPECT_THAT(refusal(plan, "/w_hr", "row"), HasSubstr("w_hr: layout row for a matrix that is absent"));
}

}  // namespace
}  // namespace sprnn
