#include <gtest/gtest.h>

#include "sprnn/error.hpp"
#include "sprnn/prune.hpp"

namespace sprnn {
namespace {

TEST(Pattern, names_survive_a_round_trip) {
  for (const char* name :
       {"unstructured", "row", "global", "block:16x1", "block:1x8", "unit:4x1", "unit:1x1", "2:4", "1:1"}) {
    EXPECT_EQ(to_string(parse_pattern(name)), name);
  }
}

TEST(Pattern, reads_the_sizes) {
  EXPECT_EQ(parse_pattern("block:16x2"), (Pattern{Pattern::Kind::block, 16, 2}));
  EXPECT_EQ(parse_pattern("unit:4x3"), (Pattern{Pattern::Kind::unit, 4, 3}));
  EXPECT_EQ(parse_pattern("2:4"), (Pattern{Pattern::Kind::n_of_m, 2, 4}));
}

TEST(Pattern, refuses_other_names_and_lists_the_known_ones) {
  for (const char* name : {"",
                           "Row",
                           "rows",
                           "block",
                           "block:",
                           "block:16",
                           "block:x1",
                           "block:16x",
                           "block:16x1x",
                           "block:0x1",
                           "block:1x0",
                           "block:-1x4",
                           "block:+1x4",
                           "block: 1x4",
                           "block:1:4",
                           "block:99999999999x1",
                           "unit:4",
                           "unit:0x1",
                           "0:4",
                           "4:2",
                           "2:",
                           ":4",
                           "2:4:8",
                           "-2:4",
                           "2:4 "}) {
    try {
      (void)parse_pattern(name);
      ADD_FAILURE() << "accepted '" << name << "'";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument) << name;
      EXPECT_NE(std::string(error.what()).find("block:RxC"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace sprnn
