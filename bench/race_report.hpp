// The race on a GPU as JSON, which grows part by part, and as a Markdown table made from it.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "bench/race_result.hpp"

namespace sprnn::bench {

using Json = nlohmann::ordered_json;

[[nodiscard]] Json to_json(const RaceResult& result);

// {"runs": [{date, gpu, driver, ...}], "cases": [...]}; a case names its run by its place in "runs".
class RaceReport {
 public:
  // Goes on with the report in `stem`.json if there is one. `run` says where and how this part is run.
  RaceReport(std::filesystem::path stem, Json run);

  // In place of an earlier result of the same case; writes `stem`.json and `stem`.md.
  void add(const Json& result);
  // A case that could not be run at all.
  void add_failure(const RaceCase& entered, const std::string& reason);
  [[nodiscard]] const Json& json() const noexcept { return report_; }

 private:
  std::filesystem::path stem_;
  Json report_;
};

[[nodiscard]] std::string to_markdown(const Json& report);

}  // namespace sprnn::bench
