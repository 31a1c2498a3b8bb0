// The cases of the race on a GPU, as text: one a line in bench/shapes/gpu*.txt.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "bench/bench.hpp"

namespace sprnn::bench {

struct RaceCase {
  std::string text;  // as written: it names the case in reports
  LayerSpec layer;   // fp16
  int batch = 1;
  std::uint64_t seed = 0;
  bool whole_layer = false;  // with the input projection; else x is added to every gate as it is
  bool peers = true;
  bool first_call = false;  // packing, compilation, upload and the first call are timed too
  GpuWishes wishes = {};    // of our plan
};

// "--cell lstm --hidden 2304 --batch 4 --density 0.1": throws Error(invalid_argument) that says what is
// wrong.
[[nodiscard]] RaceCase parse_case(const std::string& line);
// Blank lines and those that begin with # are left out; an error names the line.
[[nodiscard]] std::vector<RaceCase> read_cases(const std::filesystem::path& file);

struct Part {
  int number = 1, of = 1;
};
[[nodiscard]] Part parse_part(std::string_view text);  // "2/3"
// Every `of`-th case from the `number`-th: neighbours, which take a like time, go to different parts.
[[nodiscard]] std::vector<RaceCase> part_of(const std::vector<RaceCase>& cases, Part part);

}  // namespace sprnn::bench
