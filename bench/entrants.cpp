#include "bench/entrants.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "bench/race.hpp"
#include "bench/session_contestant.hpp"
#include "bench/workload.hpp"
#include "verify/naive.hpp"

namespace sprnn::bench {
namespace {

// A guard against racing with another layer's results, not the engines' tolerance: about ten times verify's.
double error_limit(DType dtype) {
  switch (dtype) {
    case DType::fp32:
      return 1e-4;
    case DType::fp16:
      return 2e-2;
    case DType::bf16:
      return 1e-1;
  }
  return 0.0;
}

// The plainest loop in `dtype` over the first steps: [steps, B, D*R].
std::vector<float> naive_output(const Model& model, DType dtype, const Workload& workload,
                                std::int64_t steps) {
  const std::int64_t count = steps * workload.batch * model.input_size;
  std::vector<float> x(workload.x.begin(), workload.x.begin() + count);
  round_to(dtype, x);
  const std::int64_t states = model.num_layers() * model.num_directions() * workload.batch;
  std::vector<float> h(static_cast<std::size_t>(states * model.state_size()));
  std::vector<float> c(static_cast<std::size_t>(model.has_cell_state() ? states * model.hidden_size : 0));
  return run_naively(convert(model, dtype), steps, workload.batch, x.data(), nullptr, std::move(h),
                     std::move(c))
      .y;
}

// Whether an output with this error is the layer's, computed in `dtype`. Throws Error(unsupported) where no
// contestant can be judged.
bool is_the_layers(std::span<const float> y, double rel_error, DType dtype, const Model& model,
                   const Workload& workload, std::span<const double> reference) {
  if (rel_error <= error_limit(dtype)) return true;
  // Chaotic weights amplify any rounding: then a naive loop, slow, so run only now, is far off as well.
  const std::int64_t step = workload.batch * model.output_size();
  const std::int64_t steps = std::ssize(reference) / step;
  const std::vector<float> naive = naive_output(model, dtype, workload, steps);
  const auto overflow = std::ranges::find_if_not(naive, [](float value) { return std::isfinite(value); });
  if (overflow != naive.end()) {
    throw Error(
        ErrorCode::unsupported,
        fmt::format("with this input the model's own values leave the range of {} at timestep {}, whatever "
                    "runs it, so there is no output to judge by; take {}smaller weights or a smaller input",
                    to_string(dtype), (overflow - naive.begin()) / step,
                    dtype == DType::fp16 ? "bf16 or fp32, " : ""));
  }
  // Two steps use all weights; where rounding is hardly amplified by then, they tell another layer from a
  // chaotic one. (Read backwards, the first outputs are the last steps.)
  const std::int64_t few = std::min<std::int64_t>(steps, 2);
  const std::vector<float> exact = naive_output(model, DType::fp32, workload, few);
  const double rounding = relative_error(naive, std::vector<double>(exact.begin(), exact.end()));
  if (model.is_streamable() && rounding <= 0.1 * error_limit(dtype) &&
      !(relative_error(y, reference.first(exact.size())) <= error_limit(dtype)))
    return false;
  return rel_error <= 20.0 * relative_error(naive, reference);  // ten times verify's bound, as above
}

}  // namespace

PeerEntrant enter_peer(const std::string& name, const Model& model, const Workload& workload,
                       std::span<const double> reference, const BenchOptions& options) {
  PeerEntrant entrant;
  entrant.result.name = name;
  const int threads = options.threads > 0 ? options.threads : this_cpu().cpu().threads;
  try {
    auto process = std::make_unique<PeerProcess>(Job{name, model, workload}, threads, options.python);
    entrant.result.version = process->version();
    entrant.result.implementation = process->implementation();
    process->run(workload.lengths.size() - 1, 0);
    entrant.result.rel_error = relative_error(process->output(), reference);
    const DType dtype = name.ends_with("bf16") ? DType::bf16 : DType::fp32;
    if (!is_the_layers(process->output(), entrant.result.rel_error, dtype, model, workload, reference)) {
      throw Error(ErrorCode::unsupported, fmt::format("its output is not this layer's: relative error {:.2g}",
                                                      entrant.result.rel_error));
    }
    entrant.result.us_per_step_alone = run_alone(*process, workload);
    process->sleep();
    entrant.process = std::move(process);
  } catch (const Error& error) {
    entrant.result = PeerResult{};
    entrant.result.name = name;
    entrant.result.refused = error.what();
  }
  return entrant;
}

OwnEntrant enter_session(std::shared_ptr<const Packed> packed, const Model& model, const Workload& workload,
                         std::span<const double> reference, const BenchOptions& options) {
  const Engine& engine = find_engine(options.engine, packed->plan);
  std::unique_ptr<Session> session =
      engine.session(std::move(packed), {.batch = options.batch,
                                         .threads = options.threads,
                                         .isa = options.isa,
                                         .device = options.device,
                                         .deadline_seconds = options.deadline_seconds,
                                         .code_dir = options.code_dir});
  OwnEntrant own;
  own.session = session.get();
  if (own.session->engine() == "cuda") {
    auto contestant = std::make_unique<GpuContestant>(std::move(session), options.device, workload);
    own.gpu = contestant.get();
    own.contestant = std::move(contestant);
  } else {
    own.contestant = std::make_unique<SessionContestant>(std::move(session), workload);
  }
  own.first_call_us = own.contestant->run(0, 0);
  own.contestant->run(workload.lengths.size() - 1, 0);
  own.rel_error = relative_error(own.contestant->output(), reference);
  if (!is_the_layers(own.contestant->output(), own.rel_error, model.dtype, model, workload, reference)) {
    throw Error(
        ErrorCode::internal,
        fmt::format("engine {}: relative error {:.2g} against the reference, so its time means nothing; "
                    "`sprnn verify` tells more",
                    own.session->engine(), own.rel_error));
  }
  own.contestant->sleep();
  return own;
}

std::shared_ptr<const Packed> pack_for(const Model& model, const BenchOptions& options) {
  const Problem problem = describe(model, options.batch);
  const Device device = choose_target(options.engine, problem).device;
  return std::make_shared<const Packed>(
      pack(model, make_plan(problem, device, {.cpu = {}, .gpu = options.wishes})));
}

}  // namespace sprnn::bench
