#include "engines/cuda/tuning.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "sprnn/error.hpp"

namespace sprnn::cuda {
namespace {

TEST(TunedWait, IsTheOneThatTakesLeast) {
  int runs = 0;
  // Every other run is disturbed.
  const auto time = [&](int wait, std::int64_t) {
    return 1000.0 + std::abs(wait - 260) + (++runs % 2 == 0 ? 1000.0 : 0.0);
  };
  EXPECT_EQ(tuned_wait("disturbed", time), 250);
}

// As measured of tanh 3520: too early a poll delays all that follow, but not in each run.
TEST(TunedWait, IsNotOneThatIsGoodInSomeRunsOnly) {
  int runs = 0;
  const auto time = [&](int wait, std::int64_t steps) {
    const bool lucky = steps <= 128 && ++runs % 2 == 0;
    const bool late = wait >= 700 || (wait >= 400 && lucky);
    return static_cast<double>(steps) * ((late ? 5.0 : 8.0) + 5e-4 * wait);
  };
  EXPECT_EQ(tuned_wait("bistable", time), 800);  // one more than the least that is good in all
}

TEST(TunedWait, IsTheLongestIfNoneIsEnough) {
  EXPECT_EQ(
      tuned_wait("long", [](int wait,
                            std::int64_t steps) { return static_cast<double>(steps) * (8.0 - 1e-3 * wait); }),
      1500);
}

TEST(TunedWait, IsMeasuredOnceForAKey) {
  int runs = 0;
  const auto time = [&](int wait, std::int64_t) {
    ++runs;
    return 100.0 + wait;
  };
  EXPECT_EQ(tuned_wait("once", time), 0);
  const int first = runs;
  EXPECT_EQ(tuned_wait("once", [&](int, std::int64_t) { return ++runs; }), 0);
  EXPECT_EQ(runs, first);
}

TEST(TunedWait, IsNotMeasuredForLongTimesteps) {
  int runs = 0;
  const auto time = [&](int, std::int64_t) {
    ++runs;
    return 1e6;
  };
  EXPECT_EQ(tuned_wait("long timesteps", time), middling_wait);
  EXPECT_EQ(runs, 2);
  // Other work may have made them long: the next session measures anew.
  EXPECT_EQ(tuned_wait("long timesteps", [](int wait, std::int64_t) { return 1700.0 - wait; }), 1500);
  // The first run, slow for other reasons, decides nothing.
  runs = 0;
  EXPECT_EQ(
      tuned_wait("slow start", [&](int wait, std::int64_t) { return ++runs == 1 ? 1e6 : 1700.0 - wait; }),
      1500);
}

TEST(TunedWait, IsNotKeptOfAFailedRun) {
  const auto held = [](int, std::int64_t) -> double { throw Error(ErrorCode::deadline, "given up"); };
  EXPECT_THROW((void)tuned_wait("held", held), Error);
  EXPECT_EQ(tuned_wait("held", [](int wait, std::int64_t) { return 1700.0 - wait; }), 1500);
}

}  // namespace
}  // namespace sprnn::cuda
