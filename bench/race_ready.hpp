// A case of the race on a GPU, made ready on the processor.
#pragma once

#include <memory>

#include "bench/peers/peer.hpp"
#include "bench/shapes.hpp"
#include "sprnn/pack.hpp"

namespace sprnn::bench {

inline constexpr std::int64_t few_steps = 256, many_steps = 1280;  // the slope is taken between them
inline constexpr std::int64_t short_steps = 64;                    // what a short call costs

// All that needs no GPU, so that many cases can be made ready at once.
struct ReadyCase {
  RaceCase entered;
  Model model;
  std::shared_ptr<const Packed> packed;
  Workload workload;
  std::vector<double> reference;  // of the first steps
  std::int64_t checked_steps = 0;
};

// The layer of a case: where the recurrent part alone is raced, W_ih is one identity a gate, so that every
// contestant computes the same function whether it multiplies by it or adds x.
[[nodiscard]] Model race_model(const RaceCase& entered);
[[nodiscard]] ReadyCase make_ready(const RaceCase& entered, const Device& device);

}  // namespace sprnn::bench
