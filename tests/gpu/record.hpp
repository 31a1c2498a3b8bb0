// What a run of the cases leaves behind: a JSON file, so that a later state can be held against it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "gpu/case.hpp"

namespace sprnn::test {

struct Record {
  std::string commit;  // that the program was built from
  std::string part;    // "K" of --part K/N, empty: all
  double seconds = 0;  // that all of it took
  std::vector<std::pair<std::string, CaseResult>> results;
};

// Writes `folder`/YYYY-MM-DD-GPU[-partK].json and returns its path.
[[nodiscard]] std::string write_record(const Record& record, const std::string& folder);

}  // namespace sprnn::test
