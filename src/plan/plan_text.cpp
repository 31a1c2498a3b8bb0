// Plans for people: what `sprnn explain` prints.
#include <fmt/format.h>

#include <algorithm>

#include "base/quote.hpp"
#include "plan/strategy.hpp"
#include "sprnn/plan.hpp"

namespace sprnn {

namespace {

std::string bytes_text(std::int64_t bytes) {
  if (bytes < 10 * 1024) return fmt::format("{} B", bytes);
  if (bytes < 10 * 1024 * 1024) return fmt::format("{:.1f} KiB", static_cast<double>(bytes) / 1024.0);
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1024.0 * 1024.0));
}

std::string matrix_text(const char* name, const MatrixSummary& m) {
  if (m.rows == 0) return "";
  const auto [least, most] = std::minmax_element(m.row_nonzeros.begin(), m.row_nonzeros.end());
  return fmt::format("  {} [{}, {}], density {:.3g} %, {} to {} non-zeros a row\n", name, m.rows, m.cols,
                     100.0 * m.density(), *least, *most);
}

std::string direction_text(const Plan& plan, std::size_t direction) {
  const DirectionPlan& d = plan.directions[direction];
  const DirectionProblem& p = plan.problem.directions[direction];
  std::string text =
      fmt::format("layer {}{}: {}\n", d.layer, d.reverse ? ", reverse" : "", to_string(p.cell));
  text += matrix_text("W_ih", p.w_ih) + matrix_text("W_hh", p.w_hh) + matrix_text("W_hr", p.w_hr);
  text += fmt::format("  chosen: {}\n", choice_text(d));
  if (!plan.device.is_gpu()) {
    if (const std::string threads = cpu::threads_text(plan, direction); !threads.empty())
      text += fmt::format("  {}\n", threads);
  }
  text += fmt::format("  predicted: {:.3g} us a timestep\n", d.microseconds());
  for (const CostPart& part : d.cost)
    text += fmt::format("    {:<24} {:>8.3g} us\n", escaped(part.name), part.microseconds);
  text += fmt::format("  bytes: {} packed, {} workspace\n", bytes_text(d.packed_bytes),
                      bytes_text(d.workspace_bytes));
  if (!d.rejected.empty()) text += "  rejected:\n";
  for (const Rejected& r : d.rejected) {
    text +=
        fmt::format("    {}{}: {}\n", escaped(r.candidate),
                    r.microseconds > 0 ? fmt::format(" ({:.3g} us)", r.microseconds) : "", escaped(r.reason));
  }
  return text;
}

std::string device_text(const Device& device) {
  if (device.is_gpu()) {
    return fmt::format("{} ({} SMs, sm_{})", escaped(device.name), device.gpu().sm_count,
                       device.gpu().compute_capability);
  }
  return fmt::format("{} ({} threads, {})", escaped(device.name), device.cpu().threads, device.cpu().isa);
}

}  // namespace

std::string choice_text(const DirectionPlan& d) {
  if (const auto* choice = std::get_if<CpuPlan>(&d.choice)) return cpu::to_text(*choice);
  if (const auto* choice = std::get_if<MmaPlan>(&d.choice)) return mma::to_text(*choice);
  return gather::to_text(std::get<GatherPlan>(d.choice));
}

std::string to_text(const Plan& plan) {
  const Problem& p = plan.problem;
  std::string text = fmt::format(
      "{} for {}, batch {}, input {}, hidden {}{}, {}\n", to_string(p.directions.front().cell),
      device_text(plan.device), p.batch, p.input_size, p.hidden_size,
      p.projection_size > 0 ? fmt::format(", projection {}", p.projection_size) : "", to_string(p.dtype));
  text += fmt::format("state: {}\n", bytes_text(plan.state_bytes()));
  for (std::size_t i = 0; i < plan.directions.size(); ++i) text += direction_text(plan, i);
  return text;
}

}  // namespace sprnn
