#include "cli/load.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

namespace sprnn::cli {

namespace {

Device with_threads(Device device, int threads) {
  auto* cpu = std::get_if<CpuDescription>(&device.description);
  if (cpu != nullptr && threads > 0) cpu->threads = threads;
  return device;
}

// A file packed for a CPU runs on any.
bool same_target(const Device& a, const Device& b) { return a.is_gpu() || b.is_gpu() ? a == b : true; }

}  // namespace

bool is_device_name(std::string_view name) {
  return name == "cpu" || name == "local" ||
         std::ranges::any_of(known_gpus(), [&](const Device& gpu) { return gpu.name == name; });
}

Device find_target(const std::string& name, int threads) {
  try {
    return with_threads(find_device(name), threads);
  } catch (const Error& error) {
    const std::string message = error.what();
    if (message.find(name) != std::string::npos) throw;
    throw Error(error.code(), fmt::format("{}: {}", name, message));
  }
}

Target default_target(const std::string& engine, const Problem& problem, int threads) {
  Target target = choose_target(engine, problem);
  target.device = with_threads(std::move(target.device), threads);
  return target;
}

bool is_packed(const std::filesystem::path& path) {
  std::error_code ignored;  // a path that cannot be looked at cannot be read either, and reading says why
  const std::filesystem::file_status status = std::filesystem::status(path, ignored);
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status))
    throw Error(ErrorCode::io,
                fmt::format("{} is a {}: expected a .safetensors or a .sprnn file", path.string(),
                            std::filesystem::is_directory(status) ? "directory" : "pipe or a device"));
  return is_packed_file(path);
}

std::string choose_module(const Checkpoint& checkpoint, const std::optional<std::string>& wanted,
                          const std::filesystem::path& path) {
  try {
    return find_module(checkpoint, wanted).prefix;
  } catch (const Error& error) {
    const bool several = !wanted && error.code() == ErrorCode::invalid_argument;
    throw Error(error.code(),
                fmt::format("{}: {}{}", path.string(), error.what(), several ? "; give it as --prefix" : ""));
  }
}

Model read_module(const Checkpoint& checkpoint, const ReadOptions& options,
                  const std::filesystem::path& path) {
  try {
    return read_model(checkpoint, options);
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", path.string(), error.what()));
  }
}

std::shared_ptr<const Packed> load_packed_model(const ModelArguments& arguments) {
  auto packed = std::make_shared<const Packed>(load_packed(arguments.path));
  const Problem& problem = packed->plan.problem;
  const Cell& cell = problem.directions.front().cell;
  if (arguments.prefix)
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("--prefix {}: {} is a packed file, which holds one module: --prefix chooses among those "
                    "of a checkpoint",
                    *arguments.prefix, arguments.path.string()));
  if (arguments.dtype && *arguments.dtype != problem.dtype)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--dtype {}: {} was packed as {}: pack the checkpoint again with --dtype {}",
                            to_string(*arguments.dtype), arguments.path.string(), to_string(problem.dtype),
                            to_string(*arguments.dtype)));
  if (arguments.cell && *arguments.cell != cell)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--cell {}: {} was packed as {}: pack the checkpoint again with --cell {}",
                            to_string(*arguments.cell), arguments.path.string(), to_string(cell),
                            to_string(*arguments.cell)));
  return packed;
}

Model load_model(const ModelArguments& arguments) {
  if (is_packed(arguments.path)) return unpack(*load_packed_model(arguments));
  const Checkpoint checkpoint = load_checkpoint(arguments.path);
  const std::string prefix = choose_module(checkpoint, arguments.prefix, arguments.path);
  return read_module(checkpoint, {prefix, arguments.cell, arguments.dtype}, arguments.path);
}

std::shared_ptr<const Packed> load_for_engine(const ModelArguments& arguments, const EngineArguments& engine,
                                              int batch) {
  if (!is_packed(arguments.path)) return pack_for_engine(load_model(arguments), engine, batch);
  auto packed = load_packed_model(arguments);
  if (engine.target && !same_target(find_target(*engine.target, 0), packed->plan.device))
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("--target {}: {} was packed for {}: leave --target out, or pack it again for {}",
                    *engine.target, arguments.path.string(), packed->plan.device.name, *engine.target));
  if (engine.wishes != GpuWishes{})
    throw Error(ErrorCode::invalid_argument,
                fmt::format("options of the GPU plan (--groups, --no-stamps, ...) were given, but {} has its "
                            "plan in it: leave them out, or give them to `sprnn pack`",
                            arguments.path.string()));
  return packed;
}

std::shared_ptr<const Packed> pack_for_engine(const Model& model, const EngineArguments& engine, int batch) {
  const Device device = engine.target
                            ? find_target(*engine.target, engine.threads)
                            : default_target(engine.engine, describe(model, batch), engine.threads).device;
  return std::make_shared<const Packed>(
      pack(model, make_plan(describe(model, batch), device, {{}, engine.wishes})));
}

}  // namespace sprnn::cli
