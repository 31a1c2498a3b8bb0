// What the race on a GPU finds out about one case, and which of a peer's configurations counts.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bench/bench.hpp"
#include "bench/shapes.hpp"

namespace sprnn::bench {

// One way to call a peer.
struct Attempt {
  std::string name;     // "PERSIST_STATIC fp16, batch padded to 8, graph"
  std::string refused;  // why it does not run, or empty; then the rest is set
  std::string found;    // what the peer chose by searching
  double rel_error = 0.0;
  double tried_us_per_step = 0.0;  // beforehand: a run of the fewer steps, divided by them
  std::optional<Timing> timing;    // of the race, if it was one of the finalists
};

struct Rival {
  std::string name, version;
  std::vector<Attempt> attempts;
};

// What a user waits for before the second call; seconds.
struct FirstCall {
  double plan_and_pack = 0.0;
  double session_cold = 0.0;  // kernels compiled, weights uploaded
  double session_warm = 0.0;  // kernels from the cache on disk
  double upload = 0.0;        // the packed bytes alone
  double first_run = 0.0, repeated_run = 0.0;
  std::int64_t packed_bytes = 0;
};

struct RaceResult {
  RaceCase entered;
  double density = 0.0;  // of W_hh, as stored
  std::int64_t checked_steps = 0;
  double rel_error = 0.0;
  Timing recurrent;  // the recurrent kernels alone
  Timing
      layer;  // the call, x in and y out; W_ih is one identity a gate unless the case is of the whole layer
  GpuResult gpu;
  std::optional<FirstCall> first_call;
  std::vector<Rival> rivals;
  [[nodiscard]] const Timing& raced() const { return entered.whole_layer ? layer : recurrent; }
};

// Of the attempts that ran: those within `within` of the fastest beforehand, at most `most`, fastest first.
[[nodiscard]] std::vector<std::size_t> finalists(std::span<const Attempt> attempts, std::size_t most,
                                                 double within);
// The finalist of the least slope; nullptr if all refused.
[[nodiscard]] const Attempt* best_attempt(const Rival& rival);

}  // namespace sprnn::bench
