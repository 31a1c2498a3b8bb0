// The verbs of the command line; each is one file that declares its options and does its work.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace sprnn::cli {

// 0 and 1 are what a verb returns; the others come from errors (main.cpp).
enum ExitStatus : int { done = 0, check_failed = 1, bad_input = 2, device_failed = 3, internal_fault = 4 };

struct Verb {
  CLI::App* app;
  std::function<ExitStatus()> run;  // after parsing
};

Verb add_inspect(CLI::App& root);
Verb add_prune(CLI::App& root);
Verb add_pack(CLI::App& root);
Verb add_compile(CLI::App& root);
Verb add_explain(CLI::App& root);
Verb add_run(CLI::App& root);
Verb add_verify(CLI::App& root);
Verb add_bench(CLI::App& root);
Verb add_sweep(CLI::App& root);
Verb add_devices(CLI::App& root);

}  // namespace sprnn::cli
