// sprnn verify: an engine against the float64 reference, on random input.
#include <fmt/format.h>

#include <cmath>
#include <memory>

#include "cli/load.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/verbs.hpp"

namespace sprnn::cli {

namespace {

struct Arguments {
  ModelArguments model;
  EngineArguments engine;
  VerifyOptions options;
  bool json = false;
};

ExitStatus verify_model(const Arguments& arguments) {
  VerifyResult result;
  DType dtype{};
  {
    Progress progress("packing");
    const auto packed = load_for_engine(arguments.model, arguments.engine, arguments.options.batch);
    dtype = packed->plan.problem.dtype;
    VerifyOptions options = arguments.options;
    options.engine = find_engine(arguments.engine.engine, packed->plan).name();
    check_engine_options(arguments.engine, options.engine);
    options.threads = arguments.engine.threads;
    options.isa = arguments.engine.isa;
    options.deadline_seconds = arguments.engine.deadline_seconds;
    options.code_dir = arguments.engine.code_dir;
    progress.phase(fmt::format("running {} and the reference", options.engine));
    result = verify(packed, options);
  }
  result.rel_error = std::abs(result.rel_error);  // the NaN of inf / inf has a sign, which would be printed
  if (arguments.json)
    print_json({{"engine", result.engine},
                {"dtype", to_string(dtype)},
                {"batch", arguments.options.batch},
                {"steps", arguments.options.steps},
                {"seed", arguments.options.seed},
                {"rel_error", result.rel_error},
                {"bound", result.bound},
                {"overflow_step", result.overflow_step ? Json(*result.overflow_step) : Json()},
                {"passed", result.passed}});
  else
    print(fmt::format(
        "{} against the float64 reference, {}, batch {}, {} step{}, seed {}: relative error {:.3g}, "
        "bound {:.3g}: {}{}\n",
        result.engine, to_string(dtype), arguments.options.batch, arguments.options.steps,
        arguments.options.steps == 1 ? "" : "s", arguments.options.seed, result.rel_error, result.bound,
        result.passed ? "passed" : "FAILED",
        result.overflow_step
            ? fmt::format(": with this input the model's own values leave the range of {} at timestep {}, "
                          "whatever runs it",
                          to_string(dtype), *result.overflow_step)
            : ""));
  return result.passed ? done : check_failed;
}

}  // namespace

Verb add_verify(CLI::App& root) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app =
      root.add_subcommand("verify", "Check an engine against the float64 reference on random input");
  add_model(*app, arguments->model);
  add_batch(*app, arguments->options.batch, "Sequences side by side; by default 1");
  add_steps(*app, arguments->options.steps);
  add_engine(*app, arguments->engine);
  add_code_dir(*app, arguments->engine);
  add_run_target(*app, arguments->engine);
  add_gpu_plan(*app, arguments->engine.wishes);
  add_seed(*app, arguments->options.seed);
  add_json(*app, arguments->json);
  teach(*app, R"(Runs random input [T, B, I] from random states through the engine and through the textbook
reference, and compares outputs and final states: rel_error is ||out - ref|| / ||ref||.
It passes when rel_error is at most the bound: the larger of a fixed figure (fp32 1e-5,
fp16 2e-3, bf16 1.5e-2) and twice the error of a naive loop in the same precision. Of
the outputs and the final states, what is nearest to its bound is shown.

Examples:
  sprnn verify model.sprnn --batch 4 --steps 256
  sprnn verify model.safetensors --engine interpreter --dtype fp16 --batch 1 --steps 64 --json
)");
  return {app, [arguments] { return verify_model(*arguments); }};
}

}  // namespace sprnn::cli
