// How long a CTA waits after its own store before it polls: measured, since the best wait differs with the
// size of the state, the number of CTAs and the GPU, and is worth up to 0.2 us a timestep. Polls that come
// too early fail, and failing polls keep the words that they wait for from arriving.
#pragma once

#include <functional>
#include <string>

namespace sprnn::cuda {

// The wait in cycles that takes least; `time` runs some timesteps with it and says how many microseconds they
// took. What was measured for a key is kept, so that further sessions of a plan do not measure again. If
// `time` throws Error(deadline), other work holds the GPU: then a middling wait, and nothing is kept; so too
// for timesteps that take so long that the wait is nothing beside them.
[[nodiscard]] int tuned_wait(const std::string& key, const std::function<double(int wait)>& time);

}  // namespace sprnn::cuda
