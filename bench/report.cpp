// Results as JSON and as text.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "bench/bench.hpp"

namespace sprnn::bench {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view table_title = "us a step";

void add_timing(Json& json, const Timing& timing) {
  json["us_per_step"] = timing.us_per_step;
  json["us_per_step_min"] = timing.us_per_step_min;
  json["repeats"] = timing.repeats;
  if (timing.slope_us_per_step) json["slope_us_per_step"] = *timing.slope_us_per_step;
  if (timing.intercept_us) json["intercept_us"] = *timing.intercept_us;
}

Json peer_json(const PeerResult& peer) {
  Json json{{"name", peer.name}};
  if (!peer.refused.empty()) {
    json["refused"] = peer.refused;
    return json;
  }
  add_timing(json, peer.timing);
  json["us_per_step_alone"] = peer.us_per_step_alone;
  json["version"] = peer.version;
  json["implementation"] = peer.implementation;
  json["rel_error"] = peer.rel_error;
  return json;
}

void add_gpu(Json& json, const GpuResult& gpu) {
  json["gpu"] = gpu.gpu;
  json["recurrent_us_per_step"] = gpu.recurrent_us_per_step;
  json["recurrent_intercept_us"] = gpu.recurrent_intercept_us;
  json["first_call_us"] = gpu.first_call_us;
  json["repeated_call_us"] = gpu.repeated_call_us;
  json["plan"] = gpu.plan;
  json["parts"] = Json::array();
  for (const PredictedPart& part : gpu.parts) {
    Json entry{{"name", part.name}, {"predicted_us", part.predicted_us}};
    if (part.measured_us) entry["measured_us"] = *part.measured_us;
    json["parts"].push_back(std::move(entry));
  }
}

std::string gpu_text(const GpuResult& gpu) {
  std::string text = fmt::format(
      "\n  recurrent part {:.3f} us a step, {:.1f} us a launch; first call {:.0f} us, repeated {:.0f} us\n  "
      "{}\n",
      gpu.recurrent_us_per_step, gpu.recurrent_intercept_us, gpu.first_call_us, gpu.repeated_call_us,
      gpu.plan);
  if (gpu.parts.empty()) return text;
  text += fmt::format("\n  {:<22}{:>10}{:>10}\n", table_title, "predicted", "measured");
  for (const PredictedPart& part : gpu.parts) {
    text += fmt::format("  {:<22}{:>10.3f}{:>10}\n", part.name, part.predicted_us,
                        part.measured_us ? fmt::format("{:.3f}", *part.measured_us) : "");
  }
  return text;
}

std::string counted(std::int64_t count, std::string_view what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

std::string run_line(std::string_view engine, std::string_view isa, int threads, DType dtype, int batch,
                     std::int64_t steps) {
  return fmt::format("{}{}{}, {}, {}, batch {}, {}", engine, isa.empty() ? "" : " ", isa,
                     counted(threads, "thread"), to_string(dtype), batch, counted(steps, "step"));
}

std::string warnings_text(const std::vector<std::string>& warnings) {
  std::string text;
  for (const std::string& warning : warnings) text += fmt::format("\nwarning: {}\n", warning);
  return text;
}

// Of the column of names, which takes the longest.
std::size_t name_width(const BenchResult& result) {
  std::size_t longest = table_title.size();
  for (const PeerResult& peer : result.peers) longest = std::max(longest, peer.name.size());
  return longest + 2;
}

std::string timing_row(std::string_view name, std::size_t width, const Timing& timing) {
  std::string row =
      fmt::format("  {:<{}}{:>10.2f}{:>10.2f}", name, width, timing.us_per_step, timing.us_per_step_min);
  if (timing.slope_us_per_step) {
    row += fmt::format("{:>10.2f}{:>10.1f}", *timing.slope_us_per_step, *timing.intercept_us);
  }
  return row;
}

}  // namespace

std::string to_json(const BenchResult& result) {
  Json json{{"cell", result.cell},
            {"hidden_size", result.hidden_size},
            {"input_size", result.input_size},
            {"projection_size", result.projection_size},
            {"num_layers", result.num_layers},
            {"bidirectional", result.bidirectional},
            {"batch", result.batch},
            {"steps", result.steps},
            {"density", result.density},
            {"input_density", result.input_density},
            {"dtype", to_string(result.dtype)},
            {"engine", result.engine},
            {"isa", result.isa},
            {"threads", result.threads},
            {"threads_at_work", result.threads_at_work},
            {"rel_error", result.rel_error}};
  add_timing(json, result.timing);
  if (result.gpu) add_gpu(json, *result.gpu);
  json["peers"] = Json::array();
  for (const PeerResult& peer : result.peers) json["peers"].push_back(peer_json(peer));
  json["warnings"] = result.warnings;
  return json.dump(2);
}

std::string to_text(const BenchResult& result) {
  std::string sizes = fmt::format("hidden {}, input {}", result.hidden_size, result.input_size);
  if (result.projection_size > 0) sizes += fmt::format(", projection {}", result.projection_size);
  if (result.num_layers > 1) sizes += fmt::format(", {} layers", result.num_layers);
  if (result.bidirectional) sizes += ", bidirectional";
  const std::size_t width = name_width(result);
  std::string text = fmt::format(
      "{}, {}, density {:.3g} (input {:.3g})\n{}\n\n  {:<{}}{:>10}{:>10}", result.cell, sizes, result.density,
      result.input_density,
      result.gpu
          ? fmt::format("cuda on {}, {}, batch {}, {}", result.gpu->gpu, to_string(result.dtype),
                        result.batch, counted(result.steps, "step"))
          : run_line(result.engine, result.isa, result.threads, result.dtype, result.batch, result.steps),
      table_title, width, "median", "least");
  if (result.timing.slope_us_per_step) text += fmt::format("{:>10}{:>10}", "slope", "intercept");
  text += fmt::format("\n{}\n", timing_row("sprnn", width, result.timing));
  for (const PeerResult& peer : result.peers) {
    if (!peer.refused.empty()) {
      text += fmt::format("  {:<{}}refused: {}\n", peer.name, width, peer.refused);
      continue;
    }
    text += timing_row(peer.name, width, peer.timing);
    text += fmt::format("   sprnn is {:.2f}x; {} {}, alone {:.2f}\n",
                        peer.timing.us_per_step / result.timing.us_per_step, peer.version,
                        peer.implementation, peer.us_per_step_alone);
  }
  if (result.gpu) text += gpu_text(*result.gpu);
  if (result.threads_at_work < result.threads) {
    text += fmt::format("\n{} of {} threads worked: the layer is too small to gain from more\n",
                        result.threads_at_work, result.threads);
  }
  return text + warnings_text(result.warnings);
}

std::string to_json(const SweepResult& result) {
  Json json{{"batch", result.batch},   {"steps", result.steps}, {"dtype", to_string(result.dtype)},
            {"engine", result.engine}, {"isa", result.isa},     {"threads", result.threads}};
  json["rows"] = Json::array();
  for (const SweepRow& row : result.rows) {
    Json entry{{"density", row.density}, {"reached", row.reached}, {"rel_error", row.rel_error}};
    add_timing(entry, row.timing);
    entry["times_faster_than_dense"] = row.times_faster_than_dense;
    if (row.times_faster_than_peer) entry["times_faster_than_peer"] = *row.times_faster_than_peer;
    json["rows"].push_back(std::move(entry));
  }
  json["peers"] = Json::array({peer_json(result.peer)});
  json["warnings"] = result.warnings;
  return json.dump(2);
}

std::string to_text(const SweepResult& result) {
  std::string text = fmt::format(
      "{}\n\n  {:>7}  {:>9}  {:>12}  {:>14}  {:>16}\n",
      run_line(result.engine, result.isa, result.threads, result.dtype, result.batch, result.steps),
      "density", "error", "us a timestep", "x than dense", fmt::format("x than {}", result.peer.name));
  for (const SweepRow& row : result.rows) {
    text +=
        fmt::format("  {:>6.1f}%  {:>9.2g}  {:>12.2f}  {:>14.2f}  {:>16}\n", row.reached * 100.0,
                    row.rel_error, row.timing.us_per_step, row.times_faster_than_dense,
                    row.times_faster_than_peer ? fmt::format("{:.2f}", *row.times_faster_than_peer) : "-");
  }
  if (result.peer.refused.empty()) {
    text += fmt::format("\n{} {}, dense: {:.2f} us a timestep\n", result.peer.name, result.peer.version,
                        result.peer.timing.us_per_step);
  } else {
    text += fmt::format("\n{}: {}\n", result.peer.name, result.peer.refused);
  }
  return text + warnings_text(result.warnings);
}

}  // namespace sprnn::bench
