#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bench/bench.hpp"
#include "bench/entrants.hpp"
#include "bench/quiet.hpp"
#include "bench/race.hpp"
#include "bench/workload.hpp"

namespace sprnn::bench {
namespace {

// "x[3, 0, 12]" for the flat index of an element.
std::string element_name(const FloatArray& x, std::string_view origin, std::int64_t index) {
  std::string indices;
  for (auto size = x.shape.rbegin(); size != x.shape.rend(); index /= *size++)
    indices = fmt::format("{}{}{}", index % *size, indices.empty() ? "" : ", ", indices);
  return fmt::format("x[{}]{}", indices, origin);
}

// The error of an output could not be told where its input is infinite or no number.
void require_finite(const FloatArray& x, std::string_view origin, std::span<const float> rounded,
                    DType dtype) {
  const auto bad = std::ranges::find_if_not(rounded, [](float value) { return std::isfinite(value); });
  if (bad == rounded.end()) return;
  const std::int64_t index = bad - rounded.begin();
  const float value = x.values[static_cast<std::size_t>(index)];
  throw Error(ErrorCode::invalid_argument,
              fmt::format("{} is {}, {}", element_name(x, origin, index), value,
                          std::isfinite(value)
                              ? fmt::format("too large for {}: read the model as {} (--dtype), or scale x",
                                            to_string(dtype), dtype == DType::bf16 ? "fp32" : "bf16 or fp32")
                              : "expected finite numbers: with others there is no error to measure"));
}

// The caller's sequence; x replaces the batch and the steps of the options.
Workload given_workload(const Model& model, const FloatArray& x, std::string_view file) {
  const std::string origin = file.empty() ? "" : fmt::format(" ({})", file);
  const bool batched = x.shape.size() == 3;
  const auto refuse = [&](std::string_view expected) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("x{} has shape [{}]: expected [T, B, {}] or [T, {}]{}", origin,
                            fmt::join(x.shape, ", "), model.input_size, model.input_size, expected));
  };
  if ((x.shape.size() != 2 && !batched) || x.shape.back() != model.input_size) refuse("");
  if (x.shape[0] < 1 || x.shape[0] > max_steps) refuse(fmt::format(" with T from 1 to {}", max_steps));
  if (batched && (x.shape[1] < 1 || x.shape[1] > max_batch))
    refuse(fmt::format(" with B from 1 to {}", max_batch));
  Workload workload{.batch = batched ? static_cast<int>(x.shape[1]) : 1,
                    .lengths = timed_lengths(x.shape[0]),
                    .input_sets = 1,
                    .x = x.values};
  round_to(model.dtype, workload.x);
  require_finite(x, origin, workload.x, model.dtype);
  return workload;
}

// The densities wanted, 1 among them, the greatest first.
std::vector<double> densities_of(const SweepOptions& options) {
  std::vector<double> densities = options.densities;
  if (densities.empty() && options.pattern.kind == Pattern::Kind::n_of_m)
    densities = {static_cast<double>(options.pattern.a) / options.pattern.b};
  else if (densities.empty())
    densities = {0.5, 0.3, 0.2, 0.1, 0.05};
  densities.push_back(1.0);
  std::sort(densities.begin(), densities.end(), std::greater<>());
  densities.erase(std::unique(densities.begin(), densities.end()), densities.end());
  return densities;
}

Model prune_to(const Model& model, double density, const SweepOptions& options) {
  Model pruned = model;
  if (density == 1.0) return pruned;  // whatever the pattern says: the row that the others are compared with
  PruneOptions wanted{.pattern = options.pattern,
                      .density = density,
                      .input_density = {},
                      .layer_density = {},
                      .layer_input_density = {}};
  if (options.prune_input) wanted.input_density = density;
  prune(pruned, wanted);
  return pruned;
}

// Of the matrices that a sweep prunes.
double stored_density(const Model& model, bool with_input) {
  double nonzeros = 0.0, entries = 0.0;
  const auto add = [&](const Matrix& matrix) {
    nonzeros += static_cast<double>(matrix.nonzeros());
    entries += static_cast<double>(matrix.rows) * static_cast<double>(matrix.cols);
  };
  for (const Layer& layer : model.layers) {
    for (const Direction& direction : layer.directions) {
      add(direction.w_hh);
      if (with_input) add(direction.w_ih);
    }
  }
  return nonzeros / entries;
}

// The model pruned to one of the densities, and packed for the engine.
struct Candidate {
  double density = 0.0, reached = 0.0;
  std::shared_ptr<const Packed> packed;
};

// All of them before anything is run: a density that the pattern does not have, or an engine or a plan that
// this machine does not, is refused at once.
std::vector<Candidate> candidates_of(const Model& model, const SweepOptions& options,
                                     const BenchOptions& run) {
  std::vector<Candidate> candidates;
  for (const double density : densities_of(options)) {
    tell(run.progress, 0.0, "packing");
    const Model pruned = prune_to(model, density, options);
    Candidate candidate{density, stored_density(pruned, options.prune_input), pack_for(pruned, run)};
    (void)find_engine(run.engine, candidate.packed->plan);  // throws if none runs it
    candidates.push_back(std::move(candidate));
  }
  return candidates;
}

}  // namespace

SweepResult sweep(const Model& model, const SweepOptions& options) {
  BenchOptions run = options.run;
  require_valid(run);
  const Workload workload =
      options.x ? given_workload(model, *options.x, options.x_file) : random_workload(model, run);
  run.batch = workload.batch;
  run.steps = workload.lengths.front();
  require_valid(run);
  std::vector<Candidate> candidates = candidates_of(model, options, run);
  const std::int64_t checked = checked_steps(model, workload);
  const double load_before = load_of_others();
  tell(run.progress, 0.0, "reference");
  const std::vector<double> dense = reference_output(model, workload, run.steps);

  SweepResult result;
  PeerEntrant peer;
  if (run.peers) {
    tell(run.progress, 0.0, peer_names().front());
    peer = enter_peer(peer_names().front(), model, workload, reference_output(model, workload, checked), run);
  } else {
    peer.result.name = peer_names().front();
    peer.result.refused = "not asked for";
  }

  std::vector<OwnEntrant> own;
  std::vector<Contestant*> contestants;
  for (Candidate& candidate : candidates) {
    tell(run.progress, 0.0, fmt::format("density {:.3g}", candidate.density));
    const Model pruned = unpack(*candidate.packed);
    own.push_back(enter_session(std::move(candidate.packed), pruned, workload,
                                reference_output(pruned, workload, checked), run));
    Contestant& contestant = *own.back().contestant;
    contestant.run(0, 0);
    SweepRow row;
    row.density = candidate.density;
    row.reached = candidate.reached;
    row.rel_error = relative_error(contestant.output(), dense);
    contestant.sleep();
    result.rows.push_back(std::move(row));
    contestants.push_back(&contestant);
  }
  if (peer.process) contestants.push_back(peer.process.get());

  const std::vector<Timing> timings = race(contestants, workload, run.rounds, run.progress);
  if (peer.process) peer.result.timing = timings.back();
  for (std::size_t i = 0; i < result.rows.size(); ++i) {
    SweepRow& row = result.rows[i];
    row.timing = timings[i];
    row.times_faster_than_dense = timings.front().us_per_step / row.timing.us_per_step;
    if (peer.process) row.times_faster_than_peer = timings.back().us_per_step / row.timing.us_per_step;
  }
  const Session& session = *own.front().session;
  result.warnings = doubts(std::max(load_before, load_of_others()), {peer.result});
  result.peer = std::move(peer.result);
  result.batch = run.batch;
  result.steps = run.steps;
  result.dtype = model.dtype;
  result.engine = session.engine();
  result.isa = session.isa();
  result.threads = session.threads();
  return result;
}

}  // namespace sprnn::bench
