// sprnn prune: a checkpoint with the small weights of one module set to zero.
#include <fmt/format.h>

#include <memory>

#include "cli/load.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/verbs.hpp"

namespace sprnn::cli {

namespace {

struct Arguments {
  std::filesystem::path in, out;
  std::optional<std::string> prefix;
  Pattern pattern;
  std::optional<double> density, input_density;
  std::vector<double> layer_density, layer_input_density;
  bool json = false;
};

PruneOptions prune_options(const Arguments& arguments) {
  const bool asked = arguments.density || arguments.input_density || !arguments.layer_density.empty() ||
                     !arguments.layer_input_density.empty();
  if (!asked && arguments.pattern.kind != Pattern::Kind::n_of_m)
    throw Error(ErrorCode::invalid_argument,
                "prune to which density? --density 0.1 keeps a tenth of every recurrent matrix");
  PruneOptions options;
  options.pattern = arguments.pattern;
  options.density = arguments.density.value_or(1.0);
  options.input_density = arguments.input_density;
  options.layer_density = arguments.layer_density;
  options.layer_input_density = arguments.layer_input_density;
  return options;
}

std::string report_text(const std::vector<MatrixReport>& reports) {
  Table table({"matrix", "shape", "wanted", "reached", "fewest in a row", "most in a row", "norm lost"});
  for (const MatrixReport& report : reports)
    table.add({report.name, fmt::format("[{}, {}]", report.rows, report.cols),
               fmt::format("{:.4f}", report.wanted), fmt::format("{:.4f}", report.reached),
               fmt::format("{}", report.min_row), fmt::format("{}", report.max_row),
               fmt::format("{:.2f} %", 100 * report.norm_lost)});
  return table.text();
}

Json report_json(const std::vector<MatrixReport>& reports) {
  Json list = Json::array();
  for (const MatrixReport& report : reports)
    list.push_back({{"name", report.name},
                    {"shape", {report.rows, report.cols}},
                    {"wanted", report.wanted},
                    {"reached", report.reached},
                    {"min_row", report.min_row},
                    {"max_row", report.max_row},
                    {"norm_lost", report.norm_lost}});
  return list;
}

ExitStatus prune_file(const Arguments& arguments) {
  const PruneOptions options = prune_options(arguments);
  check_writable(arguments.out);
  make_room_for(arguments.out);
  if (is_packed(arguments.in))
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("{} is a packed file: prune the checkpoint, then pack it", arguments.in.string()));
  std::string prefix;
  std::vector<MatrixReport> reports;
  {
    Progress progress("reading " + printable(arguments.in.string()));
    Checkpoint checkpoint = load_checkpoint(arguments.in);
    prefix = choose_module(checkpoint, arguments.prefix, arguments.in);
    Model model = read_module(checkpoint, {prefix, {}, {}}, arguments.in);
    progress.phase("pruning");
    reports = prune(model, options);
    progress.phase("writing " + printable(arguments.out.string()));
    write_model(checkpoint, prefix, model);
    save_checkpoint(checkpoint, arguments.out);
  }
  if (arguments.json)
    print_json({{"output", arguments.out.string()},
                {"prefix", prefix},
                {"pattern", to_string(options.pattern)},
                {"matrices", report_json(reports)}});
  else
    print(report_text(reports));
  return done;
}

}  // namespace

Verb add_prune(CLI::App& root) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = root.add_subcommand("prune", "Set the smallest weights of a checkpoint to zero");
  app->add_option("IN", arguments->in, "A .safetensors checkpoint")->required()->type_name("");
  app->add_option("OUT", arguments->out, "Where to write the pruned checkpoint; may be IN")
      ->required()
      ->type_name("");
  add_density(*app, "--density", arguments->density, "Kept part of every recurrent matrix W_hh, 0 to 1");
  add_density(*app, "--input-density", arguments->input_density,
              "Kept part of every input matrix W_ih; by default W_ih is left alone");
  add_densities(*app, "--layer-density", arguments->layer_density,
                "One density a layer, in place of --density")
      ->excludes("--density");
  add_densities(*app, "--layer-input-density", arguments->layer_input_density,
                "One density a layer, in place of --input-density")
      ->excludes("--input-density");
  add_pattern(*app, arguments->pattern);
  add_prefix(*app, arguments->prefix);
  add_json(*app, arguments->json);
  teach(*app, R"(Keeps the largest magnitudes of the recurrent matrices W_hh [G*H, H] (and of W_ih [G*H, I]
where asked) and sets the rest to zero. Other tensors and the metadata pass through bit for
bit; names and dtypes stay, but a pair NAME_orig and NAME_mask (torch.nn.utils.prune)
becomes the one tensor NAME that it stands for. Patterns: unstructured, the largest of a
matrix; row, the same number in every row; global, the largest of all layers together;
block:RxC, R rows by C columns; unit:UxC, all gate rows of U units share runs of C
columns; N:M, N of every M in a row (2:4 needs no --density). Prints, for each matrix,
the density wanted and reached, the non-zeros of the emptiest and the fullest row, and
the norm that was lost.

Examples:
  sprnn prune model.safetensors pruned.safetensors --density 0.1
  sprnn prune model.safetensors pruned.safetensors --density 0.1 --input-density 0.2 --pattern block:16x1
  sprnn prune model.safetensors pruned.safetensors --layer-density 0.3,0.1
)");
  return {app, [arguments] { return prune_file(*arguments); }};
}

}  // namespace sprnn::cli
