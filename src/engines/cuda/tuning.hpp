// How long a CTA waits after its own store before it polls: measured, since the best wait differs with the
// size of the state, the number of CTAs and the GPU. Polls that come too early fail, and failing polls keep
// the words that they wait for from arriving: that costs some 0.2 us a timestep of a small state, but of 36
// KB and more a whole round of polls, and then the next timestep's come too early as well. There a wait that
// is just too short is as good as any in one run and half as slow again in the next (H200: LSTM 2240, batch
// 8, 600 cycles 3.2 to 4.3 us, 800 3.1; tanh 3520, batch 16, 700 5.5 to 8.3, 1200 5.6).
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace sprnn::cuda {

// Runs so many timesteps with a wait, in cycles, and says how many microseconds they took.
using TimedRun = std::function<double(int wait, std::int64_t steps)>;

// Where nothing could be measured.
inline constexpr int middling_wait = 200;

// The wait that takes least in its worst run, or the next longer one where the next shorter one is far worse.
// What was measured for a key is kept, so that further sessions of a plan do not measure again.
// middling_wait, and nothing is kept, for timesteps that take so long that the wait is nothing beside them,
// or that others make take so long. What `time` throws goes on to the caller.
[[nodiscard]] int tuned_wait(const std::string& key, const TimedRun& time);

}  // namespace sprnn::cuda
