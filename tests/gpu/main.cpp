// gpu_cases [--part K/N] [--only TEXT]: runs the cases, prints a table of those that fail and `N passed, N
// failed`. Exit status: 0, 1 a case failed, 2 bad usage, 3 no GPU.
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <cstring>

#include "gpu/case.hpp"
#include "sprnn/cuda.hpp"
#include "sprnn/error.hpp"

int main(int argc, char** argv) {
  using namespace sprnn;
  int part = 0, parts = 1;
  std::string only;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--part") == 0 && i + 1 < argc) {
      std::sscanf(argv[++i], "%d/%d", &part, &parts);
    } else if (std::strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
      only = argv[++i];
    } else {
      fmt::print(stderr, "usage: gpu_cases [--part K/N] [--only TEXT]\n");
      return 2;
    }
  }
  if (gpu_count() == 0) {
    fmt::print("no GPU: nothing was run\n");
    return 3;
  }
  std::vector<test::Case> cases;
  test::add_oracle_cases(cases);
  int passed = 0, failed = 0;
  const auto begin = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < cases.size(); ++i) {
    if (static_cast<int>(i) % parts != part % parts || cases[i].name.find(only) == std::string::npos)
      continue;
    test::CaseResult result;
    try {
      result = cases[i].run();
    } catch (const std::exception& error) {
      result.note = error.what();
    }
    (result.passed() ? passed : failed) += 1;
    if (!result.passed()) {
      fmt::print("FAILED {} | error {:.2e}, bound {:.2e} {}\n", cases[i].name, result.error, result.bound,
                 result.note.substr(0, 600));
      std::fflush(stdout);
    }
  }
  const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  fmt::print("{:.1f} s\n{} passed, {} failed\n", s, passed, failed);
  return failed == 0 ? 0 : 1;
}
