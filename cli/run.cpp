// sprnn run: a sequence from a .npy file through a model; outputs and final states into others.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <initializer_list>
#include <memory>
#include <string_view>
#include <utility>

#include "cli/load.hpp"
#include "cli/output.hpp"
#include "cli/progress.hpp"
#include "cli/verbs.hpp"

namespace sprnn::cli {

namespace {

namespace fs = std::filesystem;

struct Arguments {
  ModelArguments model;
  EngineArguments engine;
  fs::path input, output;
  std::optional<fs::path> h0, c0, final_h, final_c, lengths;
  bool batch_first = false;
  bool json = false;
};

// The sizes that every array of the run must agree with.
struct Sizes {
  std::int64_t steps = 0, batch = 0, input = 0, output = 0;
  std::int64_t directions = 0;  // L*D
  std::int64_t h = 0, c = 0;    // width of a state; c = 0: no cell state
  bool batched = false;         // x is 3-D
  bool batch_first = false;
};

[[noreturn]] void wrong_shape(const char* tensor, const fs::path& path,
                              const std::vector<std::int64_t>& found, const std::string& expected) {
  throw Error(ErrorCode::invalid_argument, fmt::format("{} ({}) has shape {}: expected {}", tensor,
                                                       path.string(), shape_text(found), expected));
}

// Steps and batch, which the model does not determine.
Sizes sizes_of_input(const FloatArray& x, const Arguments& arguments) {
  const auto& shape = x.shape;
  const char* layout = arguments.batch_first ? "[B, T, I] or [T, I]" : "[T, B, I] or [T, I]";
  if (shape.size() != 2 && shape.size() != 3) wrong_shape("x", arguments.input, shape, layout);
  Sizes sizes;
  sizes.batched = shape.size() == 3;
  sizes.batch_first = arguments.batch_first && sizes.batched;
  sizes.steps = shape[sizes.batch_first ? 1 : 0];
  sizes.batch = sizes.batched ? shape[sizes.batch_first ? 0 : 1] : 1;
  sizes.input = shape.back();
  if (sizes.steps < 1)
    wrong_shape("x", arguments.input, shape, fmt::format("{} with at least one timestep", layout));
  if (sizes.batch < 1 || sizes.batch > max_batch)
    wrong_shape("x", arguments.input, shape, fmt::format("{} with B from 1 to {}", layout, max_batch));
  return sizes;
}

void add_model_sizes(Sizes& sizes, const Problem& problem, const FloatArray& x, const Arguments& arguments) {
  if (sizes.input != problem.input_size)
    wrong_shape("x", arguments.input, x.shape,
                fmt::format("{} with I = {}, the model's input size",
                            arguments.batch_first ? "[B, T, I] or [T, I]" : "[T, B, I] or [T, I]",
                            problem.input_size));
  sizes.directions = static_cast<std::int64_t>(problem.directions.size());
  sizes.h = problem.projection_size > 0 ? problem.projection_size : problem.hidden_size;
  sizes.c = problem.directions.front().cell.kind == CellKind::lstm ? problem.hidden_size : 0;
  sizes.output = sizes.h * (problem.directions.back().reverse ? 2 : 1);
  const auto refuse_cell_state = [&](const char* flag, const std::optional<fs::path>& path) {
    if (path && sizes.c == 0)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("{} {}: only an lstm has a cell state, and this model is {}", flag,
                              path->string(), to_string(problem.directions.front().cell)));
  };
  refuse_cell_state("--c0", arguments.c0);
  refuse_cell_state("--final-c", arguments.final_c);
}

std::vector<float> load_state(const char* tensor, const std::optional<fs::path>& path, std::int64_t width,
                              const Sizes& sizes) {
  if (!path) return std::vector<float>(static_cast<std::size_t>(sizes.directions * sizes.batch * width));
  FloatArray state = load_npy_floats(*path);
  const std::vector<std::int64_t> expected{sizes.directions, sizes.batch, width};
  const std::vector<std::int64_t> unbatched{sizes.directions, width};
  if (state.shape != expected && (sizes.batched || state.shape != unbatched))
    wrong_shape(tensor, *path, state.shape,
                fmt::format("[L*D, B, {}] = {}", width == sizes.c ? "H" : "H or P", shape_text(expected)));
  return std::move(state.values);
}

std::vector<std::int64_t> load_lengths(const Arguments& arguments, const Sizes& sizes) {
  if (!arguments.lengths) return {};
  IntArray lengths = load_npy_ints(*arguments.lengths);
  if (lengths.shape != std::vector<std::int64_t>{sizes.batch})
    wrong_shape("lengths", *arguments.lengths, lengths.shape, fmt::format("[B] = [{}]", sizes.batch));
  for (std::size_t i = 0; i < lengths.values.size(); ++i) {
    if (lengths.values[i] < 1 || lengths.values[i] > sizes.steps)
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("lengths[{}] ({}) is {}: expected 1 to {}, the timesteps of x", i,
                              arguments.lengths->string(), lengths.values[i], sizes.steps));
  }
  return std::move(lengths.values);
}

struct NamedFile {
  const char* option;
  fs::path path;
};

// Those of the files that were named.
std::vector<NamedFile> named(std::initializer_list<std::pair<const char*, std::optional<fs::path>>> files) {
  std::vector<NamedFile> result;
  for (const auto& [option, path] : files)
    if (path) result.push_back({option, *path});
  return result;
}

// y may take the place of x, and states that of their predecessors, as where chunks of a stream follow each
// other; anything else is an accident.
bool may_replace(std::string_view output, std::string_view input) {
  return (output == "--output" && input == "--input") || (output == "--final-h" && input == "--h0") ||
         (output == "--final-c" && input == "--c0");
}

void check_outputs(const Arguments& arguments) {
  const std::vector<NamedFile> inputs = named({{"--input", arguments.input},
                                               {"--h0", arguments.h0},
                                               {"--c0", arguments.c0},
                                               {"--lengths", arguments.lengths}});
  const std::vector<NamedFile> outputs = named(
      {{"--output", arguments.output}, {"--final-h", arguments.final_h}, {"--final-c", arguments.final_c}});
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const auto& [option, path] = outputs[i];
    check_writable(path);
    make_room_for(path);
    if (same_file(path, arguments.model.path))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("output {} is the model itself: give it a name of its own", path.string()));
    for (const NamedFile& input : inputs) {
      if (same_file(path, input.path) && !may_replace(option, input.option))
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("{} {} is the file of {}, which would be lost: give it a name of its own",
                                option, path.string(), input.option));
    }
    for (std::size_t j = 0; j < i; ++j) {
      if (same_file(path, outputs[j].path) && !same_file(path, "/dev/null"))  // which takes any number
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("two outputs are the same file, {} and {}: give each a name of its own",
                                outputs[j].path.string(), path.string()));
    }
  }
}

// In one call, or in chunks where somebody watches the progress and chunks give the same bits.
void run_sequence(Session& session, const Sizes& sizes, const FloatArray& x,
                  const std::vector<std::int64_t>& lengths, std::vector<float>& y, Progress& progress) {
  const bool streamable = !session.problem().directions.back().reverse;
  const bool contiguous =
      !sizes.batch_first || sizes.batch == 1;  // a chunk of timesteps is one run of memory
  const bool chunked = progress.visible() && streamable && contiguous && lengths.empty();
  const std::int64_t chunk = chunked ? 256 : sizes.steps;
  progress.phase("running", chunked ? sizes.steps : 0);
  for (std::int64_t step = 0; step < sizes.steps; step += chunk) {
    Sequence sequence;
    sequence.steps = std::min(chunk, sizes.steps - step);
    sequence.x = x.values.data() + step * sizes.batch * sizes.input;
    sequence.y = y.data() + step * sizes.batch * sizes.output;
    sequence.lengths = lengths.empty() ? nullptr : lengths.data();
    sequence.batch_first = sizes.batch_first;
    session.run(sequence);
    progress.advance(step + sequence.steps);
  }
}

std::vector<std::int64_t> output_shape(const Sizes& sizes) {
  if (!sizes.batched) return {sizes.steps, sizes.output};
  if (sizes.batch_first) return {sizes.batch, sizes.steps, sizes.output};
  return {sizes.steps, sizes.batch, sizes.output};
}

struct Outcome {
  std::vector<std::int64_t> shape;  // of y
  Sizes sizes;
  DType dtype{};
  std::string engine, isa;
  int threads = 0;
  double seconds = 0.0;  // of the run alone
};

Outcome run_model(const Arguments& arguments) {
  using Clock = std::chrono::steady_clock;
  check_outputs(arguments);
  Progress progress("reading");
  const FloatArray x = load_npy_floats(arguments.input);
  Sizes sizes = sizes_of_input(x, arguments);
  progress.phase("packing");
  const int batch = static_cast<int>(sizes.batch);
  const auto packed = load_for_engine(arguments.model, arguments.engine, batch);
  add_model_sizes(sizes, packed->plan.problem, x, arguments);
  std::vector<float> h = load_state("h0", arguments.h0, sizes.h, sizes);
  std::vector<float> c = load_state("c0", arguments.c0, sizes.c, sizes);
  const std::vector<std::int64_t> lengths = load_lengths(arguments, sizes);

  const Engine& engine = find_engine(arguments.engine.engine, packed->plan);
  check_engine_options(arguments.engine, engine.name());
  const auto session = engine.session(packed, session_options(arguments.engine, batch));
  session->set_state(h, c);
  FloatArray y{output_shape(sizes),
               std::vector<float>(static_cast<std::size_t>(sizes.steps * sizes.batch * sizes.output))};
  const Clock::time_point start = Clock::now();
  run_sequence(*session, sizes, x, lengths, y.values, progress);
  const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
  session->get_state(h, c);

  // Nothing is written before everything has succeeded.
  progress.phase("writing");
  const FloatArray final_h{{sizes.directions, sizes.batch, sizes.h}, std::move(h)};
  const FloatArray final_c{{sizes.directions, sizes.batch, sizes.c}, std::move(c)};
  std::vector<FloatArrayFile> outputs{{&y, arguments.output}};
  if (arguments.final_h) outputs.push_back({&final_h, *arguments.final_h});
  if (arguments.final_c) outputs.push_back({&final_c, *arguments.final_c});
  save_npy(outputs);
  return {y.shape,
          sizes,
          packed->plan.problem.dtype,
          std::string(session->engine()),
          std::string(session->isa()),
          session->threads(),
          seconds};
}

void report(const Arguments& arguments, const Outcome& outcome) {
  const double us_per_step = outcome.seconds * 1e6 / static_cast<double>(outcome.sizes.steps);
  if (arguments.json)
    print_json({{"output", arguments.output.string()},
                {"shape", outcome.shape},
                {"engine", outcome.engine},
                {"isa", outcome.isa},
                {"threads", outcome.threads},
                {"dtype", to_string(outcome.dtype)},
                {"steps", outcome.sizes.steps},
                {"batch", outcome.sizes.batch},
                {"seconds", outcome.seconds},
                {"us_per_step", us_per_step}});
  else
    print(fmt::format("{} {}: {} step{} of batch {} on {}{}, {} thread{}, {}: {:.4g} us a step\n",
                      printable(arguments.output.string()), shape_text(outcome.shape), outcome.sizes.steps,
                      outcome.sizes.steps == 1 ? "" : "s", outcome.sizes.batch, outcome.engine,
                      outcome.isa.empty() ? "" : fmt::format(" ({})", outcome.isa), outcome.threads,
                      outcome.threads == 1 ? "" : "s", to_string(outcome.dtype), us_per_step));
}

}  // namespace

Verb add_run(CLI::App& root) {
  auto arguments = std::make_shared<Arguments>();
  CLI::App* app = root.add_subcommand("run", "Run a sequence from a .npy file through a model");
  add_model(*app, arguments->model);
  app->add_option("--input", arguments->input, "x, the sequence (.npy)")->required()->type_name("F");
  app->add_option("--output", arguments->output, "Where to write y (.npy)")->required()->type_name("F");
  app->add_option("--h0", arguments->h0, "Initial hidden states (.npy); by default zeros")->type_name("F");
  app->add_option("--c0", arguments->c0, "Initial cell states of an lstm (.npy); by default zeros")
      ->type_name("F");
  app->add_option("--final-h", arguments->final_h, "Where to write the final hidden states")->type_name("F");
  app->add_option("--final-c", arguments->final_c, "Where to write the final cell states of an lstm")
      ->type_name("F");
  app->add_option("--lengths", arguments->lengths, "Length of each sequence of the batch (.npy)")
      ->type_name("F");
  app->add_flag("--batch-first", arguments->batch_first, "x and y are [B, T, ...]");
  add_engine(*app, arguments->engine);
  add_code_dir(*app, arguments->engine);
  add_run_target(*app, arguments->engine);
  add_gpu_plan(*app, arguments->engine.wishes);
  add_json(*app, arguments->json);
  teach(*app, R"(Shapes, with T timesteps, batch B, input size I, hidden size H, L layers, D directions
(1 or 2) and R = H, or P with a projection:
  x        [T, B, I] or [T, I]; float16, float32 or float64, C order, little-endian
  y        [T, B, D*R] or [T, D*R]; float32
  h0, c0   [L*D, B, R] and [L*D, B, H]; without B where x is [T, I]
  final    the same, each sequence's own last step, always with B; float32
  lengths  [B], int32 or int64, each from 1 to T; y is zero at the steps after a length
With --batch-first x is [B, T, I] and y [B, T, D*R]; states stay as they are. x, h0 and
the final states are rounded to the model's dtype (beyond fp16's 65504 to infinities); c0 is
taken as it is, since c is kept in float32. So an fp16 or bf16 lstm that goes on from its final
states does not give the bits of one call; any other model that reads forward does, but with
engine reference, whose states are float64. Outputs appear complete or not at all. --output may replace
--input, --final-h --h0 and --final-c --c0; no other input may be an output.

Examples:
  sprnn run model.sprnn --input x.npy --output y.npy
  sprnn run model.safetensors --input x.npy --output y.npy --h0 h.npy --final-h h.npy --engine reference
)");
  return {app, [arguments] {
            report(*arguments, run_model(*arguments));
            return done;
          }};
}

}  // namespace sprnn::cli
