#include "bench/race_report.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <vector>

#include "sprnn/error.hpp"

namespace sprnn::bench {
namespace {

void add_timing(Json& json, const Timing& timing) {
  json["us_per_step"] = *timing.slope_us_per_step;
  json["intercept_us"] = *timing.intercept_us;
  json["repeats"] = timing.repeats;
  json["run_us"] = timing.run_us;
}

Json attempt_json(const Attempt& attempt) {
  Json json{{"name", attempt.name}};
  if (!attempt.refused.empty()) {
    json["refused"] = attempt.refused;
    return json;
  }
  json["tried_us_per_step"] = attempt.tried_us_per_step;
  json["rel_error"] = attempt.rel_error;
  if (!attempt.found.empty()) json["found"] = attempt.found;
  if (attempt.timing) add_timing(json, *attempt.timing);
  return json;
}

Json rival_json(const Rival& rival) {
  Json json{{"name", rival.name}, {"version", rival.version}};
  if (const Attempt* best = best_attempt(rival)) {
    json["best"] = best->name;
    add_timing(json, *best->timing);
  }
  json["attempts"] = Json::array();
  for (const Attempt& attempt : rival.attempts) json["attempts"].push_back(attempt_json(attempt));
  return json;
}

Json first_call_json(const FirstCall& call) {
  return {{"plan_and_pack_s", call.plan_and_pack}, {"session_cold_s", call.session_cold},
          {"session_warm_s", call.session_warm},   {"upload_s", call.upload},
          {"first_run_s", call.first_run},         {"repeated_run_s", call.repeated_run},
          {"packed_bytes", call.packed_bytes}};
}

void write(const std::filesystem::path& path, const std::string& text) {
  if (path.has_parent_path()) std::filesystem::create_directories(path.parent_path());
  const std::filesystem::path temporary = path.string() + ".tmp";
  {
    std::ofstream out(temporary);
    out << text;
    if (!out.flush()) throw Error(ErrorCode::io, fmt::format("{}: cannot be written", temporary.string()));
  }
  std::filesystem::rename(temporary, path);
}

// A line a run and a line a case: small, and good to compare.
std::string text_of(const Json& report) {
  std::string text = "{";
  for (const auto& [key, entries] : report.items()) {
    text += fmt::format("{}\"{}\": [", text.size() > 1 ? ",\n" : "", key);
    for (const Json& entry : entries)
      text += fmt::format("{}\n{}", text.back() == '[' ? "" : ",", entry.dump());
    text += "]";
  }
  return text + "}\n";
}

std::string microseconds(double value) { return fmt::format("{:.2f}", value); }

const Json* best_rival(const Json& one) {
  const Json* best = nullptr;
  for (const Json& rival : one.at("rivals")) {
    if (!rival.contains("us_per_step")) continue;
    if (best == nullptr || rival.at("us_per_step") < best->at("us_per_step")) best = &rival;
  }
  return best;
}

double times_faster(const Json& one, const Json& rival) {
  return rival.at("us_per_step").get<double>() / one.at("us_per_step").get<double>();
}

void add_runs(std::string& text, const Json& report) {
  for (const Json& run : report.at("runs")) {
    for (const auto& [key, value] : run.items())
      text += fmt::format("{}{}: {}", key == run.begin().key() ? "- " : "; ", key,
                          value.is_string() ? value.get<std::string>() : value.dump());
    text += "\n";
  }
}

void add_table(std::string& text, const Json& report) {
  std::vector<std::string> names;
  for (const Json& one : report.at("cases")) {
    for (const Json& rival : one.value("rivals", Json::array())) {
      if (std::find(names.begin(), names.end(), rival.at("name")) == names.end())
        names.push_back(rival.at("name"));
    }
  }
  text += "| case | sprnn |";
  for (const std::string& name : names) text += fmt::format(" {} |", name);
  text += " times faster | best peer | error |\n|---|---|";
  for (std::size_t i = 0; i < names.size(); ++i) text += "---|";
  text += "---|---|---|\n";
  for (const Json& one : report.at("cases")) {
    text += fmt::format("| `{}` |", one.at("case").get<std::string>());
    if (one.contains("failed")) {
      text += fmt::format(" {} |\n", one.at("failed").get<std::string>());
      continue;
    }
    text += fmt::format(" {} |", microseconds(one.at("us_per_step")));
    for (const std::string& name : names) {
      std::string cell = " ";
      for (const Json& rival : one.at("rivals")) {
        if (rival.at("name") != name) continue;
        cell = rival.contains("us_per_step") ? microseconds(rival.at("us_per_step")) : "refused";
      }
      text += fmt::format(" {} |", cell);
    }
    const Json* best = best_rival(one);
    text += best == nullptr
                ? std::string("  |  |")
                : fmt::format(" {:.2f} | {}: {} |", times_faster(one, *best),
                              best->at("name").get<std::string>(), best->at("best").get<std::string>());
    text += fmt::format(" {:.1g} |\n", one.at("rel_error").get<double>());
  }
}

void add_lost(std::string& text, const Json& report) {
  std::string lost;
  for (const Json& one : report.at("cases")) {
    if (one.contains("failed")) continue;
    const Json* best = best_rival(one);
    if (best == nullptr || times_faster(one, *best) >= 1.0) continue;
    lost += fmt::format("- `{}`: {} to {} of {}\n", one.at("case").get<std::string>(),
                        microseconds(one.at("us_per_step")), microseconds(best->at("us_per_step")),
                        best->at("name").get<std::string>());
  }
  text += "\n## Lost\n\n" + (lost.empty() ? std::string("No case.\n") : lost);
}

void add_first_calls(std::string& text, const Json& report) {
  std::string rows;
  for (const Json& one : report.at("cases")) {
    if (!one.contains("first_call")) continue;
    const Json& call = one.at("first_call");
    const auto ms = [&](const char* key) { return fmt::format("{:.1f}", 1e3 * call.at(key).get<double>()); };
    rows +=
        fmt::format("| `{}` | {} | {} | {} | {} | {} | {} | {:.1f} |\n", one.at("case").get<std::string>(),
                    ms("plan_and_pack_s"), ms("session_cold_s"), ms("session_warm_s"), ms("upload_s"),
                    ms("first_run_s"), ms("repeated_run_s"), call.at("packed_bytes").get<double>() / 1e6);
  }
  if (rows.empty()) return;
  text +=
      "\n## First call, milliseconds\n\nA session is opened with an empty kernel cache, then again with what "
      "the first "
      "has left there; uploading the weights is part of both. Runs are of 256 steps.\n\n"
      "| case | plan and pack | session, cold | session, warm | upload alone | first run | repeated run | MB "
      "|\n"
      "|---|---|---|---|---|---|---|---|\n" +
      rows;
}

void add_refusals(std::string& text, const Json& report) {
  std::map<std::string, std::set<std::string>> cases_of;  // by "peer, configuration: message"
  for (const Json& one : report.at("cases")) {
    for (const Json& rival : one.value("rivals", Json::array())) {
      for (const Json& attempt : rival.at("attempts")) {
        if (!attempt.contains("refused")) continue;
        // Padded or not, eager or captured: mostly it refuses all of them.
        const auto name = attempt.at("name").get<std::string>();
        cases_of[fmt::format("{} {}: {}", rival.at("name").get<std::string>(), name.substr(0, name.find(',')),
                             attempt.at("refused").get<std::string>())]
            .insert(one.at("case").get<std::string>());
      }
    }
  }
  if (cases_of.empty()) return;
  text += "\n## What peers refused\n\n";
  for (const auto& [refusal, cases] : cases_of)
    text += fmt::format("- {} ({} case{})\n", refusal, cases.size(), cases.size() == 1 ? "" : "s");
}

}  // namespace

Json to_json(const RaceResult& result) {
  const RaceCase& entered = result.entered;
  Json json{{"case", entered.text},
            {"cell", to_string(entered.layer.cell)},
            {"hidden_size", entered.layer.hidden_size},
            {"batch", entered.batch},
            {"asked_density", entered.layer.density},
            {"density", result.density},
            {"pattern", to_string(entered.layer.pattern)},
            {"dtype", to_string(entered.layer.dtype)},
            {"whole_layer", entered.whole_layer},
            {"stamps", entered.wishes.stamps.value_or(true)},
            {"wide_loads", entered.wishes.wide_loads.value_or(true)},
            {"bank_order", entered.wishes.bank_order.value_or(true)},
            {"checked_steps", result.checked_steps},
            {"rel_error", result.rel_error}};
  add_timing(json, result.raced());
  json["call_us_per_step"] = *result.layer.slope_us_per_step;
  json["plan"] = result.gpu.plan;
  json["recurrent_us_per_step"] = result.gpu.recurrent_us_per_step;
  json["parts"] = Json::array();
  for (const PredictedPart& part : result.gpu.parts) {
    json["parts"].push_back({{"name", part.name}, {"predicted_us", part.predicted_us}});
    if (part.measured_us) json["parts"].back()["measured_us"] = *part.measured_us;
  }
  if (result.first_call) json["first_call"] = first_call_json(*result.first_call);
  json["rivals"] = Json::array();
  for (const Rival& rival : result.rivals) json["rivals"].push_back(rival_json(rival));
  return json;
}

RaceReport::RaceReport(std::filesystem::path stem, Json run) : stem_(std::move(stem)) {
  std::ifstream earlier(stem_.string() + ".json");
  if (earlier) {
    report_ = Json::parse(earlier, nullptr, false);
    if (report_.is_discarded() || !report_.contains("runs") || !report_.contains("cases"))
      throw Error(ErrorCode::format,
                  fmt::format("{}.json is no report of this race: name another --output", stem_.string()));
  } else {
    report_ = {{"runs", Json::array()}, {"cases", Json::array()}};
  }
  report_["runs"].push_back(std::move(run));
}

void RaceReport::add(const Json& result) {
  Json one = result;
  one["run"] = report_.at("runs").size() - 1;
  bool replaced = false;
  for (Json& known : report_["cases"]) {
    if (known.at("case") != one.at("case")) continue;
    known = one;
    replaced = true;
  }
  if (!replaced) report_["cases"].push_back(std::move(one));
  write(stem_.string() + ".json", text_of(report_));
  write(stem_.string() + ".md", to_markdown(report_));
}

void RaceReport::add_failure(const RaceCase& entered, const std::string& reason) {
  add({{"case", entered.text}, {"failed", reason}});
}

std::string to_markdown(const Json& report) {
  std::string text =
      "# The race on a GPU\n\nMicroseconds a timestep by slope ((T=1280) - (T=256)) / 1024, medians; the "
      "recurrent part, or the "
      "whole layer where the case says so. Of each peer the best configuration. Method in "
      "[METHOD.md](../METHOD.md).\n\n";
  add_runs(text, report);
  text += "\n";
  add_table(text, report);
  add_lost(text, report);
  add_first_calls(text, report);
  add_refusals(text, report);
  return text;
}

}  // namespace sprnn::bench
