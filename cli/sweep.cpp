// sprnn sweep: a model pruned to several densities, speed against accuracy.
#include <fmt/format.h>

#include <memory>

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
  std::optional<std::filesystem::path> input;
  bench::SweepOptions options;
  bool keep_input = false;
  bool json = false;
};

ExitStatus sweep_model(const Arguments& arguments) {
  bench::SweepResult result;
  {
    Progress progress("reading");
    bench::SweepOptions options = arguments.options;
    if (arguments.input) {
      options.x = load_npy_floats(*arguments.input);
      options.x_file = arguments.input->string();
    }
    options.prune_input = !arguments.keep_input;
    if (arguments.engine.engine != "auto") check_engine_options(arguments.engine, arguments.engine.engine);
    options.run.engine = arguments.engine.engine;
    options.run.threads = arguments.engine.threads;
    options.run.isa = arguments.engine.isa;
    options.run.deadline_seconds = arguments.engine.deadline_seconds;
    options.run.wishes = arguments.engine.wishes;
    options.run.progress = [&progress](double part, std::string_view what) {
      return progress.report(part, what);
    };
    result = bench::sweep(load_model(arguments.model), options);
  }
  if (arguments.json)
    print_json(Json::parse(bench::to_json(result)));
  else
    print(bench::to_text(result));
  return done;
}

}  // namespace

Verb add_sweep(CLI::App& root) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app =
      root.add_subcommand("sweep", "Prune a model to several densities and show speed against accuracy");
  add_model(*app, arguments->model);
  CLI::Option* input =
      app->add_option("--input", arguments->input, "x (.npy), [T, B, I] or [T, I]; by default random")
          ->type_name("F");
  add_densities(*app, "--densities", arguments->options.densities,
                "By default 1,0.5,0.3,0.2,0.1,0.05; with N:M what that leaves");
  add_pattern(*app, arguments->options.pattern);
  app->add_flag("--keep-input", arguments->keep_input, "Prune W_hh only, not W_ih");
  add_batch(*app, arguments->options.run.batch, "Sequences side by side, without --input; by default 1");
  add_steps(*app, arguments->options.run.steps, bench::max_steps);
  app->get_option("--batch")->excludes(input);
  app->get_option("--steps")->excludes(input);
  add_engine(*app, arguments->engine);
  add_gpu_plan(*app, arguments->engine.wishes);
  add_seed(*app, arguments->options.run.seed);
  add_json(*app, arguments->json);
  teach(*app, R"(Prunes the model's weights by magnitude to each density, runs it, and prints a table: the
density reached (--json has the one asked for as well), the error against the dense
float64 reference of the unpruned model, microseconds a timestep, and how many times
faster that is than this engine at density 1 and than oneDNN's dense layer. The model's
file stays as it is. Your own x (--input) gives the error that matters to you; random
input is only a stand-in.

Examples:
  sprnn sweep model.safetensors
  sprnn sweep model.safetensors --input x.npy --densities 0.3,0.2,0.1 --pattern block:8x4
)");
  return {app, [arguments] { return sweep_model(*arguments); }};
}

}  // namespace sprnn::cli
