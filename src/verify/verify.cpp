#include "sprnn/verify.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <span>

#include "base/memory.hpp"
#include "engines/reference/reference.hpp"
#include "sprnn/error.hpp"
#include "verify/naive.hpp"

namespace sprnn {

namespace {

double fixed_bound(DType dtype) {
  switch (dtype) {
    case DType::fp16:
      return 2e-3;
    case DType::bf16:
      return 1.5e-2;
    case DType::fp32:
      break;
  }
  return 1e-5;
}

// U(-1, 1) on the dtype's grid, the same on every machine.
std::vector<float> random_values(std::mt19937_64& bits, std::size_t count, DType dtype) {
  std::vector<float> values(count);
  for (float& value : values) {
    value = round_to(dtype, static_cast<float>(static_cast<double>(bits() >> 11) * 0x1p-52 - 1.0));
  }
  return values;
}

// ||out - ref|| / ||ref||. An element that was never written is still NaN and makes it NaN.
double relative_error(std::span<const float> out, std::span<const double> ref) {
  double difference = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < ref.size(); ++i) {
    const double d = static_cast<double>(out[i]) - ref[i];
    difference += d * d;
    norm += ref[i] * ref[i];
  }
  if (norm == 0.0) return difference == 0.0 ? 0.0 : std::numeric_limits<double>::infinity();
  return std::sqrt(difference / norm);
}

// The first timestep at which the naive loop leaves its dtype's range; if only a final state did, the last.
std::optional<std::int64_t> overflow_step(const NaiveOutput& naive, std::int64_t steps) {
  const auto overflown = [](const std::vector<float>& values) {
    return std::find_if_not(values.begin(), values.end(), [](float v) { return std::isfinite(v); });
  };
  if (const auto at = overflown(naive.y); at != naive.y.end())
    return (at - naive.y.begin()) / (std::ssize(naive.y) / steps);
  if (overflown(naive.h) != naive.h.end() || overflown(naive.c) != naive.c.end()) return steps - 1;
  return std::nullopt;
}

struct Checked {
  double error = 0.0, bound = 0.0;
  // How far it is beyond its bound; what was never written (NaN) is the furthest.
  [[nodiscard]] double excess() const {
    return std::isnan(error) ? std::numeric_limits<double>::infinity() : error / bound;
  }
};

Checked check(std::span<const float> out, std::span<const float> naive, std::span<const double> ref,
              DType dtype) {
  const double naive_error = relative_error(naive, ref);
  return {relative_error(out, ref),
          std::max(fixed_bound(dtype), std::isfinite(naive_error) ? 2.0 * naive_error : 0.0)};
}

}  // namespace

VerifyResult verify(std::shared_ptr<const Packed> packed, const VerifyOptions& options) {
  if (options.steps < 1) {
    throw Error(ErrorCode::invalid_argument, fmt::format("steps {}, expected 1 or more", options.steps));
  }
  const Problem& problem = packed->plan.problem;
  // x and y as floats and as doubles, of us and of the naive loop.
  require_memory(
      fmt::format("{} steps of batch {}, input {}, hidden {}", options.steps, options.batch,
                  problem.input_size, problem.hidden_size),
      static_cast<double>(options.steps) * options.batch *
          (12.0 * static_cast<double>(problem.input_size) + 16.0 * static_cast<double>(problem.hidden_size)));
  const Engine& engine = find_engine(options.engine, packed->plan);
  SessionOptions session_options{options.batch, options.threads, options.isa};
  session_options.deadline_seconds = options.deadline_seconds;
  session_options.code_dir = options.code_dir;
  const std::unique_ptr<Session> session = engine.session(packed, session_options);
  const Model model = unpack(*packed);

  std::mt19937_64 bits(options.seed);
  const auto batch = static_cast<std::size_t>(options.batch);
  const auto steps = static_cast<std::size_t>(options.steps);
  const auto rows = static_cast<std::size_t>(model.num_layers() * model.num_directions()) * batch;
  const auto cells = static_cast<std::size_t>(model.has_cell_state() ? model.hidden_size : 0);
  const auto x = random_values(bits, steps * batch * static_cast<std::size_t>(model.input_size), model.dtype);
  const auto h0 = random_values(bits, rows * static_cast<std::size_t>(model.state_size()), model.dtype);
  const auto c0 = random_values(bits, rows * cells, model.dtype);

  constexpr float unwritten = std::numeric_limits<float>::quiet_NaN();
  std::vector<float> y(steps * batch * static_cast<std::size_t>(model.output_size()), unwritten);
  std::vector<float> h(h0.size(), unwritten);
  std::vector<float> c(c0.size(), unwritten);
  session->set_state(h0, c0);
  session->run({options.steps, x.data(), y.data()});
  session->get_state(h, c);

  const std::vector<double> x_exact(x.begin(), x.end());
  const reference::State initial{{h0.begin(), h0.end()}, {c0.begin(), c0.end()}};
  const reference::Output ref = reference::run(model, options.steps, options.batch, x_exact.data(), nullptr,
                                               initial, session->threads());
  const NaiveOutput naive = run_naively(model, options.steps, options.batch, x.data(), nullptr, h0, c0);

  VerifyResult result;
  result.engine = engine.name();
  const Checked worst =
      std::max({check(y, naive.y, ref.y, model.dtype), check(h, naive.h, ref.final.h, model.dtype),
                check(c, naive.c, ref.final.c, model.dtype)},
               [](const Checked& a, const Checked& b) { return a.excess() < b.excess(); });
  result.rel_error = worst.error;
  result.bound = worst.bound;
  result.overflow_step = overflow_step(naive, options.steps);
  result.passed = result.rel_error <= result.bound && !result.overflow_step;
  return result;
}

}  // namespace sprnn
