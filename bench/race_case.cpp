#include "bench/race_case.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <limits>

#include "bench/entrants.hpp"
#include "bench/gpu.hpp"
#include "bench/peers/gpu/peer.hpp"
#include "bench/race.hpp"
#include "bench/workload.hpp"
#include "sprnn/engine.hpp"

namespace sprnn::bench {
namespace {

constexpr std::size_t few = 1;             // of the workload's lengths
constexpr double peer_error_limit = 2e-2;  // it is this layer: fp16 in whatever order
constexpr double turn_us = 10e3;

// The recurrent kernels alone.
class RecurrentPart final : public Contestant {
 public:
  RecurrentPart(GpuContestant& whole, const Workload& workload) : whole_(whole), workload_(workload) {}
  double run(std::size_t length, std::size_t) override {
    return whole_.session().time_recurrent(workload_.lengths[length]);
  }
  std::vector<float> output() override { return whole_.output(); }
  void wake() override {}
  void sleep() override {}

 private:
  GpuContestant& whole_;
  const Workload& workload_;
};

double seconds_of(const auto& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

SessionOptions session_options(const ReadyCase& ready, const GpuRaceOptions& options) {
  SessionOptions wanted;
  wanted.batch = ready.entered.batch;
  wanted.device = options.device;
  return wanted;
}

// With a kernel cache of its own, empty at first.
FirstCall time_first_call(const ReadyCase& ready, const GpuRaceOptions& options) {
  namespace fs = std::filesystem;
  FirstCall call;
  const Device device = find_gpu(options.device);
  std::shared_ptr<const Packed> packed;
  call.plan_and_pack = seconds_of([&] {
    const Plan plan = make_plan(describe(ready.model, ready.entered.batch), device,
                                {.cpu = {}, .gpu = ready.entered.wishes});
    packed = std::make_shared<const Packed>(pack(ready.model, plan));
  });
  call.packed_bytes = packed->bytes();
  const char* before = std::getenv("SPRNN_CACHE_DIR");
  const std::string restored = before == nullptr ? "" : before;
  const fs::path cache = fs::temp_directory_path() / fmt::format("sprnn-race-cache-{}", getpid());
  setenv("SPRNN_CACHE_DIR", cache.c_str(), 1);
  const Engine& cuda = find_engine("cuda", packed->plan);
  std::unique_ptr<Session> session;
  const auto open = [&] { session = cuda.session(packed, session_options(ready, options)); };
  call.session_cold = seconds_of(open);
  session.reset();
  call.session_warm = seconds_of(open);
  before == nullptr ? unsetenv("SPRNN_CACHE_DIR") : setenv("SPRNN_CACHE_DIR", restored.c_str(), 1);
  fs::remove_all(cache);
  GpuContestant contestant(std::move(session), options.device, ready.workload);
  call.first_run = contestant.run(few, 0) / 1e6;
  call.repeated_run = contestant.run(few, 0) / 1e6;
  const std::vector<std::byte> bytes(static_cast<std::size_t>(call.packed_bytes));
  call.upload = seconds_of([&] {
    (void)upload(bytes.data(), bytes.size());
    expect(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  });
  return call;
}

std::string name_of(const GpuConfiguration& configuration, Launch launch) {
  return configuration.launches.size() == 1
             ? configuration.name
             : configuration.name + (launch == Launch::graph ? ", graph" : ", eager");
}

constexpr double hopeless = 2.5;       // times the best configuration so far
constexpr double most_start_us = 1e3;  // that a call of a good one may take besides its steps

// Checked, then timed on few steps; only once, and on the fewest, if that shows that it is hopeless.
void try_out(Attempt& attempt, Contestant& contestant, const ReadyCase& ready, double best_so_far) {
  const std::vector<std::int64_t>& lengths = ready.workload.lengths;
  const std::size_t fewest = lengths.size() - 1;
  contestant.run(fewest, 0);
  attempt.rel_error = relative_error(contestant.output(), ready.reference);
  if (!(attempt.rel_error <= peer_error_limit)) {
    throw Error(ErrorCode::unsupported,
                fmt::format("its output is not this layer's: relative error {:.2g}", attempt.rel_error));
  }
  const auto time = [&](std::size_t length, std::size_t input_set) {
    return contestant.run(length, input_set) / static_cast<double>(lengths[length]);
  };
  attempt.tried_us_per_step = time(fewest, 0);
  const double start = most_start_us / static_cast<double>(lengths[fewest]);
  if (attempt.tried_us_per_step >= hopeless * best_so_far + start) return;
  std::vector<double> times;
  for (std::size_t i = 0; i < 4; ++i) times.push_back(time(few, i % 3));
  attempt.tried_us_per_step = median(std::move(times));
}

struct Finalist {
  std::size_t rival = 0, attempt = 0;
  std::unique_ptr<Contestant> contestant;
};

constexpr std::size_t most_finalists = 3;
constexpr double close_enough = 1.15;

// Tries every configuration of a peer, and makes those again that take part in the race.
Rival enter(const GpuPeerKind& kind, std::size_t index, const ReadyCase& ready, const GpuRaceOptions& options,
            std::vector<Finalist>& finals) {
  Rival rival{kind.name, kind.version, {}};
  std::vector<std::pair<std::size_t, Launch>> made_by;  // of each attempt
  double best = std::numeric_limits<double>::infinity();
  for (std::size_t c = 0; c < kind.configurations.size(); ++c) {
    const GpuConfiguration& configuration = kind.configurations[c];
    options.progress(fmt::format("  {}", configuration.name));
    std::shared_ptr<GpuPeer> peer;
    std::string refusal;
    try {
      peer = configuration.make();
    } catch (const Error& error) {
      refusal = error.what();
    }
    for (const Launch launch : configuration.launches) {
      Attempt attempt;
      attempt.name = name_of(configuration, launch);
      attempt.refused = refusal;
      if (peer) {
        try {
          GpuPeerContestant contestant(peer, launch, ready.workload);
          attempt.found = peer->found();
          try_out(attempt, contestant, ready, best);
          best = std::min(best, attempt.tried_us_per_step);
        } catch (const Error& error) {
          attempt.refused = error.what();
        }
      }
      rival.attempts.push_back(std::move(attempt));
      made_by.emplace_back(c, launch);
    }
  }
  for (const std::size_t chosen : finalists(rival.attempts, most_finalists, close_enough)) {
    const auto [c, launch] = made_by[chosen];
    finals.push_back(
        {index, chosen,
         std::make_unique<GpuPeerContestant>(kind.configurations[c].make(), launch, ready.workload)});
  }
  return rival;
}

// torch.nn as its users call it, in a process of its own.
Rival enter_torch(std::size_t index, const ReadyCase& ready, const std::string& python,
                  std::vector<Finalist>& finals) {
  Rival rival{"torch.nn", "", {Attempt{}}};
  Attempt& attempt = rival.attempts.front();
  attempt.name = "fp16, eager";
  try {
    auto process =
        std::make_unique<PeerProcess>(Job{python_gpu_peer, ready.model, ready.workload}, 1, python);
    rival.version = process->version();
    try_out(attempt, *process, ready, std::numeric_limits<double>::infinity());
    process->sleep();
    finals.push_back({index, 0, std::move(process)});
  } catch (const Error& error) {
    attempt.refused = error.what();
  }
  return rival;
}

double density_of(const Matrix& matrix) {
  return static_cast<double>(matrix.nonzeros()) / static_cast<double>(matrix.rows * matrix.cols);
}

}  // namespace

RaceResult race_on_gpu(const ReadyCase& ready, const GpuRaceOptions& options) {
  RaceResult result;
  result.entered = ready.entered;
  result.density = density_of(ready.model.layers.front().directions.front().w_hh);
  result.checked_steps = ready.checked_steps;

  BenchOptions own_options;
  own_options.batch = ready.entered.batch;
  own_options.engine = "cuda";
  own_options.device = options.device;
  options.progress("sprnn");
  OwnEntrant own = enter_session(ready.packed, ready.model, ready.workload, ready.reference, own_options);
  result.rel_error = own.rel_error;
  RecurrentPart recurrent(*own.gpu, ready.workload);
  std::vector<Contestant*> contestants{&recurrent, own.contestant.get()};

  std::unique_ptr<GpuJob> job;
  std::vector<Finalist> finals;
  if (ready.entered.peers) {
    expect(cudaSetDevice(options.device), "cudaSetDevice");
    job = std::make_unique<GpuJob>(ready.model, ready.workload, ready.entered.whole_layer);
    for (const auto& kind : {cudnn_peer(*job), dense_gemm_peer(*job), sparse_matrix_peer(*job)}) {
      options.progress(kind.name);
      result.rivals.push_back(enter(kind, result.rivals.size(), ready, options, finals));
    }
    if (ready.entered.whole_layer && !options.python.empty()) {
      options.progress("torch.nn");
      result.rivals.push_back(enter_torch(result.rivals.size(), ready, options.python, finals));
    }
  }
  for (const Finalist& finalist : finals) contestants.push_back(finalist.contestant.get());
  options.progress(fmt::format("race of {}", contestants.size()));
  const std::vector<Timing> timings = race(contestants, ready.workload, options.rounds, {}, turn_us);
  result.recurrent = timings[0];
  result.layer = timings[1];
  for (std::size_t i = 0; i < finals.size(); ++i)
    result.rivals[finals[i].rival].attempts[finals[i].attempt].timing = timings[i + 2];
  result.gpu = measure_gpu(*own.gpu, ready.packed->plan, result.layer, own.first_call_us, many_steps);
  if (ready.entered.first_call) options.progress("first call");
  if (ready.entered.first_call) result.first_call = time_first_call(ready, options);
  return result;
}

}  // namespace sprnn::bench
