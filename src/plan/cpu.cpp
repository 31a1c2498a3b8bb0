// The planner of the CPU engine: enumerate the layouts of each matrix, refuse, score, take the cheapest.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "plan/strategy.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

constexpr std::array<std::string_view, 5> layout_names = {"none", "dense", "columns", "tile", "row"};

}  // namespace

std::string_view to_string(CpuLayout layout) noexcept {
  return layout_names[static_cast<std::size_t>(layout)];
}

CpuLayout parse_cpu_layout(std::string_view name) {
  const auto found = std::find(layout_names.begin(), layout_names.end(), name);
  if (found == layout_names.end()) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("layout '{}': expected none, dense, columns, tile or row", name));
  }
  return static_cast<CpuLayout>(found - layout_names.begin());
}

namespace cpu {

namespace {

constexpr std::array<CpuLayout, 4> layouts = {CpuLayout::dense, CpuLayout::columns, CpuLayout::tile,
                                              CpuLayout::row};
constexpr std::int64_t max_indexed_cols = 65536;  // column numbers are 16 bits wide

// A core that the constants below were measured on: docs/cpu.md has the table behind each of them.
constexpr double cycles_per_us = 3000.0;
constexpr double l2_bytes_per_cycle = 40.0;
constexpr double l3_bytes_per_cycle = 10.5;
constexpr std::int64_t projection_samples = 32;  // timesteps x batch that share one pass over w_ih
constexpr double exchange_us = 0.4;
constexpr double cell_cycles_per_unit = 10.0;

// Slower instruction sets take this many times the cycles of AVX-512.
double isa_factor(const std::string& isa) { return isa == "avx512" ? 1.0 : isa == "avx2" ? 2.5 : 20.0; }

struct Work {
  double cycles = 0.0;  // of one thread doing everything
  double bytes = 0.0;   // of weights read
};

// One pass over the matrix for `samples` vectors at once.
Work work_of(CpuLayout layout, const MatrixSummary& m, std::int64_t samples) {
  const auto s = static_cast<double>(samples);
  const auto vectors_along_samples = static_cast<double>((samples + 15) / 16);
  const auto nonzeros = static_cast<double>(m.nonzeros());
  const auto rows = static_cast<double>(m.rows);
  switch (layout) {
    case CpuLayout::none:
      break;
    case CpuLayout::dense: {
      const double columns = static_cast<double>((m.rows + cpu_group_rows - 1) / cpu_group_rows * m.cols);
      return {columns * std::max(1.0, 0.62 * s), columns * 64};
    }
    case CpuLayout::columns: {
      const auto columns = static_cast<double>(m.group_columns);
      return {columns * (1.2 + 0.7 * s), columns * 66};
    }
    case CpuLayout::tile: {
      const auto slots = static_cast<double>(m.tile_slots);
      return {slots * (1.3 + 1.4 * s), slots * 77};
    }
    case CpuLayout::row:
      return {rows * 12 + nonzeros * (samples == 1 ? 0.7 : 1.5 * vectors_along_samples), nonzeros * 6};
  }
  return {};
}

double microseconds(const Work& work, const CpuDescription& cpu) {
  const double threads = cpu.threads;
  const double bytes = work.bytes / threads;
  // Every other step reads backwards, so most of the L2 cache is of use however large the whole is.
  const double near = std::min(bytes, 0.8 * static_cast<double>(cpu.l2_bytes));
  const double reading = near / l2_bytes_per_cycle + (bytes - near) / l3_bytes_per_cycle;
  return std::max(work.cycles / threads * isa_factor(cpu.isa), reading) / cycles_per_us;
}

struct Choice {
  CpuLayout layout = CpuLayout::none;
  double microseconds = 0.0;
};

// The cheapest layout for a matrix that is applied to `samples` vectors at a time, in microseconds for each
// `per` of them.
Choice choose(const std::string& name, const MatrixSummary& m, std::int64_t samples, double per,
              const CpuDescription& cpu, std::optional<CpuLayout> wish, std::vector<Rejected>& rejected) {
  if (m.rows == 0) {
    if (wish && *wish != CpuLayout::none) {
      throw Error(ErrorCode::unsupported,
                  fmt::format("{} as {}: the model has no such matrix", name, to_string(*wish)));
    }
    return {};
  }
  std::vector<Choice> candidates;
  for (const CpuLayout layout : layouts) {
    if (layout != CpuLayout::dense && m.cols > max_indexed_cols) {
      const std::string reason =
          fmt::format("column numbers are 16 bits wide: {} columns, at most {}", m.cols, max_indexed_cols);
      if (wish == layout)
        throw Error(ErrorCode::unsupported, fmt::format("{} as {}: {}", name, to_string(layout), reason));
      rejected.push_back({fmt::format("{} as {}", name, to_string(layout)), reason, 0.0});
      continue;
    }
    candidates.push_back(
        {layout, microseconds(work_of(layout, m, samples), cpu) * per / static_cast<double>(samples)});
  }
  Choice best = *std::min_element(candidates.begin(), candidates.end(), [](const Choice& a, const Choice& b) {
    return a.microseconds < b.microseconds;
  });
  if (wish) {
    const auto found = std::find_if(candidates.begin(), candidates.end(),
                                    [&](const Choice& c) { return c.layout == *wish; });
    if (found == candidates.end()) {
      throw Error(ErrorCode::unsupported,
                  fmt::format("{} as {}: the matrix is there", name, to_string(*wish)));
    }
    best = *found;
  }
  for (const Choice& c : candidates) {
    if (c.layout == best.layout) continue;
    rejected.push_back({fmt::format("{} as {}", name, to_string(c.layout)),
                        wish ? fmt::format("{} was asked for", to_string(best.layout))
                             : fmt::format("{} is {:.1f} times faster", to_string(best.layout),
                                           c.microseconds / std::max(best.microseconds, 1e-3)),
                        c.microseconds});
  }
  return best;
}

// What a session of `batch` sequences allocates for this direction, beside the state (session.cpp).
std::int64_t workspace_bytes(const Problem& problem, const DirectionProblem& direction) {
  const std::int64_t samples = std::max<std::int64_t>(projection_samples, problem.batch);
  const std::int64_t gates = direction.cell.gates() + (direction.cell.kind == CellKind::gru ? 1 : 0);
  const std::int64_t h = direction.w_hh.cols + (direction.w_hr.rows > 0 ? problem.hidden_size : 0);
  return 4 * (samples * (direction.w_ih.cols + gates * problem.hidden_size) + 4 * problem.batch * h);
}

}  // namespace

DirectionPlan plan(const Problem& problem, const DirectionProblem& direction, const Device& device,
                   const CpuWishes& wishes) {
  const CpuDescription& cpu = device.cpu();
  const std::int64_t batch = problem.batch;
  const auto b = static_cast<double>(batch);
  const std::int64_t samples = std::max(projection_samples / batch * batch, batch);

  DirectionPlan result;
  result.layer = direction.layer;
  result.reverse = direction.reverse;
  const Choice ih = choose("w_ih", direction.w_ih, samples, b, cpu, wishes.w_ih, result.rejected);
  const Choice hh = choose("w_hh", direction.w_hh, batch, b, cpu, wishes.w_hh, result.rejected);
  const Choice hr = choose("w_hr", direction.w_hr, batch, b, cpu, wishes.w_hr, result.rejected);
  result.choice = CpuPlan{ih.layout, hh.layout, hr.layout};

  result.cost.push_back({"input projection", ih.microseconds});
  result.cost.push_back({"product", hh.microseconds});
  if (hr.layout != CpuLayout::none) result.cost.push_back({"projection", hr.microseconds});
  result.cost.push_back({"cell update", static_cast<double>(problem.hidden_size) * b * cell_cycles_per_unit *
                                            isa_factor(cpu.isa) / cpu.threads / cycles_per_us});
  const int exchanges =
      (hr.layout != CpuLayout::none ? 2 : 1) + (direction.cell.reset_before_product ? 1 : 0);
  result.cost.push_back({"exchange", cpu.threads > 1 ? exchange_us * exchanges : 0.0});

  result.packed_bytes = static_cast<std::int64_t>(work_of(ih.layout, direction.w_ih, 1).bytes +
                                                  work_of(hh.layout, direction.w_hh, 1).bytes +
                                                  work_of(hr.layout, direction.w_hr, 1).bytes);
  result.workspace_bytes = workspace_bytes(problem, direction);
  return result;
}

void to_json(nlohmann::json& json, const CpuPlan& plan) {
  json = {{"w_ih", to_string(plan.w_ih)}, {"w_hh", to_string(plan.w_hh)}, {"w_hr", to_string(plan.w_hr)}};
}

void from_json(const nlohmann::json& json, CpuPlan& plan) {
  const auto layout = [&](const char* key) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_string()) {
      throw Error(ErrorCode::format, fmt::format("cpu plan: expected a layout's name for '{}'", key));
    }
    try {
      return parse_cpu_layout(json[key].get<std::string>());
    } catch (const Error& error) {
      throw Error(ErrorCode::format, fmt::format("cpu plan, '{}': {}", key, error.what()));
    }
  };
  plan = {layout("w_ih"), layout("w_hh"), layout("w_hr")};
}

std::string to_text(const CpuPlan& plan) {
  std::string text = fmt::format("w_ih as {}, w_hh as {}", to_string(plan.w_ih), to_string(plan.w_hh));
  if (plan.w_hr != CpuLayout::none) text += fmt::format(", w_hr as {}", to_string(plan.w_hr));
  return text;
}

}  // namespace cpu

}  // namespace sprnn
