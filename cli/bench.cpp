// sprnn bench: a whole layer timed against its peers.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <memory>
#include <sstream>
#include <string>

#include "bench/bench.hpp"
#include "cli/load.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/verbs.hpp"

namespace sprnn::cli {

namespace {

struct Arguments {
  ModelArguments model;
  EngineArguments engine;
  std::int64_t hidden_size = 0, input_size = 0;
  std::optional<double> density, input_density;
  Pattern pattern;
  bench::BenchOptions options;
  bool no_peers = false;
  bool json = false;
};

std::shared_ptr<const Packed> random_layer(const Arguments& arguments) {
  if (!arguments.model.cell && arguments.hidden_size != 0)
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("--hidden {}: of which cell? Add --cell lstm, gru, tanh or relu", arguments.hidden_size));
  if (!arguments.model.cell || arguments.hidden_size == 0)
    throw Error(ErrorCode::invalid_argument,
                "bench what? Give a MODEL, or a layer of random weights: --cell lstm --hidden 1024");
  if (arguments.model.prefix)
    throw Error(ErrorCode::invalid_argument, "--prefix chooses a module of a MODEL, and none was given");
  bench::LayerSpec spec;
  spec.cell = *arguments.model.cell;
  spec.hidden_size = arguments.hidden_size;
  spec.input_size = arguments.input_size;
  spec.density = arguments.density.value_or(1.0);
  spec.input_density = arguments.input_density;
  spec.pattern = arguments.pattern;
  spec.dtype = arguments.model.dtype.value_or(DType::fp32);
  return pack_for_engine(bench::random_model(spec, arguments.options.seed), arguments.engine,
                         arguments.options.batch);
}

bool is_program(const std::filesystem::path& path) {
  std::error_code ignored;  // what cannot be looked at cannot be started either
  return std::filesystem::is_regular_file(path, ignored) && ::access(path.c_str(), X_OK) == 0;
}

// As posix_spawnp looks for it, which starts it later.
bool is_on_path(const std::string& program) {
  if (program.find('/') != std::string::npos) return is_program(program);
  const char* variable = std::getenv("PATH");
  std::istringstream folders(variable == nullptr ? "/bin:/usr/bin" : variable);
  for (std::string folder; std::getline(folders, folder, ':');)
    if (is_program(std::filesystem::path(folder) / program)) return true;
  return false;
}

// Before a race without the peers that were asked for.
void check_python(const std::string& program) {
  if (!is_on_path(program))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--python is '{}': expected a program, by its path or found in PATH", program));
}

ExitStatus bench_layer(const Arguments& arguments) {
  bench::BenchResult result;
  {
    Progress progress("packing");
    const auto packed = arguments.model.path.empty()
                            ? random_layer(arguments)
                            : load_for_engine(arguments.model, arguments.engine, arguments.options.batch);
    bench::BenchOptions options = arguments.options;
    options.engine = find_engine(arguments.engine.engine, packed->plan).name();
    check_engine_options(arguments.engine, options.engine);
    options.threads = arguments.engine.threads;
    options.isa = arguments.engine.isa;
    options.deadline_seconds = arguments.engine.deadline_seconds;
    options.code_dir = arguments.engine.code_dir;
    options.peers = !arguments.no_peers;
    options.progress = [&progress](double part, std::string_view what) {
      return progress.report(part, what);
    };
    result = bench::bench(packed, options);
  }
  if (arguments.json)
    print_json(Json::parse(bench::to_json(result)));
  else
    print(bench::to_text(result));
  return done;
}

}  // namespace

Verb add_bench(CLI::App& root) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = root.add_subcommand("bench", "Time a layer against its peers");
  CLI::Option* model = app->add_option("MODEL", arguments->model.path,
                                       "A checkpoint or packed file; without it, random weights")
                           ->type_name("");
  add_cell(*app, arguments->model.cell);
  // What describes a layer of random weights means nothing for a MODEL.
  for (CLI::Option* option :
       {add_size(*app, "--hidden", arguments->hidden_size, "Hidden size of the random layer"),
        add_size(*app, "--input", arguments->input_size, "Its input size; by default the hidden size"),
        add_density(*app, "--density", arguments->density, "Density of its W_hh, 0 to 1; by default 1"),
        add_density(*app, "--input-density", arguments->input_density,
                    "Density of its W_ih; by default --density"),
        add_pattern(*app, arguments->pattern)})
    option->excludes(model);
  add_prefix(*app, arguments->model.prefix);
  add_dtype(*app, arguments->model.dtype, "the checkpoint's, fp32 for random weights");
  add_batch(*app, arguments->options.batch, "Sequences side by side; by default 1");
  add_steps(*app, arguments->options.steps, bench::max_steps);
  add_engine(*app, arguments->engine);
  add_code_dir(*app, arguments->engine);
  add_run_target(*app, arguments->engine);
  add_gpu_plan(*app, arguments->engine.wishes);
  add_seed(*app, arguments->options.seed);
  const auto set_python = [&python = arguments->options.python](const std::string& program) {
    check_python(program);
    python = program;
  };
  CLI::Option* python =
      app->add_option_function<std::string>("--python", set_python,
                                            "A Python that has PyTorch, onnxruntime or sprnn: they race too")
          ->type_name("PROGRAM");
  app->add_flag("--no-peers", arguments->no_peers, "Time our engine alone")->excludes(python);
  add_json(*app, arguments->json);
  teach(*app, R"(Times a whole layer, input projection included, in turns with its peers: the same layer,
dense, in the libraries that people use (oneDNN in fp32 and bf16), with as many threads.
Figures are microseconds a timestep, median and minimum. A peer that cannot run the layer
is listed with its reason. --python adds torch.nn, onnxruntime, and sprnn.torch's layer on
the pruned weights. bench/METHOD.md says how the race is kept fair. With --engine cuda
the input and the output lie on the GPU, the GPU's clock takes the time, the recurrent part
is timed on its own too and set beside the plan's prediction, and no peers run.

Examples:
  sprnn bench --cell lstm --hidden 1024 --density 0.1 --batch 1 --steps 256 --json
  sprnn bench --cell gru --hidden 384 --density 0.3 --pattern block:8x4
  sprnn bench model.sprnn --batch 4
  sprnn bench --engine cuda --cell lstm --hidden 2048 --density 0.1 --batch 4 --dtype fp16 --steps 1280
)");
  return {app, [arguments] { return bench_layer(*arguments); }};
}

}  // namespace sprnn::cli
