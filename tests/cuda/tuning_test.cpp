#include "engines/cuda/tuning.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "sprnn/error.hpp"

namespace sprnn::cuda {
namespace {

TEST(TunedWait, IsTheOneThatTakesLeastInItsBestRun) {
  int runs = 0;
  // Every other run is disturbed.
  const auto time = [&](int wait) { return std::abs(wait - 260) + (++runs % 2 == 0 ? 1000.0 : 0.0); };
  EXPECT_EQ(tuned_wait("disturbed", time), 250);
}

TEST(TunedWait, IsMeasuredOnceForAKey) {
  int runs = 0;
  const auto time = [&](int wait) {
    ++runs;
    return static_cast<double>(wait);
  };
  EXPECT_EQ(tuned_wait("once", time), 0);
  const int first = runs;
  EXPECT_EQ(tuned_wait("once", [&](int) { return ++runs; }), 0);
  EXPECT_EQ(runs, first);
}

TEST(TunedWait, IsNotMeasuredForLongTimesteps) {
  int runs = 0;
  const auto time = [&](int) {
    ++runs;
    return 1e6;
  };
  EXPECT_EQ(tuned_wait("long", time), 200);
  EXPECT_EQ(runs, 2);
  // The first run, slow for other reasons, decides nothing.
  runs = 0;
  EXPECT_EQ(tuned_wait("slow start", [&](int wait) { return ++runs == 1 ? 1e6 : 700.0 - wait; }), 700);
}

TEST(TunedWait, NeedsNoGpuOfItsOwn) {
  const auto held = [](int) -> double { throw Error(ErrorCode::deadline, "given up"); };
  EXPECT_EQ(tuned_wait("held", held), 200);
  EXPECT_EQ(tuned_wait("held", [](int wait) { return static_cast<double>(700 - wait); }), 700);  // not kept
  EXPECT_THROW((void)tuned_wait("broken", [](int) -> double { throw Error(ErrorCode::device, "lost"); }),
               Error);
}

}  // namespace
}  // namespace sprnn::cuda
