// two_sessions MODEL.sprnn THREADS SECONDS [STEPS]: how much longer a call takes when a second session of as
// many threads runs on the same cores: microseconds a timestep alone, of each of the two, and the ratio. The
// model must be one that takes chunks (no reverse direction).
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "sprnn/engine.hpp"
#include "sprnn/error.hpp"

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Mean microseconds a timestep of calls made until `seconds` have passed: what counts is how much gets done.
double microseconds_a_step(sprnn::Session& session, std::int64_t steps, double seconds) {
  const sprnn::Problem& problem = session.problem();
  const std::vector<float> x(static_cast<std::size_t>(steps * problem.input_size), 0.5F);
  std::vector<float> y(static_cast<std::size_t>(steps * problem.directions.back().w_hh.cols));
  std::int64_t done = 0;
  const Clock::time_point begin = Clock::now();
  while (seconds_since(begin) < seconds) {
    session.run({.steps = steps, .x = x.data(), .y = y.data()});
    done += steps;
  }
  return seconds_since(begin) * 1e6 / static_cast<double>(done);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 4) {
    std::fprintf(stderr, "usage: two_sessions MODEL.sprnn THREADS SECONDS [STEPS]\n");
    return 2;
  }
  const auto packed = std::make_shared<const sprnn::Packed>(sprnn::load_packed(argv[1]));
  const double seconds = std::atof(argv[3]);
  const std::int64_t steps = argc > 4 ? std::atoll(argv[4]) : 256;
  std::unique_ptr<sprnn::Session> sessions[2];
  for (auto& session : sessions) {
    session =
        sprnn::find_engine("cpu", packed->plan).session(packed, {.batch = 1, .threads = std::atoi(argv[2])});
  }
  (void)microseconds_a_step(*sessions[0], steps, seconds / 4);
  const double alone = microseconds_a_step(*sessions[0], steps, seconds);
  double together[2];
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 2; ++i) {
      callers.emplace_back([&, i] { together[i] = microseconds_a_step(*sessions[i], steps, seconds); });
    }
  }
  std::printf("alone %.2f, together %.2f and %.2f: %.2f and %.2f times\n", alone, together[0], together[1],
              together[0] / alone, together[1] / alone);
} catch (const sprnn::Error& error) {
  std::fprintf(stderr, "two_sessions: %s\n", error.what());
  return 2;
}
