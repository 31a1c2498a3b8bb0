// sprnn pack: a checkpoint's module, planned and packed for a device, as a .sprnn file.
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
  std::filesystem::path out;
  std::optional<std::string> target;
  GpuWishes wishes;
  int threads = 0;
  int batch = 1;
  bool json = false;
};

std::string direction_name(const DirectionPlan& direction) {
  return fmt::format("layer {}{}", direction.layer, direction.reverse ? ", reverse" : "");
}

std::string report_text(const Packed& packed) {
  std::string text;
  for (std::size_t i = 0; i < packed.directions.size(); ++i) {
    const DirectionPlan& direction = packed.plan.directions[i];
    Table table({direction_name(direction), "", ""});
    for (const PackFigure& figure : pack_report(packed, i))
      table.add({"  " + figure.name, fmt::format("{:.6g}", figure.value), figure.unit});
    text += table.text();
  }
  return text;
}

Json report_json(const Packed& packed) {
  Json list = Json::array();
  for (std::size_t i = 0; i < packed.directions.size(); ++i) {
    const DirectionPlan& direction = packed.plan.directions[i];
    Json figures = Json::array();
    for (const PackFigure& figure : pack_report(packed, i))
      figures.push_back({{"name", figure.name}, {"value", figure.value}, {"unit", figure.unit}});
    list.push_back({{"layer", direction.layer}, {"reverse", direction.reverse}, {"figures", figures}});
  }
  return list;
}

void check_output(const Arguments& arguments) {
  check_writable(arguments.out);
  make_room_for(arguments.out);
  if (same_file(arguments.out, arguments.model.path) && !is_packed(arguments.model.path))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("output {} is the checkpoint itself: give the packed file a name of its own",
                            arguments.out.string()));
  if (arguments.target && !is_device_name(*arguments.target) && same_file(arguments.out, *arguments.target))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("output {} is the file of --target: give the packed file a name of its own",
                            arguments.out.string()));
}

ExitStatus pack_file(const Arguments& arguments) {
  check_output(arguments);
  Packed packed;
  {
    Progress progress("reading " + printable(arguments.model.path.string()));
    const Model model = load_model(arguments.model);
    const Device device =
        arguments.target ? find_target(*arguments.target, arguments.threads)
                         : default_target("auto", describe(model, arguments.batch), arguments.threads).device;
    progress.phase("planning for " + printable(device.name));
    const Plan plan = make_plan(describe(model, arguments.batch), device, {{}, arguments.wishes});
    progress.phase("packing");
    packed = pack(model, plan);
    progress.phase("writing " + printable(arguments.out.string()));
    save_packed(packed, arguments.out);
  }
  const std::string device = packed.plan.device.name;
  if (arguments.json)
    print_json({{"output", arguments.out.string()},
                {"device", device},
                {"batch", arguments.batch},
                {"dtype", to_string(packed.plan.problem.dtype)},
                {"packed_bytes", packed.bytes()},
                {"directions", report_json(packed)}});
  else
    print(fmt::format("packed for {}, best at batch {}: {} of weights as {}\n{}", printable(device),
                      arguments.batch, bytes_text(packed.bytes()), to_string(packed.plan.problem.dtype),
                      report_text(packed)));
  return done;
}

}  // namespace

Verb add_pack(CLI::App& root) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app =
      root.add_subcommand("pack", "Plan a model for a device and pack its weights into a .sprnn file");
  app->add_option("IN", arguments->model.path, "A .safetensors checkpoint, or a .sprnn file to pack anew")
      ->required()
      ->type_name("");
  app->add_option("OUT", arguments->out, "The .sprnn file to write; may be IN if that is one")
      ->required()
      ->type_name("");
  app->add_option("--target", arguments->target,
                  "cpu, h100, h200, a100, local or FILE.json; by default this machine's GPU if it runs the "
                  "model, else "
                  "its CPU")
      ->type_name("D");
  add_gpu_plan(*app, arguments->wishes);
  add_batch(*app, arguments->batch,
            "The batch to plan for, a hint: the file runs at any batch; by default 1");
  add_prefix(*app, arguments->model.prefix);
  add_cell(*app, arguments->model.cell);
  add_dtype(*app, arguments->model.dtype, "the checkpoint's");
  add_threads(*app, arguments->threads);
  add_json(*app, arguments->json);
  teach(*app, R"(Makes the plan that `sprnn explain` shows and lays the non-zeros out as the engine reads
them. The file holds data only and loads without planning. FILE.json is a device
description as `sprnn devices NAME --json` prints it; local is this machine's GPU, else its CPU.
The report says how well packing went: bytes, padding, for a GPU the shared-memory
wavefronts a load before and after ordering and the balance between CTAs.

Examples:
  sprnn pack pruned.safetensors model.sprnn --target cpu
  sprnn pack pruned.safetensors model.sprnn --target h100 --batch 4 --dtype fp16
)");
  return {app, [arguments] { return pack_file(*arguments); }};
}

}  // namespace sprnn::cli
