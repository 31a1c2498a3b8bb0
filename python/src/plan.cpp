// Plans, packed models, devices and engines.
#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <charconv>
#include <memory>

#include "bindings.hpp"
#include "errors.hpp"
#include "model.hpp"
#include "sprnn/cuda.hpp"
#include "sprnn/verify.hpp"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace sprnn::python {

namespace {

// As find_device, and "cuda" or "cuda:1" for a GPU of this machine.
Device device_for(const std::string& target, int threads) {
  try {
    if (target == "cuda") return find_gpu(0);
    int ordinal = 0;
    if (target.starts_with("cuda:")) {
      const char* const end = target.data() + target.size();
      const auto [rest, failure] = std::from_chars(target.data() + 5, end, ordinal);
      if (failure == std::errc() && rest == end && ordinal >= 0) return find_gpu(ordinal);
    }
    Device device = find_device(target);
    auto* cpu = std::get_if<CpuDescription>(&device.description);
    if (cpu != nullptr && threads > 0) cpu->threads = threads;
    return device;
  } catch (const Error& error) {  // which may not name the file
    throw Error(error.code(), fmt::format("target '{}': {}", target, error.what()));
  }
}

Plan plan(const SourcedModel& model, const std::string& target, int batch, int threads) {
  if (batch < 1)
    throw Error(ErrorCode::invalid_argument, fmt::format("batch is {}: expected 1 or more", batch));
  return make_plan(describe(model.model, batch), device_for(target, threads));
}

// For the device that suits the engine, and why that is not the GPU that this machine has.
std::pair<Plan, std::string> chosen_plan(const SourcedModel& model, const std::string& engine, int batch,
                                         int threads) {
  if (batch < 1)
    throw Error(ErrorCode::invalid_argument, fmt::format("batch is {}: expected 1 or more", batch));
  const Problem problem = describe(model.model, batch);
  Target target = choose_target(engine, problem);
  auto* cpu = std::get_if<CpuDescription>(&target.device.description);
  if (cpu != nullptr && threads > 0) cpu->threads = threads;
  return {make_plan(problem, target.device), std::move(target.reason)};
}

double microseconds(const Plan& plan) {
  double total = 0.0;
  for (const DirectionPlan& direction : plan.directions) total += direction.microseconds();
  return total;
}

PackedModel load(const std::filesystem::path& path) {
  check_exists(path);
  return {std::make_shared<const Packed>(load_packed(path))};
}

// Name and refusal of every engine, the preferred first; an empty refusal is a yes.
std::vector<std::pair<std::string, std::string>> refusals(const Plan& plan) {
  std::vector<std::pair<std::string, std::string>> all;
  for (const Engine* engine : engines()) all.emplace_back(engine->name(), engine->refusal(plan));
  return all;
}

std::tuple<std::string, double, double, bool> verify_packed(const PackedModel& model,
                                                            const std::string& engine, int batch,
                                                            std::int64_t steps, std::uint64_t seed,
                                                            int threads, const std::string& isa) {
  const VerifyResult result = verify(model.packed, {engine, batch, steps, seed, threads, isa});
  return {result.engine, result.rel_error, result.bound, result.passed};
}

}  // namespace

void bind_plan(nb::module_& module) {
  const auto released = nb::call_guard<nb::gil_scoped_release>();
  nb::class_<Plan>(
      module, "Plan",
      "Every decision about how a model will run on a device, as plain data; str() is for people.")
      .def_static(
          "from_json", [](const std::string& json) { return plan_from_json(json); }, "json"_a)
      .def("to_json", [](const Plan& p) { return to_json(p); })
      .def("__str__", [](const Plan& p) { return to_text(p); })
      .def_prop_ro("device", [](const Plan& p) { return p.device.name; })
      .def_prop_ro(
          "batch", [](const Plan& p) { return p.problem.batch; }, "The batch that the plan is best for.")
      .def_prop_ro("us_per_step", &microseconds, "Predicted microseconds a timestep.")
      .def("refusals", &refusals,
           "Name and refusal of every engine, the preferred first; an empty refusal is a yes.");
  module.def("make_plan", &plan, "model"_a, "target"_a, "batch"_a, "threads"_a, released);
  module.def("choose_plan", &chosen_plan, "model"_a, "engine"_a, "batch"_a, "threads"_a, released);

  nb::class_<PackedModel>(module, "Packed")
      .def_static("load", &load, "path"_a, released)
      .def_prop_ro("plan", [](const PackedModel& m) { return m.packed->plan; })
      .def_prop_ro("bytes", [](const PackedModel& m) { return m.packed->bytes(); })
      .def(
          "unpack",
          [](const PackedModel& m) {
            return SourcedModel{unpack(*m.packed), nullptr, ""};
          },
          released)
      .def(
          "save",
          [](const PackedModel& m, const std::filesystem::path& path) { save_packed(*m.packed, path); },
          "path"_a, released)
      .def("verify", &verify_packed, "engine"_a, "batch"_a, "steps"_a, "seed"_a, "threads"_a, "isa"_a,
           released);
  module.def(
      "pack",
      [](const SourcedModel& model, const Plan& plan) {
        return PackedModel{std::make_shared<const Packed>(pack(model.model, plan))};
      },
      "model"_a, "plan"_a, released);
  module.def(
      "is_packed_file",
      [](const std::filesystem::path& path) {
        check_exists(path);
        return is_packed_file(path);
      },
      "path"_a);

  module.def(
      "device_json", [](const std::string& target) { return to_json(device_for(target, 0)); }, "target"_a);
  module.def("cpu_isas", &cpu_isas);
  module.def("gpu_count", &gpu_count);
  module.def("engines", [] {
    std::vector<std::string> names;
    for (const Engine* engine : engines()) names.emplace_back(engine->name());
    return names;
  });
}

}  // namespace sprnn::python
