// gpu_cases [--part K/N] [--only TEXT] [--jobs N] [--list] [--record FOLDER --commit HASH]: runs the cases
// whose names contain TEXT, in N processes at once or, without --jobs, in this one; prints a table and, last,
// `N passed, N failed`. Exit status: 0, 1 a case failed, 2 bad usage, 3 no GPU.
// With --plan-for h100 (or another device) each case is planned and packed for that, up to where it would
// run.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <string_view>

#include "gpu/jobs.hpp"
#include "gpu/record.hpp"
#include "gpu/run_model.hpp"
#include "sprnn/cuda.hpp"

namespace sprnn::test {
namespace {

// Of one case, in seconds: more than any takes, compute-sanitizer's 240 among them.
constexpr double limit = 300;

struct Options {
  int part = 1, parts = 1, jobs = 0;
  std::string only, record_folder, commit, plan_for;
  bool list = false;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--list") {
      options.list = true;
      continue;
    }
    if (i + 1 == argc) return false;
    const char* value = argv[++i];
    char end = 0;
    if (name == "--part") {
      if (std::sscanf(value, "%d/%d%c", &options.part, &options.parts, &end) != 2) return false;
      if (options.part < 1 || options.part > options.parts) return false;
    } else if (name == "--jobs") {
      if (std::sscanf(value, "%d%c", &options.jobs, &end) != 1 || options.jobs < 1) return false;
    } else if (name == "--only") {
      options.only = value;
    } else if (name == "--plan-for") {
      options.plan_for = value;
    } else if (name == "--record") {
      options.record_folder = value;
    } else if (name == "--commit") {
      options.commit = value;
    } else {
      return false;
    }
  }
  return options.record_folder.empty() == options.commit.empty();
}

std::vector<Case> all_cases() {
  std::vector<Case> cases;
  add_oracle_cases(cases);
  add_path_cases(cases);
  add_nonfinite_cases(cases);
  add_chunk_cases(cases);
  add_device_cases(cases);
  add_state_cases(cases);
  add_exchange_cases(cases);
  add_hostile_cases(cases);
  add_process_cases(cases);
  return cases;
}

std::vector<Case> chosen_cases(const Options& options) {
  std::vector<Case> chosen;
  int index = 0;
  for (Case& one : all_cases()) {
    if (one.name.find(options.only) == std::string::npos) continue;
    if (index++ % options.parts == options.part - 1) chosen.push_back(std::move(one));
  }
  if (options.plan_for.empty()) return chosen;
  plan_only_for(find_device(options.plan_for));
  for (Case& one : chosen) {
    one.run = [run = one.run] {
      try {
        (void)run();
        return CaseResult{.note = "did not ask for a session"};
      } catch (const OnlyPlanned&) {
        return CaseResult{};
      }
    };
  }
  return chosen;
}

// Asked as a case is run: a process that will fork must leave CUDA alone.
bool gpu_is_here(int jobs) {
  bool found = false;
  const Case question{"GPU", [] { return CaseResult{.note = gpu_count() > 0 ? "" : "none"}; }};
  run_cases({question}, jobs, limit, [&](auto, const CaseResult& result, auto) { found = result.passed(); });
  return found;
}

int run(const Options& options) {
  if (!options.list && options.plan_for.empty() && !gpu_is_here(options.jobs)) {
    fmt::print("no GPU: nothing was run\n");
    return 3;
  }
  const std::vector<Case> cases = chosen_cases(options);
  if (options.list) {
    for (const Case& one : cases) fmt::print("{}\n", one.name);
    return 0;
  }
  const auto begin = std::chrono::steady_clock::now();
  Record record{options.commit, options.parts > 1 ? fmt::format("{}", options.part) : "", 0, {}};
  record.results.resize(cases.size());
  int passed = 0, failed = 0;
  fmt::print("{:6} {:>9} {:>9} {:>7}  case\n", "", "error", "bound", "s");
  run_cases(cases, options.jobs, limit, [&](std::size_t index, const CaseResult& result, double s) {
    const std::string& name = cases[index].name;
    (result.passed() ? passed : failed) += 1;
    fmt::print("{:6} {:9.2e} {:9.2e} {:7.2f}  {}\n", result.passed() ? "passed" : "FAILED", result.error,
               result.bound, s, name);
    if (!result.note.empty()) fmt::print("       {}\n", result.note);
    std::fflush(stdout);
    record.results[index] = {name, result};
  });
  record.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  if (!options.record_folder.empty()) fmt::print("record: {}\n", write_record(record, options.record_folder));
  fmt::print("{} passed, {} failed\n", passed, failed);
  return failed == 0 && passed > 0 ? 0 : 1;
}

}  // namespace
}  // namespace sprnn::test

int main(int argc, char** argv) {
  sprnn::test::Options options;
  if (!sprnn::test::parse(argc, argv, options)) {
    fmt::print(
        stderr,
        "usage: gpu_cases [--part K/N] [--only TEXT] [--jobs N] [--list] [--record FOLDER --commit HASH] "
        "[--plan-for DEVICE]\n");
    return 2;
  }
  try {
    return sprnn::test::run(options);
  } catch (const std::exception& error) {
    fmt::print(stderr, "gpu_cases: {}\n", error.what());
    return 1;
  }
}
