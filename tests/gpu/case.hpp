// A case of the GPU tests: its name is the problem's parameters, all distinct.
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
  std::function<CaseResult()> run;
};

void add_oracle_cases(std::vector<Case>& cases);

}  // namespace sprnn::test
