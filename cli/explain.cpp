// sprnn explain: the plan, what it is predicted to cost, and what was rejected and why.
#include <fmt/format.h>

#include <memory>

#include "cli/load.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/verbs.hpp"

namespace sprnn::cli {

namespace {

struct Arguments {
  ModelArguments model;
  std::optional<std::string> target;
  int threads = 0;
  int batch = 0;  // 0: not given
  bool json = false;
};

Plan find_plan(const Arguments& arguments) {
  const Progress progress("planning");
  const bool as_packed = !arguments.target && arguments.batch == 0 && arguments.threads == 0;
  if (as_packed && is_packed(arguments.model.path)) return load_packed_model(arguments.model)->plan;
  const Model model = load_model(arguments.model);
  return make_plan(describe(model, std::max(arguments.batch, 1)),
                   find_target(arguments.target.value_or("local"), arguments.threads));
}

ExitStatus explain(const Arguments& arguments) {
  const Plan plan = find_plan(arguments);
  if (!arguments.json) {
    print(to_text(plan));
    return done;
  }
  Json json = Json::parse(to_json(plan));
  double microseconds = 0.0;
  std::int64_t packed = 0, workspace = 0;
  for (const DirectionPlan& direction : plan.directions) {
    microseconds += direction.microseconds();
    packed += direction.packed_bytes;
    workspace += direction.workspace_bytes;
  }
  json["us_per_step"] = microseconds;
  json["packed_bytes"] = packed;
  json["workspace_bytes"] = workspace;
  print_json(json);
  return done;
}

}  // namespace

Verb add_explain(CLI::App& root) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app =
      root.add_subcommand("explain", "Show the plan for a device, its predicted cost and what was rejected");
  add_model(*app, arguments->model);
  app->add_option("--target", arguments->target, "cpu, h100, h200, a100, local (default) or FILE.json")
      ->type_name("D");
  add_batch(*app, arguments->batch, "The batch to plan for; by default 1");
  add_threads(*app, arguments->threads);
  add_json(*app, arguments->json);
  teach(*app, R"(Prints how each layer and direction would run on the device: the layout of its matrices,
the predicted microseconds a timestep by part, the bytes (packed weights, workspace,
state), and every candidate that was rejected with its reason. A packed file shows the plan
inside it; with --target, --batch or --threads its weights are planned anew. No device is needed to
plan for it.

Examples:
  sprnn explain model.safetensors --target h100 --batch 4
  sprnn explain model.sprnn --json
)");
  return {app, [arguments] { return explain(*arguments); }};
}

}  // namespace sprnn::cli
