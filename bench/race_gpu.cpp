// race_gpu: sprnn against every peer on one GPU (METHOD.md).
#include <cuda_runtime.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <ctime>
#include <iostream>
#include <optional>
#include <span>
#include <thread>

#include "bench/race_case.hpp"
#include "bench/race_report.hpp"
#include "sprnn/cuda.hpp"
#include "sprnn/version.hpp"

namespace sprnn::bench {
namespace {

struct Arguments {
  std::filesystem::path shapes = SPRNN_BENCH_FOLDER "/shapes/gpu.txt", output;
  std::vector<std::string> cases;
  std::string part = "1/1", commit = SPRNN_COMMIT;
  GpuRaceOptions race;
  unsigned threads = std::thread::hardware_concurrency();
  bool list = false, verbose = false;
};

std::string first_line_of(const char* command) {
  std::string text;
  FILE* pipe = popen(command, "r");
  if (pipe == nullptr) return text;
  std::array<char, 512> line{};
  if (std::fgets(line.data(), line.size(), pipe) != nullptr) text = line.data();
  pclose(pipe);
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

std::string today() {
  const std::time_t now = std::time(nullptr);
  std::tm date{};
  localtime_r(&now, &date);
  return fmt::format("{:04}-{:02}-{:02}", date.tm_year + 1900, date.tm_mon + 1, date.tm_mday);
}

Json describe_run(const Arguments& arguments, const std::string& gpu, const std::string& command) {
  int runtime = 0;
  cudaRuntimeGetVersion(&runtime);
  const std::string query = fmt::format(
      "nvidia-smi -i {} --query-gpu=driver_version,clocks.max.sm,clocks.mem --format=csv,noheader "
      "2>/dev/null",
      arguments.race.device);
  return {{"date", today()},
          {"gpu", gpu},
          {"driver, greatest SM clock, memory clock", first_line_of(query.c_str())},
          {"CUDA", fmt::format("{}.{}", runtime / 1000, runtime % 1000 / 10)},
          {"sprnn", fmt::format("{}.{}.{}", SPRNN_VERSION_MAJOR, SPRNN_VERSION_MINOR, SPRNN_VERSION_PATCH)},
          {"commit", arguments.commit},
          {"command", command}};
}

std::filesystem::path default_output(const std::string& gpu) {
  std::string slug;
  for (const char letter : gpu)
    slug += std::isalnum(static_cast<unsigned char>(letter)) != 0
                ? static_cast<char>(std::tolower(static_cast<unsigned char>(letter)))
                : '-';
  return fmt::format("{}/results/{}-{}", SPRNN_BENCH_FOLDER, today(), slug);
}

// A case made ready, or why it could not be.
struct Entry {
  std::optional<ReadyCase> ready;
  std::string failure;
};

// Several at once, while nothing is timed: packing takes seconds, and a busy processor disturbs launches.
std::vector<Entry> make_all_ready(std::span<const RaceCase> cases, const Device& device, unsigned threads) {
  std::vector<Entry> entries(cases.size());
  std::atomic<std::size_t> next{0};
  std::vector<std::thread> workers;
  for (unsigned i = 0; i < std::max(threads, 1U); ++i) {
    workers.emplace_back([&] {
      for (std::size_t c = next++; c < cases.size(); c = next++) {
        try {
          entries[c].ready = make_ready(cases[c], device);
        } catch (const Error& error) {
          entries[c].failure = error.what();
        }
      }
    });
  }
  for (std::thread& worker : workers) worker.join();
  return entries;
}

int run(const Arguments& arguments, const std::string& command) {
  std::vector<RaceCase> cases;
  if (arguments.cases.empty()) {
    cases = part_of(read_cases(arguments.shapes), parse_part(arguments.part));
  } else {
    for (const std::string& line : arguments.cases) cases.push_back(parse_case(line));
  }
  if (arguments.list) {
    for (const RaceCase& one : cases) std::cout << one.text << '\n';
    return 0;
  }
  const Device device = find_gpu(arguments.race.device);
  const auto since = [begin = std::chrono::steady_clock::now()] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  };
  RaceReport report(arguments.output.empty() ? default_output(device.name) : arguments.output,
                    describe_run(arguments, device.name, command));
  GpuRaceOptions options = arguments.race;
  options.progress = [&](std::string_view what) {
    if (what.starts_with("  ") && !arguments.verbose) return;  // a single configuration
    std::cerr << fmt::format("{:6.1f} s    {}\n", since(), what);
  };
  const auto race_one = [&](const RaceCase& one, Entry& entry) {
    std::cerr << fmt::format("{:6.1f} s  {}\n", since(), one.text);
    try {
      if (entry.ready) report.add(to_json(race_on_gpu(*entry.ready, options)));
    } catch (const Error& error) {
      entry.failure = error.what();
    }
    entry.ready.reset();
    if (entry.failure.empty()) return true;
    std::cerr << "  failed: " << entry.failure << '\n';
    report.add_failure(one, entry.failure);
    return false;
  };
  const std::size_t at_once = std::max(arguments.threads, 1U);  // a large case takes gigabytes of memory
  std::size_t failed = 0;
  for (std::size_t begin = 0; begin < cases.size(); begin += at_once) {
    const std::span batch =
        std::span<const RaceCase>(cases).subspan(begin, std::min(at_once, cases.size() - begin));
    options.progress(fmt::format("packing {} of {} cases", batch.size(), cases.size()));
    std::vector<Entry> entries = make_all_ready(batch, device, arguments.threads);
    for (std::size_t c = 0; c < batch.size(); ++c) failed += race_one(batch[c], entries[c]) ? 0 : 1;
  }
  std::cout << to_markdown(report.json());
  std::cerr << fmt::format("{:6.1f} s  {} raced, {} failed\n", since(), cases.size(), failed);
  return failed == 0 ? 0 : 1;
}

}  // namespace
}  // namespace sprnn::bench

int main(int argc, char** argv) {
  using namespace sprnn::bench;
  Arguments arguments;
  CLI::App app{
      "Races sprnn against cuDNN, cuBLASLt and cuSPARSE on one GPU: the same layers, the same input, outputs "
      "checked\n"
      "against the float64 reference, in turns. Writes OUTPUT.json and OUTPUT.md; cases that are in "
      "OUTPUT.json already\n"
      "are replaced, the others kept, so that a long race can be run in parts. bench/METHOD.md says how it "
      "is kept fair,\n"
      "bench/plot_gpu.py draws the plots."};
  app.get_formatter()->column_width(28);
  app.add_option("--shapes", arguments.shapes, "Cases, one a line (bench/shapes/gpu.txt)")->type_name("FILE");
  app.add_option(
         "--case", arguments.cases,
         "A case in its words instead of a file: \"--cell lstm --hidden 2304 --batch 4 --density 0.1\"")
      ->type_name("TEXT")
      ->allow_extra_args(false);
  app.add_option("--part", arguments.part, "Every N-th case, from the K-th (1/1)")->type_name("K/N");
  app.add_option("--rounds", arguments.race.rounds, "Turns that each contestant gets (5)")
      ->check(CLI::Range(1, 1000))
      ->type_name("N");
  app.add_option("--python", arguments.race.python,
                 "A Python that has PyTorch: torch.nn races whole layers too")
      ->type_name("PROGRAM");
  app.add_option("--device", arguments.race.device, "Which GPU (0)")->type_name("N");
  app.add_option("--threads", arguments.threads, "Cases packed at once (all cores)")->type_name("N");
  app.add_option("--output", arguments.output, "Without suffix (bench/results/<date>-<gpu>)")
      ->type_name("PATH");
  app.add_option("--commit", arguments.commit, "What was built, for the record")->type_name("TEXT");
  app.add_flag("--list", arguments.list, "Only print the cases");
  app.add_flag("--verbose", arguments.verbose, "Say which configuration is being tried");
  CLI11_PARSE(app, argc, argv);
  std::string command = "race_gpu";
  for (int i = 1; i < argc; ++i) command += fmt::format(" {}", argv[i]);
  try {
    return run(arguments, command);
  } catch (const sprnn::Error& error) {
    std::cerr << "race_gpu: " << error.what() << '\n';
    return 2;
  }
}
