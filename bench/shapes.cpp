#include "bench/shapes.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <fstream>
#include <optional>

#include "sprnn/error.hpp"

namespace sprnn::bench {

RaceCase parse_case(const std::string& line) {
  RaceCase parsed;
  parsed.text = line;
  std::string cell, pattern;
  bool no_stamps = false, no_wide_loads = false, no_bank_order = false, no_peers = false;
  CLI::App app;
  app.set_help_flag();
  app.add_option("--cell", cell)->required();
  app.add_option("--hidden", parsed.layer.hidden_size)->required()->check(CLI::Range(1, 65536));
  app.add_option("--batch", parsed.batch)->required()->check(CLI::Range(1, max_batch));
  app.add_option("--density", parsed.layer.density)->required()->check(CLI::Range(1e-6, 1.0));
  app.add_option("--pattern", pattern);
  app.add_option("--seed", parsed.seed);
  app.add_flag("--whole-layer", parsed.whole_layer);
  app.add_flag("--first-call", parsed.first_call);
  app.add_flag("--no-peers", no_peers);
  app.add_option_function<std::string>(
      "--strategy", [&](const std::string& name) { parsed.wishes.strategy = parse_gpu_strategy(name); });
  const auto number = [&](const char* option, std::optional<int>& wish) {
    app.add_option_function<int>(option, [&wish](int value) { wish = value; });
  };
  number("--groups", parsed.wishes.groups);
  number("--ctas", parsed.wishes.ctas);
  number("--group-batch", parsed.wishes.group_batch);
  number("--warps", parsed.wishes.warps);
  number("--row-parts", parsed.wishes.row_parts);
  number("--lanes", parsed.wishes.lanes);
  app.add_option_function<bool>("--asks-late", [&](bool value) { parsed.wishes.asks_late = value; });
  app.add_option_function<bool>("--in-cluster", [&](bool value) { parsed.wishes.in_cluster = value; });
  number("--poll-wait", parsed.wishes.poll_wait_cycles);
  app.add_flag("--no-stamps", no_stamps);
  app.add_flag("--no-wide-loads", no_wide_loads);
  app.add_flag("--no-bank-order", no_bank_order);
  try {
    app.parse(line);
  } catch (const CLI::ParseError& error) {
    throw Error(ErrorCode::invalid_argument, fmt::format("case \"{}\": {}", line, error.what()));
  }
  parsed.layer.cell = parse_cell(cell);
  if (!pattern.empty()) parsed.layer.pattern = parse_pattern(pattern);
  parsed.layer.dtype = DType::fp16;
  parsed.peers = !no_peers;
  if (no_stamps) parsed.wishes.stamps = false;
  if (no_wide_loads) parsed.wishes.wide_loads = false;
  if (no_bank_order) parsed.wishes.bank_order = false;
  return parsed;
}

std::vector<RaceCase> read_cases(const std::filesystem::path& file) {
  std::ifstream in(file);
  if (!in) throw Error(ErrorCode::io, fmt::format("{}: cannot be read", file.string()));
  std::vector<RaceCase> cases;
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    const std::size_t begin = line.find_first_not_of(" \t");
    if (begin == std::string::npos || line[begin] == '#') continue;
    try {
      cases.push_back(parse_case(line.substr(begin, line.find_last_not_of(" \t\r") + 1 - begin)));
    } catch (const Error& error) {
      throw Error(error.code(), fmt::format("{}:{}: {}", file.string(), number, error.what()));
    }
  }
  return cases;
}

Part parse_part(std::string_view text) {
  Part part;
  const char* end = text.data() + text.size();
  const auto first = std::from_chars(text.data(), end, part.number);
  const bool slash = first.ec == std::errc{} && first.ptr != end && *first.ptr == '/';
  const auto second = slash ? std::from_chars(first.ptr + 1, end, part.of) : first;
  if (!slash || second.ec != std::errc{} || second.ptr != end || part.number < 1 || part.number > part.of) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("part \"{}\", expected K/N with 1 <= K <= N, e.g. 2/3", text));
  }
  return part;
}

std::vector<RaceCase> part_of(const std::vector<RaceCase>& cases, Part part) {
  std::vector<RaceCase> chosen;
  for (std::size_t i = static_cast<std::size_t>(part.number) - 1; i < cases.size();
       i += static_cast<std::size_t>(part.of)) {
    chosen.push_back(cases[i]);
  }
  return chosen;
}

}  // namespace sprnn::bench
