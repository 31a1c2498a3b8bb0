// A case of the GPU tests: its name is the problem's parameters, all distinct. A folder of cases is made
// without a GPU, so that their names can be listed anywhere.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace sprnn::test {

struct CaseResult {
  double error = 0.0;
  double bound = 0.0;
  std::string note = {};  // what else is wrong; empty: nothing
  [[nodiscard]] bool passed() const { return error <= bound && note.empty(); }
};

struct Case {
  std::string name;
  std::function<CaseResult()> run;  // what it throws is what is wrong
  bool alone = false;               // needs the GPU to itself: no other process may work on it meanwhile
};

void add_oracle_cases(std::vector<Case>& cases);     // random problems against the float64 reference
void add_path_cases(std::vector<Case>& cases);       // every way through the kernel, small: for sanitizers
void add_chunk_cases(std::vector<Case>& cases);      // the same bits however time is cut; long sequences
void add_nonfinite_cases(std::vector<Case>& cases);  // NaN, infinities, extremes, states without a stamp
void add_device_cases(std::vector<Case>& cases);     // runs on device memory, graphs, streams
void add_state_cases(std::vector<Case>& cases);      // the state in device memory
void add_exchange_cases(std::vector<Case>& cases);   // induced timeouts, SMs that other work holds
void add_hostile_cases(std::vector<Case>& cases);    // packed files that lie
void add_process_cases(std::vector<Case>& cases);    // another process, compute-sanitizer

}  // namespace sprnn::test
