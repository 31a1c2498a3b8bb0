// Options that several verbs share, with the same names and meaning everywhere.
#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sprnn/sprnn.hpp"

namespace sprnn::cli {

// Which model, and how to read it.
struct ModelArguments {
  std::filesystem::path path;
  std::optional<std::string> prefix;
  std::optional<Cell> cell;
  std::optional<DType> dtype;
};

// How to run it.
struct EngineArguments {
  std::string engine = "auto";
  std::optional<std::string> target;  // what a checkpoint is planned for; absent: what the engine wants
  int threads = 0;
  std::string isa;
  GpuWishes wishes;               // of the GPU plan that a checkpoint gets
  double deadline_seconds = 0.0;  // 0: the engine's own
  std::filesystem::path code_dir;
};

void add_model(CLI::App& app, ModelArguments& model, bool required = true);  // MODEL and the three below
void add_prefix(CLI::App& app, std::optional<std::string>& prefix);
CLI::Option* add_cell(CLI::App& app, std::optional<Cell>& cell);
void add_dtype(CLI::App& app, std::optional<DType>& dtype, const std::string& by_default);

void add_engine(CLI::App& app, EngineArguments& engine);  // --engine, --threads, --isa, --deadline
void add_threads(CLI::App& app, int& threads);
void add_code_dir(CLI::App& app, EngineArguments& engine);
void add_run_target(CLI::App& app, EngineArguments& engine);  // --target of the verbs that run
// --groups, --no-stamps and the like, in a group of their own in --help.
void add_gpu_plan(CLI::App& app, GpuWishes& wishes);
void add_batch(CLI::App& app, int& batch, const std::string& meaning);
void add_steps(CLI::App& app, std::int64_t& steps,
               std::int64_t most = std::numeric_limits<std::int32_t>::max());
void add_seed(CLI::App& app, std::uint64_t& seed);
CLI::Option* add_size(CLI::App& app, const std::string& flag, std::int64_t& size, const std::string& meaning);
CLI::Option* add_pattern(CLI::App& app, Pattern& pattern);
CLI::Option* add_density(CLI::App& app, const std::string& flag, std::optional<double>& density,
                         const std::string& meaning);
CLI::Option* add_densities(CLI::App& app, const std::string& flag, std::vector<double>& densities,
                           const std::string& meaning);
void add_json(CLI::App& app, bool& json);

// What follows the options in a verb's --help: how to use it, then the exit statuses.
void teach(CLI::App& app, const std::string& text);

[[nodiscard]] SessionOptions session_options(const EngineArguments& engine, int batch);

// --isa, --code-dir and --deadline must belong to the engine that is going to run.
void check_engine_options(const EngineArguments& arguments, std::string_view engine);

}  // namespace sprnn::cli
