// sprnn: the command line. Finds the verb, runs it, and turns errors into exit statuses.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <new>
#include <string>
#include <vector>

#include "cli/output.hpp"
#include "cli/signals.hpp"
#include "cli/suggest.hpp"
#include "cli/verbs.hpp"
#include "sprnn/sprnn.hpp"

namespace sprnn::cli {

namespace {

constexpr const char* usage = R"(A model goes checkpoint -> prune -> plan -> pack -> run:
  sprnn inspect model.safetensors
  sprnn prune model.safetensors pruned.safetensors --density 0.1
  sprnn pack pruned.safetensors model.sprnn --target cpu
  sprnn run model.sprnn --input x.npy --output y.npy
`sprnn VERB --help` teaches each of them.

Environment:
  SPRNN_ENGINE     the engine that --engine auto means: cuda, cpu, interpreter or reference
  SPRNN_DEADLINE   seconds that a timestep of engine cuda may wait without --deadline; by default 2
  SPRNN_CACHE_DIR  where compiled kernels of engine cuda are kept between processes;
                   by default in $XDG_CACHE_HOME/sprnn or ~/.cache/sprnn

Exit status: 0 done; 1 a check failed; 2 bad usage, input or output; 3 no device,
device error or deadline; 4 a fault of sprnn itself.)";

std::string gpu_text() {
  try {
    return find_gpu(0).name;
  } catch (const Error& error) {
    return fmt::format("no GPU to run on: {}", error.what());
  }
}

std::string version_text() {
  std::vector<std::string> names;
  for (const Engine* engine : engines()) names.emplace_back(engine->name());
  return fmt::format(
      "sprnn {}.{}.{}\n"
      "SIMD targets on this processor: {}\n"
      "CUDA: {}\n"
      "engines: {}\n",
      SPRNN_VERSION_MAJOR, SPRNN_VERSION_MINOR, SPRNN_VERSION_PATCH, fmt::join(cpu_isas(), " "), gpu_text(),
      fmt::join(names, " "));
}

// CLI11 would call an unknown verb an unexpected argument.
void check_verb(const std::string& word, const std::vector<Verb>& verbs) {
  std::vector<std::string> names;
  for (const Verb& verb : verbs) names.push_back(verb.app->get_name());
  if (word.starts_with('-') || std::find(names.begin(), names.end(), word) != names.end()) return;
  const std::string meant = nearest(word, names);
  throw Error(ErrorCode::invalid_argument,
              meant.empty()
                  ? fmt::format("unknown verb '{}': expected one of {}", word, fmt::join(names, ", "))
                  : fmt::format("unknown verb '{}': did you mean '{}'?", word, meant));
}

// What a misspelt option of the verb, or of sprnn itself, may have meant; empty if nothing is near.
std::string suggestion(const CLI::App& app) {
  std::vector<std::string> names;
  for (const CLI::Option* option : app.get_options())
    for (const std::string& name : option->get_lnames()) names.push_back(name);
  for (const std::string& word : app.remaining()) {
    if (!word.starts_with("--")) continue;
    const std::string name = word.substr(2, word.find('=') - 2);
    const std::string meant = nearest(name, names);
    if (!meant.empty()) return fmt::format("unknown option --{}: did you mean --{}?", name, meant);
  }
  return "";
}

ExitStatus run(int argc, char** argv) {
  CLI::App app("Runs pruned recurrent networks (RNN, GRU, LSTM), fast.", "sprnn");
  bool version = false;
  app.add_flag("--version", version, "Print the version, SIMD targets, CUDA and engines");
  const std::vector<Verb> verbs{add_inspect(app), add_prune(app),  add_pack(app),   add_compile(app),
                                add_explain(app), add_run(app),    add_verify(app), add_bench(app),
                                add_sweep(app),   add_devices(app)};
  app.require_subcommand(0, 1);
  app.footer(usage);
  if (argc > 1) check_verb(argv[1], verbs);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    print(app.help());
    return done;
  } catch (const CLI::ParseError& error) {
    const auto chosen = app.get_subcommands();
    // A misspelt option also leaves the one that was meant missing, which CLI11 would rather speak of.
    const std::string meant = suggestion(chosen.empty() ? app : *chosen.front());
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("{} (`sprnn {}--help` shows what is expected)", meant.empty() ? error.what() : meant,
                    chosen.empty() ? "" : chosen.front()->get_name() + " "));
  }
  if (version) {
    print(version_text());
    return done;
  }
  for (const Verb& verb : verbs)
    if (verb.app->parsed()) return verb.run();
  throw Error(ErrorCode::invalid_argument, "which verb? `sprnn --help` lists them");
}

ExitStatus status_of(ErrorCode code) {
  switch (code) {
    case ErrorCode::invalid_argument:
    case ErrorCode::format:
    case ErrorCode::io:
    case ErrorCode::unsupported:
    case ErrorCode::out_of_memory:  // what was asked for is too large for this machine
      return bad_input;
    case ErrorCode::device:
    case ErrorCode::deadline:
    case ErrorCode::interrupted:
      return device_failed;
    case ErrorCode::internal:
      break;
  }
  return internal_fault;
}

}  // namespace

}  // namespace sprnn::cli

int main(int argc, char** argv) {
  using namespace sprnn;
  cli::keep_standard_streams();
  cli::remove_temporaries_on_signals();
  try {
    return cli::run(argc, argv);
  } catch (const Error& error) {
    cli::print_error(error.what());
    return cli::status_of(error.code());
  } catch (const std::bad_alloc&) {
    cli::print_error("out of memory: the model or the sequence is too large for this machine");
    return cli::bad_input;
  } catch (const std::exception& error) {
    cli::print_error(std::string("this is a fault of sprnn, please report it: ") + error.what());
    return cli::internal_fault;
  }
}
