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
  GpuWishes wishes;
  bool json = false;
};

struct Explained {
  Plan plan;
  std::string no_gpu;  // why the default is not the GPU that this machine has
};

// Without --target a packed file keeps the GPU that it was packed for; its processor may be another one.
Target find_explained_target(const Arguments& arguments, const Problem& problem,
                             const std::optional<Device>& packed_for) {
  if (arguments.target) return {find_target(*arguments.target, arguments.threads), ""};
  if (packed_for && packed_for->is_gpu()) return {*packed_for, ""};
  return default_target("auto", problem, arguments.threads);
}

Explained find_plan(const Arguments& arguments) {
  const Progress progress("planning");
  std::optional<Device> packed_for;
  if (is_packed(arguments.model.path)) {
    Plan plan = load_packed_model(arguments.model)->plan;
    if (!arguments.target && arguments.batch == 0 && arguments.threads == 0 &&
        arguments.wishes == GpuWishes{})
      return {std::move(plan), ""};
    packed_for = std::move(plan.device);
  }
  const Model model = load_model(arguments.model);
  const int batch = std::max(arguments.batch, 1);
  const Problem problem = describe(model, batch);
  const Target target = find_explained_target(arguments, problem, packed_for);
  return {make_plan(problem, target.device, {{}, arguments.wishes}), target.reason};
}

// Which engines of this machine would run it, the one that auto takes first.
std::string engines_text(const Explained& explained) {
  std::string text;
  if (!explained.no_gpu.empty())
    text += fmt::format("planned for the CPU, not for this machine's GPU: engine cuda {}\n",
                        printable(explained.no_gpu));
  text += "engines of this machine:\n";
  for (const Engine* engine : engines()) {
    const std::string refusal = engine->refusal(explained.plan);
    text += fmt::format("  {:<12} {}\n", engine->name(),
                        refusal.empty() ? "runs it" : "no: " + printable(refusal));
  }
  return text;
}

Json engines_json(const Plan& plan) {
  Json list = Json::array();
  for (const Engine* engine : engines())
    list.push_back({{"name", engine->name()}, {"refusal", engine->refusal(plan)}});
  return list;
}

ExitStatus explain(const Arguments& arguments) {
  const Explained explained = find_plan(arguments);
  const Plan& plan = explained.plan;
  if (!arguments.json) {
    print(to_text(plan) + engines_text(explained));
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
  if (!plan.device.is_gpu()) {
    for (std::size_t d = 0; d < plan.directions.size(); ++d)
      json["directions"][d]["threads_at_work"] = threads_at_work(plan, d);
  }
  json["us_per_step"] = microseconds;
  json["packed_bytes"] = packed;
  json["workspace_bytes"] = workspace;
  json["engines"] = engines_json(plan);
  json["no_gpu"] = explained.no_gpu;
  print_json(json);
  return done;
}

}  // namespace

Verb add_explain(CLI::App& root) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app =
      root.add_subcommand("explain", "Show the plan for a device, its predicted cost and what was rejected");
  add_model(*app, arguments->model);
  app->add_option("--target", arguments->target,
                  "cpu, h100, h200, a100, local or FILE.json; by default this machine's GPU if it runs the "
                  "model, else "
                  "its CPU")
      ->type_name("D");
  add_gpu_plan(*app, arguments->wishes);
  add_batch(*app, arguments->batch, "The batch to plan for; by default 1");
  add_threads(*app, arguments->threads);
  add_json(*app, arguments->json);
  teach(*app, R"(Prints how each layer and direction would run on the device: the layout of its matrices,
the predicted microseconds a timestep by part, the bytes (packed weights, workspace,
state), every candidate that was rejected with its reason, and which engines of this machine
would run it. A packed file shows the plan inside it; with --target, --batch, --threads or an
option of the GPU plan its weights are planned anew. No device is needed to plan for it.

Examples:
  sprnn explain model.safetensors --target h100 --batch 4
  sprnn explain model.safetensors --target h100 --batch 4 --groups 1 --no-stamps
  sprnn explain model.sprnn --json
)");
  return {app, [arguments] { return explain(*arguments); }};
}

}  // namespace sprnn::cli
