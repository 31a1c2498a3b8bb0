// Long runs that ask whether to go on: the same bits as without asking, and an end when told so.
#include <gtest/gtest.h>

#include "sprnn/engine.hpp"
#include "sprnn/error.hpp"
#include "support/random_model.hpp"

namespace sprnn::test {
namespace {

class KeepGoing : public testing::TestWithParam<const char*> {
 protected:
  KeepGoing() {
    ModelSpec spec;
    spec.cell = lstm_cell();
    spec.hidden = 20;
    spec.layers = 2;
    spec.directions = Directions::both;
    model_ = random_model(spec);
    in_ = random_inputs(model_, 300, 3, 5);
    lengths_ = {300, 17, 170};
    const Problem problem = describe(model_, 3);
    const Device device = find_device(std::string(GetParam()) == "cpu" ? "cpu" : "h100");
    packed_ = std::make_shared<const Packed>(pack(model_, make_plan(problem, device)));
  }

  std::vector<float> run(Session& session, std::function<bool()> keep_going) const {
    std::vector<float> y(static_cast<std::size_t>(300 * 3 * model_.output_size()));
    session.reset();
    session.run({.steps = 300,
                 .x = in_.x.data(),
                 .y = y.data(),
                 .lengths = lengths_.data(),
                 .batch_first = true,
                 .keep_going = std::move(keep_going)});
    return y;
  }

  Model model_;
  Inputs in_;
  std::vector<std::int64_t> lengths_;
  std::shared_ptr<const Packed> packed_;
};

TEST_P(KeepGoing, AskingChangesNothing) {
  const auto session = find_engine(GetParam(), packed_->plan).session(packed_, {.batch = 3});
  int asked = 0;
  const std::vector<float> whole = run(*session, {});
  EXPECT_EQ(run(*session, [&] { return ++asked > 0; }), whole);
  EXPECT_GE(asked, 4 * 2);  // each direction of each layer in several parts
}

TEST_P(KeepGoing, NoEndsTheRun) {
  const auto session = find_engine(GetParam(), packed_->plan).session(packed_, {.batch = 3});
  int asked = 0;
  try {
    (void)run(*session, [&] { return ++asked < 6; });
    FAIL() << "it went on";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::interrupted);
  }
  EXPECT_EQ(asked, 6);
  const auto fresh = find_engine(GetParam(), packed_->plan).session(packed_, {.batch = 3});
  EXPECT_EQ(run(*session, {}), run(*fresh, {}));  // and the session is of use again
}

INSTANTIATE_TEST_SUITE_P(Engines, KeepGoing, testing::Values("cpu", "interpreter"));

}  // namespace
}  // namespace sprnn::test
