// A plan: every decision about how a model will run on a device, as plain printable data.
//
//   Problem (what there is: shapes and counts, never values)  +  Device  ->  Plan  ->  pack.hpp
//
// A plan never depends on the number of timesteps. It is made by enumerating candidates, refusing those
// that cannot work with a stated reason, scoring the rest and taking the cheapest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "sprnn/device.hpp"
#include "sprnn/model.hpp"
#include "sprnn/plan_cpu.hpp"
#include "sprnn/plan_gather.hpp"
#include "sprnn/plan_mma.hpp"

namespace sprnn {

// What a plan may know of a matrix.
struct MatrixSummary {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::vector<std::int32_t> row_nonzeros;  // [rows]
  // Groups are `cpu_group_rows` consecutive rows of one gate (plan_cpu.hpp).
  std::int64_t group_columns = 0;  // columns that hold a non-zero in a group, summed over groups
  std::int64_t tile_slots = 0;     // slots that the cpu layout `tile` needs, summed over groups
  // Of W_hh, columns that hold a non-zero in each block of mma_sharing_units units; empty where not known.
  std::vector<std::int32_t> shared_columns = {};
  // Of W_hh, the most non-zeros that a row has in columns 4 k to 4 k + 3; empty where not known.
  std::optional<int> most_of_four = std::nullopt;
  // Of W_hh, where that is more than two: how many of a row's non-zeros follow two others in such columns
  // [rows]; else empty.
  std::vector<std::int32_t> row_rests = {};
  bool large_weights = false;  // whether one has a magnitude above most_half_weight (plan_gather.hpp)

  [[nodiscard]] std::int64_t nonzeros() const noexcept;
  [[nodiscard]] double density() const noexcept;  // 0 for an empty matrix
  bool operator==(const MatrixSummary&) const = default;
};

struct DirectionProblem {
  int layer = 0;
  bool reverse = false;
  Cell cell;
  bool bias = false;
  bool peephole = false;
  MatrixSummary w_ih, w_hh, w_hr;
  bool operator==(const DirectionProblem&) const = default;
};

inline constexpr int max_batch = 4096;  // sequences side by side, of a plan and of a session

struct Problem {
  DType dtype = DType::fp32;
  int batch = 1;  // a hint: the batch that the plan is best for
  std::int64_t input_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t projection_size = 0;
  std::vector<DirectionProblem> directions;  // layer by layer, forward before reverse
  bool operator==(const Problem&) const = default;
};

// Of a valid model (model.hpp). The batch is checked by make_plan alone: 1 to max_batch.
[[nodiscard]] Problem describe(const Model& model, int batch);

// A predicted time of one timestep, by part; the parts add up.
struct CostPart {
  std::string name;  // "exchange", "product", "cell update", "input projection", ...
  double microseconds = 0.0;
  bool operator==(const CostPart&) const = default;
};

// A candidate that was not chosen.
struct Rejected {
  std::string candidate;      // "gather, 2 groups, 8 lanes a row"
  std::string reason;         // "needs 241 KiB shared memory a CTA, 227 available: batch 8 would fit"
  double microseconds = 0.0;  // its predicted cost, 0 if it cannot work at all
  bool operator==(const Rejected&) const = default;
};

// How one direction of one layer runs.
struct DirectionPlan {
  int layer = 0;
  bool reverse = false;
  std::variant<CpuPlan, GatherPlan, MmaPlan> choice;
  std::vector<CostPart> cost;
  std::int64_t packed_bytes = 0;     // weights as packed
  // The largest buffers that a session allocates beside the state: on a CPU all of them, on a GPU the input
  // projection's tile and the ring.
  std::int64_t workspace_bytes = 0;
  std::vector<Rejected> rejected;
  [[nodiscard]] double microseconds() const noexcept;  // the sum of `cost`
  [[nodiscard]] bool is_gpu() const noexcept { return !std::holds_alternative<CpuPlan>(choice); }
  [[nodiscard]] const GpuPlan& gpu() const;  // what strategies of a GPU share; only if is_gpu()
  bool operator==(const DirectionPlan&) const = default;
};

struct Plan {
  Device device;
  Problem problem;
  std::vector<DirectionPlan> directions;                    // as in the problem
  [[nodiscard]] std::int64_t state_bytes() const noexcept;  // h and c of all layers for the batch
  bool operator==(const Plan&) const = default;
};

// Wishes that override the planner's choice; a wish that cannot be met is an Error(unsupported) that says
// why.
struct PlanOptions {
  CpuWishes cpu;
  GpuWishes gpu;
};

// Throws Error(invalid_argument) for a problem out of range, Error(unsupported) where no candidate works or a
// wish cannot be met: the message has each reason.
[[nodiscard]] Plan make_plan(const Problem& problem, const Device& device, const PlanOptions& options = {});

// How many of the CPU's threads work on a direction: another would cost more in meeting than it saves. Only
// for plans of a CPU, and `direction` below plan.directions.size(): neither is checked.
[[nodiscard]] int threads_at_work(const Plan& plan, std::size_t direction);

[[nodiscard]] std::string to_json(const Plan& plan);
[[nodiscard]] Plan plan_from_json(std::string_view json);  // throws Error(format)
[[nodiscard]] std::string to_text(const Plan& plan);       // for people: what `sprnn explain` prints

}  // namespace sprnn
