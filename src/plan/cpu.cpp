// The planner of the CPU engine: enumerate the layouts of each matrix, refuse, score, take the cheapest.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/json.hpp"
#include "plan/cpu_cost.hpp"
#include "plan/cpu_workspace.hpp"
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

// W_ih may cost this much of a step in a long sequence if a call with one timestep gains by it.
constexpr double most_slower = 1.1;

struct Candidate {
  CpuLayout layout = CpuLayout::none;
  double microseconds = 0.0;  // a timestep of a long sequence
  double single = 0.0;        // a call with one timestep, W_hh's product included
};

void check_wish(const std::string& name, const MatrixSummary& m, std::optional<CpuLayout> wish) {
  if (!wish || (*wish == CpuLayout::none) == (m.rows == 0)) return;
  throw Error(ErrorCode::unsupported,
              fmt::format("{} as {}: the {}", name, to_string(*wish),
                          m.rows == 0 ? "model has no such matrix" : "matrix is there"));
}

// The layouts that can hold the matrix at all, with what `cost` says of each.
template <class Cost>
std::vector<Candidate> candidates_of(const std::string& name, const MatrixSummary& m,
                                     std::optional<CpuLayout> wish, std::vector<Rejected>& rejected,
                                     Cost&& cost) {
  std::vector<Candidate> candidates;
  for (const CpuLayout layout : layouts) {
    if (layout == CpuLayout::dense || m.cols <= max_indexed_cols) {
      candidates.push_back(cost(layout));
      continue;
    }
    const std::string reason =
        fmt::format("column numbers are 16 bits wide: {} columns, at most {}", m.cols, max_indexed_cols);
    if (wish == layout)
      throw Error(ErrorCode::unsupported, fmt::format("{} as {}: {}", name, to_string(layout), reason));
    rejected.push_back({fmt::format("{} as {}", name, to_string(layout)), reason, 0.0});
  }
  return candidates;
}

bool faster(const Candidate& a, const Candidate& b) { return a.microseconds < b.microseconds; }

std::string reason_against(const Candidate& c, const Candidate& chosen, bool wished) {
  const std::string_view name = to_string(chosen.layout);
  if (wished) return fmt::format("{} was asked for", name);
  const double times = c.microseconds / std::max(chosen.microseconds, 1e-3);
  if (times >= 1.0) return fmt::format("{} is {:.1f} times faster", name, times);
  return fmt::format("{} costs little more and makes a call with one timestep {:.1f} times faster", name,
                     c.single / std::max(chosen.single, 1e-3));
}

// `rest`: the other parts of a step, which the choice leaves as they are.
CpuLayout choose(const std::string& name, const std::vector<Candidate>& candidates, double rest,
                 std::optional<CpuLayout> wish, std::vector<Rejected>& rejected) {
  Candidate best = *std::min_element(candidates.begin(), candidates.end(), faster);
  if (wish) {
    best = *std::find_if(candidates.begin(), candidates.end(),
                         [&](const Candidate& c) { return c.layout == *wish; });
  } else {
    const double limit = (best.microseconds + rest) * most_slower - rest;
    for (const Candidate& c : candidates) {
      if (c.microseconds <= limit && c.single < best.single) best = c;
    }
  }
  for (const Candidate& c : candidates) {
    if (c.layout == best.layout) continue;
    rejected.push_back({fmt::format("{} as {}", name, to_string(c.layout)),
                        reason_against(c, best, wish.has_value()), c.microseconds});
  }
  return best.layout;
}

struct Layouts {
  CpuPlan plan;
  std::vector<Rejected> rejected;
};

// For `workers` threads. A plan does not know how many timesteps a call will have: W_ih is chosen last,
// for long sequences, where many samples share a pass over it, but with an eye on calls with one.
Layouts choose_layouts(const DirectionProblem& direction, int batch, int workers, const CpuDescription& cpu,
                       const CpuWishes& wishes) {
  Layouts chosen;
  const auto product = [&](const std::string& name, const MatrixSummary& matrix,
                           std::optional<CpuLayout> wish) {
    check_wish(name, matrix, wish);
    if (matrix.rows == 0) return CpuLayout::none;
    const auto cost = [&](CpuLayout layout) {
      const double us = microseconds(work_of(layout, matrix, batch, cpu), workers, cpu);
      return Candidate{layout, us, us};
    };
    return choose(name, candidates_of(name, matrix, wish, chosen.rejected, cost), 0.0, wish, chosen.rejected);
  };
  CpuPlan& plan = chosen.plan;
  std::vector<Rejected> before;
  plan.w_hh = product("w_hh", direction.w_hh, wishes.w_hh);
  plan.w_hr = product("w_hr", direction.w_hr, wishes.w_hr);
  before.swap(chosen.rejected);

  check_wish("w_ih", direction.w_ih, wishes.w_ih);
  const double rest = step_cost(direction, plan, batch, workers, cpu).total();
  const Work recurrent = work_of(plan.w_hh, direction.w_hh, batch, cpu);
  const auto cost = [&](CpuLayout layout) {
    CpuPlan with = plan;
    with.w_ih = layout;
    return Candidate{layout, step_cost(direction, with, batch, workers, cpu).input_projection,
                     microseconds(work_of(layout, direction.w_ih, batch, cpu) + recurrent, workers, cpu)};
  };
  plan.w_ih = choose("w_ih", candidates_of("w_ih", direction.w_ih, wishes.w_ih, chosen.rejected, cost), rest,
                     wishes.w_ih, chosen.rejected);
  chosen.rejected.insert(chosen.rejected.end(), before.begin(), before.end());
  return chosen;
}

}  // namespace

void check(const CpuPlan& plan, const Problem&, const DirectionProblem& direction) {
  const auto check_layout = [](const char* name, CpuLayout layout, const MatrixSummary& matrix) {
    const bool absent = matrix.rows == 0;
    if (absent != (layout == CpuLayout::none)) {
      throw Error(ErrorCode::format, fmt::format("{}: layout {} for a matrix that is {}", name,
                                                 to_string(layout), absent ? "absent" : "present"));
    }
    if (layout != CpuLayout::dense && matrix.cols > max_indexed_cols) {
      throw Error(ErrorCode::format, fmt::format("{}: layout {} takes up to {} columns, the matrix has {}",
                                                 name, to_string(layout), max_indexed_cols, matrix.cols));
    }
  };
  check_layout("w_ih", plan.w_ih, direction.w_ih);
  check_layout("w_hh", plan.w_hh, direction.w_hh);
  check_layout("w_hr", plan.w_hr, direction.w_hr);
}

void set_bytes(DirectionPlan& plan, const Problem& problem, const DirectionProblem& direction,
               const CpuDescription& cpu) {
  const auto& choice = std::get<CpuPlan>(plan.choice);
  const auto bytes = [&](CpuLayout layout, const MatrixSummary& matrix) {
    return static_cast<std::int64_t>(work_of(layout, matrix, 1, cpu).bytes);
  };
  plan.packed_bytes = bytes(choice.w_ih, direction.w_ih) + bytes(choice.w_hh, direction.w_hh) +
                      bytes(choice.w_hr, direction.w_hr);
  // The directions share one, which is counted with the first.
  const bool first = direction.layer == 0 && !direction.reverse;
  plan.workspace_bytes = first ? workspace_bytes(problem, problem.batch, cpu.threads) : 0;
}

DirectionPlan plan(const Problem& problem, const DirectionProblem& direction, const Device& device,
                   const CpuWishes& wishes) {
  const CpuDescription& cpu = device.cpu();
  // The layouts decide how many workers gain, the workers which layouts fit into their caches.
  const CpuPlan by_all = choose_layouts(direction, problem.batch, cpu.threads, cpu, wishes).plan;
  const int workers = best_workers(direction, by_all, problem.batch, cpu);
  Layouts chosen = choose_layouts(direction, problem.batch, workers, cpu, wishes);

  DirectionPlan result;
  result.layer = direction.layer;
  result.reverse = direction.reverse;
  result.choice = chosen.plan;
  result.rejected = std::move(chosen.rejected);
  const StepCost cost = step_cost(direction, chosen.plan, problem.batch,
                                  best_workers(direction, chosen.plan, problem.batch, cpu), cpu);
  result.cost = {{"input projection", cost.input_projection}, {"product", cost.product}};
  if (chosen.plan.w_hr != CpuLayout::none) result.cost.push_back({"projection", cost.projection});
  result.cost.push_back({"cell update", cost.cell_update});
  result.cost.push_back({"exchange", cost.exchange});

  set_bytes(result, problem, direction, cpu);
  return result;
}

std::string threads_text(const Plan& plan, std::size_t direction) {
  const int workers = threads_at_work(plan, direction), threads = plan.device.cpu().threads;
  if (workers == threads) return "";
  return fmt::format("{} of {} threads work: another would cost more in meeting than it saves", workers,
                     threads);
}

void to_json(nlohmann::json& json, const CpuPlan& plan) {
  json = {{"w_ih", to_string(plan.w_ih)}, {"w_hh", to_string(plan.w_hh)}, {"w_hr", to_string(plan.w_hr)}};
}

void from_json(const nlohmann::json& json, CpuPlan& plan) {
  const auto layout = [&](const char* key) {
    try {
      return parse_cpu_layout(value_at<std::string>(json, key));
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

int threads_at_work(const Plan& plan, std::size_t direction) {
  return cpu::best_workers(plan.problem.directions[direction],
                           std::get<CpuPlan>(plan.directions[direction].choice), plan.problem.batch,
                           plan.device.cpu());
}

}  // namespace sprnn
