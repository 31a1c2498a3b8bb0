// Timing a whole layer against its peers, fairly (METHOD.md): what the verbs `bench` and `sweep` call.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sprnn/sprnn.hpp"

namespace sprnn::bench {

// Told how much is done, 0 to 1, and what is running now; an answer of false ends the work with
// Error(interrupted). Called between timed runs only.
using Progress = std::function<bool(double done, std::string_view what)>;

// A layer with random weights: where the pattern puts non-zeros, U(-1, 1) / sqrt(non-zeros of the row).
struct LayerSpec {
  Cell cell = lstm_cell();
  std::int64_t hidden_size = 1024;
  std::int64_t input_size = 0;  // 0: the hidden size
  double density = 1.0;
  std::optional<double> input_density = std::nullopt;  // absent: `density`
  Pattern pattern = {};
  DType dtype = DType::fp32;
};

[[nodiscard]] Model random_model(const LayerSpec& spec, std::uint64_t seed);

inline constexpr std::int64_t max_steps = 1'000'000;  // of a benchmark

struct BenchOptions {
  int batch = 1;
  std::int64_t steps = 256;
  std::string engine = "auto";
  int threads = 0;  // 0: as many as affinity and the cgroup quota allow; peers take the same number
  std::string isa;
  std::uint64_t seed = 0;
  bool peers = true;              // they run on the CPU: engine cuda has none
  std::string python;             // a Python that has torch, onnxruntime or sprnn: peers too; empty: none
  int rounds = 7;                 // turns that each contestant gets
  int device = 0;                 // cuda: which GPU
  double deadline_seconds = 0.0;  // cuda: this and the next as in SessionOptions
  std::filesystem::path code_dir;
  GpuWishes wishes = {};  // of the GPU plan, where one is made
  Progress progress;
};

struct Timing {
  double us_per_step = 0.0;  // median over repeats of (time of a run of all steps) / steps
  double us_per_step_min = 0.0;
  int repeats = 0;
  // Of the line through the medians at `steps` and at a fifth of them; absent below 10 steps.
  std::optional<double> slope_us_per_step;
  std::optional<double> intercept_us;
  std::vector<double> run_us = {};  // median, of each length that was timed
};

struct PeerResult {
  std::string name;     // "oneDNN fp32", "oneDNN bf16"
  std::string refused;  // why it was not measured, or empty; then the rest is set
  std::string version;
  std::string implementation;      // the peer's own word for the kernel that it chose
  double rel_error = 0.0;          // of its output against the float64 reference: it computes the same layer
  double us_per_step_alone = 0.0;  // median in its fresh process, before our engine's threads exist
  Timing timing;
};

// A part of a timestep as the plan predicted it and, where it can be told apart, as it was measured.
struct PredictedPart {
  std::string name;
  double predicted_us = 0.0;
  std::optional<double> measured_us;
};

// All by the GPU's clock.
struct GpuResult {
  std::string gpu;
  std::string plan;                    // in one line
  double recurrent_us_per_step = 0.0;  // the recurrent kernels alone: slope between 256 and 1280 steps
  double recurrent_intercept_us = 0.0;
  double first_call_us = 0.0;        // of all steps
  double repeated_call_us = 0.0;     // the same, median of the race
  std::vector<PredictedPart> parts;  // empty if the plan is for another batch
};

struct BenchResult {
  std::string cell;
  std::int64_t hidden_size = 0, input_size = 0, projection_size = 0, num_layers = 0;
  bool bidirectional = false;
  int batch = 0;
  std::int64_t steps = 0;
  double density = 0.0, input_density = 0.0;  // stored non-zeros / entries of all W_hh, of all W_ih
  DType dtype = DType::fp32;
  std::string engine, isa;
  int threads = 0, threads_at_work = 0;  // of the session; of those the most that a direction gains from
  double rel_error = 0.0;                // of our output against the float64 reference, first steps
  Timing timing;
  std::optional<GpuResult> gpu;  // engine cuda
  std::vector<PeerResult> peers;
  std::vector<std::string> warnings;  // what makes the figures doubtful
};

// Runs the packed model against the peers in turns. Throws Error(internal) if our output is wrong,
// Error(unsupported) if the model's own values leave its type's range, so that there is none to compare with.
[[nodiscard]] BenchResult bench(std::shared_ptr<const Packed> packed, const BenchOptions& options);
// The same, planned and packed for `options.engine` first: for what
// choose_target says.
[[nodiscard]] BenchResult bench(const Model& model, const BenchOptions& options);

// One object: us_per_step, us_per_step_min, threads, isa, dtype, peers: [{name, us_per_step, ...} or {name,
// refused}]; of engine cuda also gpu, recurrent_us_per_step and the rest of GpuResult.
[[nodiscard]] std::string to_json(const BenchResult& result);
[[nodiscard]] std::string to_text(const BenchResult& result);  // for people

struct SweepOptions {
  std::vector<double> densities;  // beside 1; empty: 0.5, 0.3, 0.2, 0.1, 0.05, or what pattern N:M leaves
  Pattern pattern;
  bool prune_input = true;      // W_ih too, to the same density
  std::optional<FloatArray> x;  // [T, B, I] or [T, I], finite, replaces batch and steps; absent: random
  std::string x_file;           // where it is from, for errors
  BenchOptions run;
};

struct SweepRow {
  double density = 0.0;    // asked for
  double reached = 0.0;    // stored non-zeros / entries of the pruned matrices
  double rel_error = 0.0;  // of our output against the dense float64 reference of the unpruned model
  Timing timing;
  double times_faster_than_dense = 0.0;          // than this engine at density 1
  std::optional<double> times_faster_than_peer;  // than the fp32 peer; absent if it refused
};

struct SweepResult {
  std::vector<SweepRow> rows;
  PeerResult peer;  // dense, fp32
  int batch = 0;
  std::int64_t steps = 0;
  DType dtype = DType::fp32;
  std::string engine, isa;
  int threads = 0;
  std::vector<std::string> warnings;
};

[[nodiscard]] SweepResult sweep(const Model& model, const SweepOptions& options);
[[nodiscard]] std::string to_json(const SweepResult& result);
[[nodiscard]] std::string to_text(const SweepResult& result);  // a small table

}  // namespace sprnn::bench
