// sprnn devices: what this machine has, and the descriptions that plans can be made for.
#include <fmt/format.h>

#include <memory>

#include "cli/load.hpp"
#include "cli/output.hpp"
#include "cli/verbs.hpp"

namespace sprnn::cli {

namespace {

struct Arguments {
  std::optional<std::string> name;  // absent: all of them
  bool json = false;
};

std::string describe_device(const Device& device) {
  if (device.is_gpu()) {
    const GpuDescription& gpu = device.gpu();
    return fmt::format("sm_{}, {} SMs, {} shared memory a CTA, {} L2, clusters of up to {}",
                       gpu.compute_capability, gpu.sm_count, bytes_text(gpu.shared_bytes_per_block),
                       bytes_text(gpu.l2_bytes), gpu.max_cluster_size);
  }
  const CpuDescription& cpu = device.cpu();
  return fmt::format("{}, {} thread{}, caches {} L1 and {} L2 a core, {} L3", cpu.isa, cpu.threads,
                     cpu.threads == 1 ? "" : "s", bytes_text(cpu.l1_bytes), bytes_text(cpu.l2_bytes),
                     bytes_text(cpu.l3_bytes));
}

ExitStatus list_devices(const Arguments& arguments) {
  if (arguments.name) {
    const Device device = find_target(*arguments.name, 0);
    if (arguments.json)
      print_json(Json::parse(to_json(device)));
    else
      print(fmt::format("{}: {}\n", printable(device.name), describe_device(device)));
    return done;
  }
  const Device cpu = this_cpu();
  if (arguments.json) {
    Json known = Json::array(), gpus = Json::array();
    for (int i = 0; i < gpu_count(); ++i) gpus.push_back(Json::parse(to_json(find_gpu(i))));
    for (const Device& gpu : known_gpus()) known.push_back(Json::parse(to_json(gpu)));
    print_json({{"cpu", Json::parse(to_json(cpu))}, {"isas", cpu_isas()}, {"cuda", gpus}, {"known", known}});
    return done;
  }
  std::string text = fmt::format("This machine:\n  cpu   {}; can run {}\n", describe_device(cpu),
                                 fmt::join(cpu_isas(), ", "));
  for (int i = 0; i < gpu_count(); ++i) {
    const Device gpu = find_gpu(i);
    text += fmt::format("  cuda  {}: {}\n", gpu.name, describe_device(gpu));
  }
  if (gpu_count() == 0) text += "  cuda  no GPU to run on\n";
  text += "Known descriptions, which plans and packs can be made for:\n";
  for (const Device& gpu : known_gpus()) text += fmt::format("  {:<5} {}\n", gpu.name, describe_device(gpu));
  print(text);
  return done;
}

}  // namespace

Verb add_devices(CLI::App& root) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app =
      root.add_subcommand("devices", "List this machine's devices and the known device descriptions");
  app->add_option("DEVICE", arguments->name, "Only this one: cpu, h100, h200, a100, local or FILE.json")
      ->type_name("");
  add_json(*app, arguments->json);
  teach(*app, R"(Lists the processor (threads that affinity and the cgroup quota allow, instruction sets,
caches) and the GPUs of this machine, and the GPUs that --target knows by name. With a DEVICE
and --json it prints one description, which --target FILE.json reads back: change a figure
there to plan for a device that has no name here. local is this machine's GPU if it has one.

Examples:
  sprnn devices
  sprnn devices h100 --json > my-h100.json
  sprnn devices local --json > this-gpu.json
)");
  return {app, [arguments] { return list_devices(*arguments); }};
}

}  // namespace sprnn::cli
