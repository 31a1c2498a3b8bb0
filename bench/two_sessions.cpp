// two_sessions MODEL.sprnn THREADS SECONDS [STEPS [ROUNDS]]: how much longer a call takes when a second
// session of as many threads runs on the same cores. Windows of SECONDS alone and together take turns, ROUNDS
// (5) times, so that a host whose own speed varies does not decide; printed are the medians, in microseconds
// a timestep, their ratio and the greatest of a round. The model must be one that takes chunks (no reverse
// direction).
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

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace

int main(int argc, char** argv) try {
  const int rounds = argc > 5 ? std::atoi(argv[5]) : 5;
  if (argc < 4 || argc > 6 || rounds < 1) {
    std::fprintf(stderr, "usage: two_sessions MODEL.sprnn THREADS SECONDS [STEPS [ROUNDS]]\n");
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
  std::vector<double> alone, together[2], worse;
  double greatest = 0;
  for (int round = 0; round < rounds; ++round) {
    // A session that has just shared its cores goes on with fewer workers for up to 320 ms.
    (void)microseconds_a_step(*sessions[round % 2], steps, 0.5);
    alone.push_back(microseconds_a_step(*sessions[round % 2], steps, seconds));
    double both[2];
    {
      std::vector<std::jthread> callers;
      for (int i = 0; i < 2; ++i) {
        callers.emplace_back([&, i] { both[i] = microseconds_a_step(*sessions[i], steps, seconds); });
      }
    }
    for (int i = 0; i < 2; ++i) together[i].push_back(both[i]);
    worse.push_back(std::max(both[0], both[1]));
    greatest = std::max(greatest, worse.back() / alone.back());
  }
  std::printf("alone %.2f, together %.2f and %.2f, the worse of the two %.2f: %.2f times, at most %.2f\n",
              median(alone), median(together[0]), median(together[1]), median(worse),
              median(worse) / median(alone), greatest);
} catch (const sprnn::Error& error) {
  std::fprintf(stderr, "two_sessions: %s\n", error.what());
  return 2;
}
