// sprnn compile: machine code for a packed model's kernels, for machines without NVRTC.
#include <fmt/format.h>

#include <memory>

#include "cli/load.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/verbs.hpp"

namespace sprnn::cli {

namespace {

struct Arguments {
  std::filesystem::path model, out;
  std::optional<std::string> target;
  bool json = false;
};

void check_out(const std::filesystem::path& out) {
  if (out.empty()) throw Error(ErrorCode::invalid_argument, "--out is '': expected a directory");
  std::error_code ignored;  // what cannot be looked at cannot be made either, and making it says why
  if (std::filesystem::exists(out, ignored) && !std::filesystem::is_directory(out, ignored))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--out {} is a file: expected a directory", out.string()));
}

ExitStatus compile_model(const Arguments& arguments) {
  check_out(arguments.out);
  std::vector<CompiledKernel> kernels;
  Device device;
  {
    Progress progress("compiling");
    if (!is_packed(arguments.model))
      throw Error(
          ErrorCode::invalid_argument,
          fmt::format("{} is not a packed file: `sprnn pack` it first, for the code belongs to its plan",
                      arguments.model.string()));
    const Packed packed = load_packed(arguments.model);
    device = arguments.target ? find_target(*arguments.target, 0) : packed.plan.device;
    if (!device.is_gpu())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{} is a CPU: code is compiled for a GPU, --target h100 for one", device.name));
    kernels = compile_code(packed.plan, device.gpu().compute_capability, arguments.out);
  }
  if (arguments.json) {
    Json list = Json::array();
    for (const CompiledKernel& kernel : kernels)
      list.push_back({{"cubin", kernel.cubin},
                      {"ptx", kernel.ptx},
                      {"registers", kernel.registers},
                      {"stack_bytes", kernel.stack_bytes},
                      {"spill_bytes", kernel.spill_bytes}});
    print_json({{"output", arguments.out.string()},
                {"device", device.name},
                {"compute_capability", device.gpu().compute_capability},
                {"kernels", list}});
    return done;
  }
  Table table({"kernel", "registers", "stack", "spills"});
  for (const CompiledKernel& kernel : kernels)
    table.add({kernel.cubin, fmt::format("{}", kernel.registers), bytes_text(kernel.stack_bytes),
               bytes_text(kernel.spill_bytes)});
  print(fmt::format("compiled for sm_{} ({}), run with --code-dir {}\n{}", device.gpu().compute_capability,
                    printable(device.name), printable(arguments.out.string()), table.text()));
  return done;
}

}  // namespace

Verb add_compile(CLI::App& root) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = root.add_subcommand(
      "compile", "Compile a packed model's GPU kernels ahead, for machines without NVRTC");
  app->add_option("MODEL", arguments->model, "A .sprnn file, packed for a GPU")->required()->type_name("");
  app->add_option(
         "--target", arguments->target,
         "The GPU: h100, h200, a100, local or FILE.json; by default the one that MODEL was packed for")
      ->type_name("D");
  app->add_option("--out", arguments->out, "The directory to write, made with its parents if there is none")
      ->required()
      ->type_name("DIR");
  add_json(*app, arguments->json);
  teach(*app, R"(Engine cuda compiles its kernels for the plan when a model is loaded, by NVRTC. Where that is
not installed, compile them here and take the directory along: cubins, which run on exactly
the target's compute capability, PTX, which the driver of a newer GPU compiles, and
manifest.json with the SHA-256 of each. An engine uses the directory only when told to
(--code-dir), and then refuses files that are missing or not those of the manifest. That catches
damage and mix-ups, not somebody who may write to the directory: trust it as you trust a program.
A .sprnn file never holds machine code. No GPU is needed to compile.

Examples:
  sprnn compile model.sprnn --target h100 --out code
  sprnn run model.sprnn --code-dir code --input x.npy --output y.npy
)");
  return {app, [arguments] { return compile_model(*arguments); }};
}

}  // namespace sprnn::cli
