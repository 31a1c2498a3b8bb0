// One case of the race on a GPU, run against every peer.
#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "bench/race_ready.hpp"
#include "bench/race_result.hpp"

namespace sprnn::bench {

struct GpuRaceOptions {
  int device = 0;
  int rounds = 5;
  std::string python;  // one that has torch: torch.nn races whole layers too; empty: it does not
  std::function<void(std::string_view what)> progress = [](std::string_view) {};
};

// Throws Error(internal) if our own output is wrong.
[[nodiscard]] RaceResult race_on_gpu(const ReadyCase& ready, const GpuRaceOptions& options);

}  // namespace sprnn::bench
