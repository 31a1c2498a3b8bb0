#include "cli/arguments.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace sprnn::cli {

namespace {

constexpr const char* patterns = "unstructured, row, global, block:RxC, unit:UxC or N:M";

// CLI11's own conversion reads 010 as eight and takes what nobody means (0x, true).
template <class Number>
Number parse_number(const std::string& flag, const std::string& text, Number least, Number most) {
  Number parsed{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), parsed);
  if (error != std::errc{} || end != text.data() + text.size() || parsed < least || parsed > most)
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} is '{}': expected a whole number from {} to {}", flag, text, least, most));
  return parsed;
}

template <class Number>
CLI::Option* add_number(CLI::App& app, const std::string& flag, Number& value, Number least, Number most,
                        const std::string& meaning) {
  const auto parse = [&value, flag, least, most](const std::string& text) {
    value = parse_number<Number>(flag, text, least, most);
  };
  return app.add_option_function<std::string>(flag, parse, meaning)->type_name("N");
}

double parse_density(const std::string& flag, std::string_view text) {
  double value = 0.0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  // The comparison is written so that NaN fails it.
  if (error != std::errc{} || end != text.data() + text.size() || !(value >= 0.0 && value <= 1.0))
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} is '{}': expected a number from 0 (nothing kept) to 1 (everything kept)",
                            flag, text));
  return std::abs(value);  // -0 is 0, and is shown as 0
}

}  // namespace

void add_prefix(CLI::App& app, std::optional<std::string>& prefix) {
  app.add_option("--prefix", prefix, "Which recurrent module of the checkpoint, e.g. encoder.rnn.")
      ->type_name("P");
}

CLI::Option* add_cell(CLI::App& app, std::optional<Cell>& cell) {
  const auto parse = [&cell](const std::string& name) { cell = parse_cell(name); };
  return app
      .add_option_function<std::string>(
          "--cell", parse,
          "tanh, relu, gru or lstm; by default told from the shapes, which cannot "
          "tell relu from tanh")
      ->type_name("C");
}

void add_dtype(CLI::App& app, std::optional<DType>& dtype, const std::string& by_default) {
  const auto parse = [&dtype](const std::string& name) { dtype = parse_dtype(name); };
  app.add_option_function<std::string>(
         "--dtype", parse,
         fmt::format("fp32, fp16 or bf16, of weights and states; by default {}", by_default))
      ->type_name("T");
}

void add_model(CLI::App& app, ModelArguments& model, bool required) {
  app.add_option("MODEL", model.path, "A .safetensors checkpoint or a .sprnn file, told by its content")
      ->required(required)
      ->type_name("");
  add_prefix(app, model.prefix);
  add_cell(app, model.cell);
  add_dtype(app, model.dtype, "the checkpoint's");
}

void add_engine(CLI::App& app, EngineArguments& engine) {
  const auto check = [&engine](const std::string& name) {
    std::vector<std::string> known{"auto"};
    for (const Engine* candidate : engines()) known.emplace_back(candidate->name());
    if (std::find(known.begin(), known.end(), name) == known.end())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("--engine is '{}': expected one of {}", name, fmt::join(known, ", ")));
    engine.engine = name;
  };
  app.add_option_function<std::string>("--engine", check,
                                       "auto (default), cuda, cpu, interpreter or reference")
      ->type_name("E");
  add_threads(app, engine.threads);
  const auto check_processor = [&engine](const std::string& name) {
    const std::vector<std::string> isas = cpu_isas();
    if (std::find(isas.begin(), isas.end(), name) == isas.end())
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("--isa is '{}': this processor has {}", name, fmt::join(isas, ", ")));
    engine.isa = name;
  };
  app.add_option_function<std::string>(
         "--isa", check_processor,
         "Instruction set of the cpu engine: avx512, avx2 or scalar; by default the best")
      ->type_name("S");
  const auto parse_seconds = [&engine](const std::string& text) {
    double seconds = 0.0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
    if (error != std::errc{} || end != text.data() + text.size() || !(seconds > 0.0 && seconds <= 1e6))
      throw Error(ErrorCode::invalid_argument,
                  fmt::format("--deadline is '{}': expected seconds, more than 0, at most 1e6", text));
    engine.deadline_seconds = seconds;
  };
  app.add_option_function<std::string>(
         "--deadline", parse_seconds,
         "How long a timestep of engine cuda may wait for another CTA before the "
         "run is given up; by default SPRNN_DEADLINE, or 2")
      ->type_name("SECONDS");
}

void add_gpu_plan(CLI::App& app, GpuWishes& wishes) {
  constexpr const char* group = "GPU plan (instead of the planner's choice)";
  const auto number = [&](const std::string& flag, std::optional<int>& wish, int least, int most,
                          const std::string& meaning) {
    const auto parse = [&wish, flag, least, most](const std::string& text) {
      wish = parse_number<int>(flag, text, least, most);
    };
    app.add_option_function<std::string>(flag, parse, meaning)->type_name("N")->group(group);
  };
  app.add_option_function<std::string>(
         "--strategy", [&wishes](const std::string& name) { wishes.strategy = parse_gpu_strategy(name); },
         "How W_hh is kept on chip: gather (non-zeros), dense-mma (all weights, for tensor cores), "
         "sparse-mma (for sparse tensor cores, 2 of each 4 neighbouring columns, as of pattern 2:4; what is "
         "beyond them as non-zeros) or vector-mma (for tensor cores, the columns that units share, as of "
         "pattern unit:4x1), all but gather for fp16 and bf16; by default the one whose plan is cheapest")
      ->type_name("S")
      ->group(group);
  number("--groups", wishes.groups, 1, 4096, "Groups of CTAs that each hold all weights");
  number("--group-batch", wishes.group_batch, 1, 4096, "Batch entries that a group runs together");
  number("--ctas", wishes.ctas, 1, 4096, "CTAs of a group, one an SM");
  number("--warps", wishes.warps, 4, 32, "Warps of a CTA, a multiple of 4");
  number("--row-parts", wishes.row_parts, 1, 32,
         "Parts of the warps that share out a CTA's rows, in dense-mma and sparse-mma: 1, 2, or as many as "
         "warps, so that "
         "each has whole rows");
  number("--lanes", wishes.lanes, 1, 32,
         "Lanes of a row group, which sums a row or a part of one: 1, 2, 4, ... 32");
  number("--poll-wait", wishes.poll_wait_cycles, 0, 1 << 20,
         "Cycles between a CTA's own store and its first poll; else each session measures the best");
  const auto flag = [&](const std::string& name, std::optional<bool>& wish, bool value,
                        const std::string& meaning) {
    app.add_flag_callback(
           name, [&wish, value] { wish = value; }, meaning)
        ->group(group);
  };
  flag("--no-stamps", wishes.stamps, false, "A grid barrier a timestep instead of stamped words");
  flag("--no-wide-loads", wishes.wide_loads, false, "One batch entry a shared-memory load");
  flag("--no-bank-order", wishes.bank_order, false, "A row's non-zeros in the order of their columns");
  flag("--fence", wishes.fence, true, "A fence in the exchange");
  const auto on_or_off = [&](const std::string& name, std::optional<bool>& wish, const std::string& meaning) {
    const auto parse = [name, &wish](const std::string& text) {
      if (text != "on" && text != "off")
        throw Error(ErrorCode::invalid_argument, fmt::format("{} is '{}': expected on or off", name, text));
      wish = text == "on";
    };
    app.add_option_function<std::string>(name, parse, meaning)->type_name("on|off")->group(group);
  };
  on_or_off("--asks-late", wishes.asks_late,
            "Whether a warp asks for the state of a step shortly before its product, in dense-mma and "
            "sparse-mma with more than 8 batch entries a group");
  on_or_off(
      "--in-cluster", wishes.in_cluster,
      "Whether the CTAs of a group, at most 16 then, exchange the state in the shared "
      "memory of a thread block cluster instead of through the L2 (by default where that is cheaper; not "
      "with --no-stamps or a projection)");
  on_or_off("--opaque-pairs", wishes.opaque_pairs,
            "Whether the compiler is kept from unpacking pairs ahead of time");
}

void add_code_dir(CLI::App& app, EngineArguments& engine) {
  app.add_option("--code-dir", engine.code_dir,
                 "Code for engine cuda that `sprnn compile` has written; by default NVRTC compiles it")
      ->type_name("DIR");
}

void add_threads(CLI::App& app, int& threads) {
  add_number(app, "--threads", threads, 0, 1024,
             "Threads of this CPU; 0 (default): as many as affinity and the cgroup quota allow");
}

void add_run_target(CLI::App& app, EngineArguments& engine) {
  app.add_option(
         "--target", engine.target,
         "What a checkpoint is planned for: cpu, h100, h200, a100, local or FILE.json; by default this "
         "machine's GPU if --engine runs the model there, an h100 for the interpreter, else this CPU")
      ->type_name("D");
}

void add_batch(CLI::App& app, int& batch, const std::string& meaning) {
  add_number(app, "--batch", batch, 1, max_batch, meaning)->type_name("B");
}

void add_steps(CLI::App& app, std::int64_t& steps, std::int64_t most) {
  add_number<std::int64_t>(app, "--steps", steps, 1, most, fmt::format("Timesteps; by default {}", steps))
      ->type_name("T");
}

void add_seed(CLI::App& app, std::uint64_t& seed) {
  add_number<std::uint64_t>(app, "--seed", seed, 0, std::numeric_limits<std::uint64_t>::max(),
                            "Of the random numbers; by default 0");
}

CLI::Option* add_size(CLI::App& app, const std::string& flag, std::int64_t& size,
                      const std::string& meaning) {
  return add_number<std::int64_t>(app, flag, size, 1, 1 << 20, meaning);
}

CLI::Option* add_pattern(CLI::App& app, Pattern& pattern) {
  const auto parse = [&pattern](const std::string& text) { pattern = parse_pattern(text); };
  return app
      .add_option_function<std::string>(
          "--pattern", parse, fmt::format("What is pruned together: {}; by default unstructured", patterns))
      ->type_name("P");
}

CLI::Option* add_density(CLI::App& app, const std::string& flag, std::optional<double>& density,
                         const std::string& meaning) {
  const auto parse = [&density, flag](const std::string& text) { density = parse_density(flag, text); };
  return app.add_option_function<std::string>(flag, parse, meaning)->type_name("D");
}

CLI::Option* add_densities(CLI::App& app, const std::string& flag, std::vector<double>& densities,
                           const std::string& meaning) {
  const auto parse = [&densities, flag](const std::string& text) {
    densities.clear();
    std::string_view rest = text;
    while (true) {
      const std::size_t comma = rest.find(',');
      densities.push_back(parse_density(flag, rest.substr(0, comma)));
      if (comma == std::string_view::npos) break;
      rest.remove_prefix(comma + 1);
    }
  };
  return app.add_option_function<std::string>(flag, parse, meaning)->type_name("D,D,...");
}

void add_json(CLI::App& app, bool& json) {
  app.add_flag("--json", json, "Print one JSON object instead of text");
}

void teach(CLI::App& app, const std::string& text) {
  app.footer(text + R"(
Exit status: 0 done; 1 a check failed; 2 bad usage, input or output; 3 no device,
device error or deadline; 4 a fault of sprnn itself.)");
}

SessionOptions session_options(const EngineArguments& engine, int batch) {
  return {.batch = batch,
          .threads = engine.threads,
          .isa = engine.isa,
          .deadline_seconds = engine.deadline_seconds,
          .code_dir = engine.code_dir};
}

void check_engine_options(const EngineArguments& arguments, std::string_view engine) {
  if (!arguments.isa.empty() && engine != "cpu")
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("--isa {} is for the cpu engine, but {} is to run: leave --isa out or add --engine cpu",
                    arguments.isa, engine));
  if (!arguments.code_dir.empty() && engine != "cuda")
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--code-dir {} is for engine cuda, but {} is to run: leave --code-dir out or add "
                            "--engine cuda",
                            arguments.code_dir.string(), engine));
  if (arguments.deadline_seconds > 0.0 && engine != "cuda")
    throw Error(ErrorCode::invalid_argument,
                fmt::format("--deadline {} is for engine cuda, but {} is to run: leave --deadline out or add "
                            "--engine cuda",
                            arguments.deadline_seconds, engine));
}

}  // namespace sprnn::cli
