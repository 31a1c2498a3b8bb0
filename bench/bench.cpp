#include "bench/bench.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "bench/entrants.hpp"
#include "bench/quiet.hpp"
#include "bench/race.hpp"
#include "bench/workload.hpp"

namespace sprnn::bench {
namespace {

struct Densities {
  double w_ih = 0.0, w_hh = 0.0;
};

Densities densities(const Model& model) {
  std::int64_t ih = 0, ih_entries = 0, hh = 0, hh_entries = 0;
  for (const Layer& layer : model.layers) {
    for (const Direction& direction : layer.directions) {
      ih += direction.w_ih.nonzeros();
      ih_entries += direction.w_ih.rows * direction.w_ih.cols;
      hh += direction.w_hh.nonzeros();
      hh_entries += direction.w_hh.rows * direction.w_hh.cols;
    }
  }
  return {static_cast<double>(ih) / static_cast<double>(ih_entries),
          static_cast<double>(hh) / static_cast<double>(hh_entries)};
}

}  // namespace

BenchResult bench(std::shared_ptr<const Packed> packed, const BenchOptions& options) {
  require_valid(options);
  const Model model = unpack(*packed);
  const Workload workload = random_workload(model, options);
  tell(options.progress, 0.0, "reference");
  const std::vector<double> reference = reference_output(model, workload, checked_steps(model, workload));
  const Densities density = densities(model);

  BenchResult result;
  result.cell = to_string(model.layers.front().directions.front().cell);
  result.hidden_size = model.hidden_size;
  result.input_size = model.input_size;
  result.projection_size = model.projection_size;
  result.num_layers = model.num_layers();
  result.bidirectional = model.is_bidirectional();
  result.batch = options.batch;
  result.steps = options.steps;
  result.density = density.w_hh;
  result.input_density = density.w_ih;
  result.dtype = model.dtype;

  const double load_before = load_of_others();
  // Peers first: their figure alone is taken before our engine has threads.
  std::vector<PeerEntrant> peers;
  if (options.peers && find_engine(options.engine, packed->plan).name() != "cuda") {
    std::vector<std::string> names = peer_names();
    if (!options.python.empty())
      names.insert(names.end(), python_peer_names().begin(), python_peer_names().end());
    for (const std::string& name : names) {
      tell(options.progress, 0.0, name);
      peers.push_back(enter_peer(name, model, workload, reference, options));
    }
  }
  OwnEntrant own = enter_session(packed, model, workload, reference, options);
  result.engine = own.session->engine();
  result.isa = own.session->isa();
  result.threads = own.session->threads();
  result.threads_at_work = own.session->threads_at_work();
  result.rel_error = own.rel_error;

  std::vector<Contestant*> contestants{own.contestant.get()};
  for (const PeerEntrant& peer : peers) {
    if (peer.process) contestants.push_back(peer.process.get());
  }
  const std::vector<Timing> timings = race(contestants, workload, options.rounds, options.progress);
  result.timing = timings.front();
  if (own.gpu != nullptr) {
    tell(options.progress, 1.0, "recurrent part");
    result.gpu = measure_gpu(*own.gpu, packed->plan, result.timing, own.first_call_us, options.steps);
  }
  auto timing = timings.begin() + 1;
  for (PeerEntrant& peer : peers) {
    if (peer.process) peer.result.timing = *timing++;
    result.peers.push_back(std::move(peer.result));
  }
  result.warnings = doubts(std::max(load_before, load_of_others()), result.peers);
  return result;
}

BenchResult bench(const Model& model, const BenchOptions& options) {
  return bench(pack_for(model, options), options);
}

}  // namespace sprnn::bench
