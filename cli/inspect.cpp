// sprnn inspect: what recurrent modules a file holds, and where their non-zeros are.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <unordered_map>
#include <utility>

#include "cli/load.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/verbs.hpp"

namespace sprnn::cli {

namespace {

struct Arguments {
  ModelArguments model;
  bool json = false;
};

// Rows whose count of non-zeros lies in [from, to].
struct Bin {
  int from = 0, to = 0;
  std::int64_t rows = 0;
};

std::vector<Bin> histogram(const std::vector<std::int32_t>& counts) {
  constexpr int most_bins = 10;
  const auto [least, most] = std::minmax_element(counts.begin(), counts.end());
  const int width = (*most - *least) / most_bins + 1;
  std::vector<Bin> bins;
  for (int from = *least; from <= *most; from += width)
    bins.push_back({from, std::min(from + width - 1, *most), 0});
  for (const std::int32_t count : counts) ++bins[static_cast<std::size_t>((count - *least) / width)].rows;
  return bins;
}

std::int32_t median(std::vector<std::int32_t> counts) {
  const auto middle = counts.begin() + static_cast<std::ptrdiff_t>(counts.size() / 2);
  std::nth_element(counts.begin(), middle, counts.end());
  return *middle;
}

struct NamedMatrix {
  std::string name;
  const MatrixSummary* matrix;
};

std::vector<NamedMatrix> matrices(const Problem& problem) {
  std::vector<NamedMatrix> result;
  for (const DirectionProblem& direction : problem.directions) {
    const std::string suffix = parameter_suffix(direction.layer, direction.reverse);
    result.push_back({"weight_ih" + suffix, &direction.w_ih});
    result.push_back({"weight_hh" + suffix, &direction.w_hh});
    if (direction.w_hr.rows > 0) result.push_back({"weight_hr" + suffix, &direction.w_hr});
  }
  return result;
}

std::int64_t negative_zeros(const Model& model) {
  std::int64_t count = 0;
  for (const Layer& layer : model.layers) {
    for (const Direction& direction : layer.directions) {
      for (const Matrix* matrix : {&direction.w_ih, &direction.w_hh, &direction.w_hr})
        count += std::count_if(matrix->values.begin(), matrix->values.end(),
                               [](float w) { return w == 0.0F && std::signbit(w); });
    }
  }
  return count;
}

std::string matrices_text(const Problem& problem) {
  std::string text;
  for (const auto& [name, matrix] : matrices(problem)) {
    text += fmt::format("  {} [{}, {}]: density {:.4f}, {} non-zeros; rows by non-zeros:\n", name,
                        matrix->rows, matrix->cols, matrix->density(), matrix->nonzeros());
    const std::vector<Bin> bins = histogram(matrix->row_nonzeros);
    std::int64_t fullest = 1;
    for (const Bin& bin : bins) fullest = std::max(fullest, bin.rows);
    for (const Bin& bin : bins) {
      const std::string range =
          bin.from == bin.to ? fmt::format("{}", bin.from) : fmt::format("{}-{}", bin.from, bin.to);
      // Rounded up, so that one row among thousands can be seen.
      const auto length = static_cast<std::size_t>((bin.rows * 40 + fullest - 1) / fullest);
      text += fmt::format("    {:>11} |{:<40}| {}\n", range, std::string(length, '#'), bin.rows);
    }
  }
  return text;
}

Json matrices_json(const Problem& problem) {
  Json list = Json::array();
  for (const auto& [name, matrix] : matrices(problem)) {
    const auto [least, most] = std::minmax_element(matrix->row_nonzeros.begin(), matrix->row_nonzeros.end());
    Json bins = Json::array();
    for (const Bin& bin : histogram(matrix->row_nonzeros))
      bins.push_back({{"from", bin.from}, {"to", bin.to}, {"rows", bin.rows}});
    list.push_back(
        {{"name", name},
         {"shape", {matrix->rows, matrix->cols}},
         {"nonzeros", matrix->nonzeros()},
         {"density", matrix->density()},
         {"row_nonzeros",
          {{"min", *least}, {"median", median(matrix->row_nonzeros)}, {"max", *most}, {"histogram", bins}}}});
  }
  return list;
}

std::string sizes_text(const ModuleInfo& info) {
  return fmt::format("{}, {} layer{}{}, input {}, hidden {}{}, {}, {}", to_string(info.cell), info.num_layers,
                     info.num_layers == 1 ? "" : "s", info.bidirectional ? ", bidirectional" : "",
                     info.input_size, info.hidden_size,
                     info.projection_size > 0 ? fmt::format(", projection {}", info.projection_size) : "",
                     info.bias ? "bias" : "no bias", to_string(info.dtype));
}

Json sizes_json(const ModuleInfo& info) {
  return {{"prefix", info.prefix},
          {"cell", to_string(info.cell)},
          {"num_layers", info.num_layers},
          {"bidirectional", info.bidirectional},
          {"input_size", info.input_size},
          {"hidden_size", info.hidden_size},
          {"projection_size", info.projection_size},
          {"bias", info.bias},
          {"dtype", to_string(info.dtype)}};
}

// A packed file's problem in the words of a checkpoint's module.
ModuleInfo module_of(const Problem& problem) {
  ModuleInfo info;
  const DirectionProblem& first = problem.directions.front();
  info.cell = first.cell;
  info.dtype = problem.dtype;
  info.input_size = problem.input_size;
  info.hidden_size = problem.hidden_size;
  info.projection_size = problem.projection_size;
  info.num_layers = problem.directions.back().layer + 1;
  info.bidirectional = problem.directions.back().reverse;
  info.bias = first.bias;
  return info;
}

// What is printed, once all of it is known.
struct Report {
  std::string text;
  Json json;
  std::string problem;  // why not one module can be read, or empty
};

Report report_packed(const Arguments& arguments) {
  const auto packed = load_packed_model(arguments.model);
  const Problem& problem = packed->plan.problem;
  const ModuleInfo info = module_of(problem);
  const std::string file = arguments.model.path.string();
  Report report;
  report.json = {{"file", file},
                 {"kind", "packed"},
                 {"device", packed->plan.device.name},
                 {"batch", problem.batch},
                 {"packed_bytes", packed->bytes()},
                 {"modules", Json::array({sizes_json(info)})}};
  report.json["modules"].back()["matrices"] = matrices_json(problem);
  report.text = fmt::format("{}: packed for {}, best at batch {}, {} of weights\n{}\n{}", printable(file),
                            printable(packed->plan.device.name), problem.batch, bytes_text(packed->bytes()),
                            sizes_text(info), matrices_text(problem));
  return report;
}

// The tensors of each module apart, by its prefix: to look for each among all tensors would take the square
// of the time.
std::unordered_map<std::string, Checkpoint> by_module(Checkpoint checkpoint) {
  std::unordered_map<std::string, Checkpoint> modules;
  for (StoredTensor& tensor : checkpoint.tensors)
    modules[tensor.name.substr(0, tensor.name.rfind('.') + 1)].tensors.push_back(std::move(tensor));
  return modules;
}

Report report_checkpoint(const Arguments& arguments, Progress& progress) {
  const std::string file = arguments.model.path.string();
  Checkpoint checkpoint = load_checkpoint(arguments.model.path);
  std::vector<ModuleInfo> modules = find_modules(checkpoint);
  if (arguments.model.prefix || modules.empty()) {
    const std::string prefix = choose_module(checkpoint, arguments.model.prefix, arguments.model.path);
    std::erase_if(modules, [&prefix](const ModuleInfo& module) { return module.prefix != prefix; });
  }

  Report report;
  report.text = fmt::format("{}: checkpoint of {} tensors\n", printable(file), checkpoint.tensors.size());
  report.json = {{"file", file},
                 {"kind", "checkpoint"},
                 {"tensors", checkpoint.tensors.size()},
                 {"metadata", checkpoint.metadata},
                 {"modules", Json::array()}};
  const auto stored = by_module(std::move(checkpoint));
  progress.phase("counting non-zeros", std::ssize(modules));
  std::int64_t done_modules = 0;
  bool any_readable = false;
  for (ModuleInfo& info : modules) {
    Json matrices_found = Json::array();
    std::string matrices_shown;
    if (info.problem.empty()) try {
        const Model model =
            read_model(stored.at(info.prefix), {info.prefix, arguments.model.cell, arguments.model.dtype});
        const Problem problem = describe(model, 1);
        info.cell = problem.directions.front().cell;
        info.dtype = problem.dtype;
        matrices_found = matrices_json(problem);
        matrices_shown = matrices_text(problem);
        if (const std::int64_t negative = negative_zeros(model); negative > 0)
          matrices_shown += fmt::format(
              "  {} of the non-zeros are -0.0, as weight * mask leaves them, and cost what others cost: "
              "`sprnn prune` to the density you want makes zeros of them\n",
              negative);
        any_readable = true;
      } catch (const Error& error) {  // one bad module must not hide the others
        info.problem = error.what();
      }
    report.json["modules"].push_back(sizes_json(info));
    report.json["modules"].back()["matrices"] = std::move(matrices_found);
    report.json["modules"].back()["problem"] = info.problem.empty() ? Json() : Json(info.problem);
    report.text += fmt::format("\nmodule \"{}\": ", printable(info.prefix));
    report.text += info.problem.empty() ? sizes_text(info) + "\n" + matrices_shown
                                        : fmt::format("cannot be read: {}\n", printable(info.problem));
    progress.advance(++done_modules);
  }
  if (!any_readable) report.problem = fmt::format("{}: {}", file, modules.front().problem);
  return report;
}

ExitStatus inspect(const Arguments& arguments) {
  Report report;
  {
    Progress progress("reading " + printable(arguments.model.path.string()));
    report =
        is_packed(arguments.model.path) ? report_packed(arguments) : report_checkpoint(arguments, progress);
  }
  arguments.json ? print_json(report.json) : print(report.text);
  if (!report.problem.empty()) throw Error(ErrorCode::invalid_argument, report.problem);
  return done;
}

}  // namespace

Verb add_inspect(CLI::App& root) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app =
      root.add_subcommand("inspect", "Show a file's recurrent modules and where their non-zeros are");
  add_model(*app, arguments->model);
  add_json(*app, arguments->json);
  teach(*app, R"(Lists every recurrent module of a checkpoint (or the one of a packed file): cell, layers,
sizes and dtype, and for each matrix its shape [G*H, I] or [G*H, H], its density (stored
non-zeros / entries) and a histogram of non-zeros a row. A module that cannot be read is
listed with the reason. --cell and --dtype show the model as other verbs would read it.

Examples:
  sprnn inspect model.safetensors
  sprnn inspect model.safetensors --prefix encoder.rnn. --json
)");
  return {app, [arguments] { return inspect(*arguments); }};
}

}  // namespace sprnn::cli
