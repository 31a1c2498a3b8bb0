// Contestants made ready for a race: started, checked against the reference, warm, and asleep.
#pragma once

#include <memory>
#include <span>
#include <string>

#include "bench/bench.hpp"
#include "bench/gpu.hpp"
#include "bench/peers/process.hpp"

namespace sprnn::bench {

struct PeerEntrant {
  PeerResult result;                     // all but the timing
  std::unique_ptr<PeerProcess> process;  // null if refused
};

struct OwnEntrant {
  std::unique_ptr<Contestant> contestant;
  const Session* session = nullptr;  // the contestant's
  GpuContestant* gpu = nullptr;      // the contestant, of engine cuda
  double first_call_us = 0.0;        // of all steps
  double rel_error = 0.0;
};

// A peer whose output is not the layer's is refused too. `reference` holds the first steps' output.
[[nodiscard]] PeerEntrant enter_peer(const std::string& name, const Model& model, const Workload& workload,
                                     std::span<const double> reference, const BenchOptions& options);
// `model` is what `packed` holds. Throws Error(internal) if the output is not the layer's, Error(unsupported)
// if the layer's own values leave its type's range.
[[nodiscard]] OwnEntrant enter_session(std::shared_ptr<const Packed> packed, const Model& model,
                                       const Workload& workload, std::span<const double> reference,
                                       const BenchOptions& options);

// Planned for what options.engine runs on.
[[nodiscard]] std::shared_ptr<const Packed> pack_for(const Model& model, const BenchOptions& options);

}  // namespace sprnn::bench
