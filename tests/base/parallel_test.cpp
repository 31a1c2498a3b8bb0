#include "base/parallel.hpp"

#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

namespace sprnn {
namespace {

TEST(ParallelFor, TakesEveryTurnOnce) {
  for (const std::size_t threads : {0, 1, 3, 8}) {
    for (const std::size_t count : {0, 1, 5, 1000}) {
      std::vector<int> turns(count);
      parallel_for(count, threads, [&](std::size_t i) { ++turns[i]; });
      EXPECT_EQ(turns, std::vector<int>(count, 1)) << threads << " threads";
    }
  }
}

TEST(ParallelFor, ThrowsWhatTheFirstTurnThrew) {
  for (const std::size_t threads : {1, 4}) {
    std::atomic<int> turns{0};
    try {
      parallel_for(100, threads, [&](std::size_t i) {
        ++turns;
        if (i % 10 == 7) throw std::runtime_error(std::to_string(i));
      });
      FAIL() << "nothing was thrown";
    } catch (const std::runtime_error& error) {
      EXPECT_STREQ(error.what(), "7");
    }
    EXPECT_EQ(turns, 100);
  }
}

}  // namespace
}  // namespace sprnn
