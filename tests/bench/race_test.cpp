// The race on contestants with a clock of their own, so that every figure is known.
#include "bench/race.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "bench/quiet.hpp"
#include "bench/session_contestant.hpp"
#include "bench/workload.hpp"

namespace sprnn::bench {
namespace {

// Takes `intercept` microseconds a run and `slope` a step, and every seventh run is disturbed.
class Clockwork final : public Contestant {
 public:
  Clockwork(double slope, double intercept, const Workload& workload, int& awake)
      : slope_(slope), intercept_(intercept), workload_(workload), awake_(awake) {}
  double run(std::size_t length, std::size_t input_set) override {
    EXPECT_TRUE(is_awake_);
    EXPECT_EQ(awake_, 1) << "somebody else is awake during a run";
    EXPECT_LT(input_set, static_cast<std::size_t>(workload_.input_sets));
    ++runs_;
    const double undisturbed = intercept_ + slope_ * static_cast<double>(workload_.lengths[length]);
    return runs_ % 7 == 0 ? 10.0 * undisturbed : undisturbed;
  }
  std::vector<float> output() override { return {}; }
  void wake() override { is_awake_ = true, ++awake_; }
  void sleep() override { is_awake_ = false, --awake_; }

 private:
  double slope_, intercept_;
  const Workload& workload_;
  int& awake_;
  bool is_awake_ = false;
  int runs_ = 0;
};

Workload workload_of(std::int64_t steps) {
  return {.batch = 1, .lengths = timed_lengths(steps), .input_sets = 3, .x = {}};
}

TEST(Race, OneIsAwakeAtATimeAndMediansIgnoreDisturbances) {
  const Workload workload = workload_of(1280);
  int awake = 0;
  Clockwork slow(4.0, 1000.0, workload, awake), fast(2.0, 0.0, workload, awake);
  Contestant* const contestants[] = {&slow, &fast};
  const std::vector<Timing> timings = race(contestants, workload, 5, {});
  ASSERT_EQ(timings.size(), 2U);
  EXPECT_EQ(awake, 0);
  EXPECT_DOUBLE_EQ(timings[0].us_per_step, 4.0 + 1000.0 / 1280.0);
  EXPECT_DOUBLE_EQ(timings[0].slope_us_per_step.value(), 4.0);
  EXPECT_NEAR(timings[0].intercept_us.value(), 1000.0, 1e-6);
  EXPECT_THAT(timings[0].run_us, testing::ElementsAre(6120.0, 2024.0));
  EXPECT_DOUBLE_EQ(timings[1].us_per_step, 2.0);
  EXPECT_DOUBLE_EQ(timings[1].us_per_step_min, 2.0);
  EXPECT_GE(timings[1].repeats, 5);
}

TEST(Race, FewStepsHaveNoSlope) {
  const Workload workload = workload_of(9);
  int awake = 0;
  Clockwork one(1.0, 0.0, workload, awake);
  Contestant* const contestants[] = {&one};
  EXPECT_FALSE(race(contestants, workload, 1, {}).front().slope_us_per_step.has_value());
}

TEST(Race, StopsWhenAskedTo) {
  const Workload workload = workload_of(100);
  int awake = 0, asked = 0;
  Clockwork one(1.0, 0.0, workload, awake);
  Contestant* const contestants[] = {&one};
  try {
    (void)race(contestants, workload, 5, [&](double, std::string_view) { return ++asked < 3; });
    FAIL() << "the race went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::interrupted);
  }
  EXPECT_EQ(awake, 0);
}

TEST(Race, MedianOfAnEvenCountIsTheMeanOfTheTwoInTheMiddle) {
  EXPECT_EQ(median({4.0, 1.0, 3.0}), 3.0);
  EXPECT_EQ(median({4.0, 1.0, 3.0, 100.0}), 3.5);
}

TEST(Quiet, TellsOfLoadAndOfPeersThatTheRaceDisturbed) {
  EXPECT_GE(load_of_others(), 0.0);
  PeerResult steady, disturbed, refused;
  steady.name = "steady";
  steady.us_per_step_alone = 100.0;
  steady.timing.us_per_step = 109.0;
  disturbed = steady;
  disturbed.name = "disturbed";
  disturbed.timing.us_per_step = 111.0;
  refused.name = "refused";
  refused.refused = "no";
  EXPECT_THAT(doubts(0.1, {steady, refused}), testing::IsEmpty());
  EXPECT_THAT(
      doubts(1.0, {disturbed, steady}),
      testing::ElementsAre(testing::HasSubstr("1.0 cores"), testing::HasSubstr("disturbed took 111.00")));
}

TEST(OtherThreads, ASpinningOneIsSeenAndASleepingOneIsNot) {
  std::atomic<bool> started{false};
  std::atomic<bool> spin{true};
  std::atomic<bool> leave{false};
  std::thread thread([&] {
    started = true;
    while (spin.load()) {
    }
    leave.wait(false);
  });
  while (!started) std::this_thread::yield();
  // A spinning thread is always runnable, so one look is enough.
  EXPECT_FALSE(other_threads_sleep());
  spin = false;
  bool slept = false;
  for (int look = 0; look < 5000 && !slept; ++look) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    slept = other_threads_sleep();
  }
  EXPECT_TRUE(slept);
  leave = true;
  leave.notify_all();
  thread.join();
}

}  // namespace
}  // namespace sprnn::bench
