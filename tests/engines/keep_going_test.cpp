// Long runs that ask whether to go on: the same bits as without asking, and an end when told so.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>

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

// Some layers are further than others: there is no state to get or to go on from.
TEST_P(KeepGoing, AnInterruptedStateIsNoState) {
  const auto session = find_engine(GetParam(), packed_->plan).session(packed_, {.batch = 3});
  int asked = 0;
  EXPECT_THROW((void)run(*session, [&] { return ++asked < 6; }), Error);
  std::vector<float> y(static_cast<std::size_t>(3 * model_.output_size()));
  const Sequence next{.steps = 1, .x = in_.x.data(), .y = y.data()};
  const auto refused = [](const auto& call) {
    try {
      call();
    } catch (const Error& error) {
      return error.code() == ErrorCode::unsupported ? std::string(error.what()) : "another code";
    }
    return std::string("not refused");
  };
  constexpr const char* reason =
      "the last run was interrupted or given up, so the state of batch entry {} is of no one time: set it or "
      "reset it";
  const std::size_t width = 4 * 20;  // layers x directions x units
  std::vector<float> h(width), c(width), all_h(3 * width), all_c(3 * width);
  EXPECT_EQ(refused([&] { session->run(next); }), fmt::format(fmt::runtime(reason), 0));
  EXPECT_EQ(refused([&] { session->run(next); }), fmt::format(fmt::runtime(reason), 0));  // it stays so
  EXPECT_EQ(refused([&] { session->get_state(all_h, all_c); }), fmt::format(fmt::runtime(reason), 0));
  // One entry at a time: a run takes all of them.
  session->reset(0);
  session->set_state(1, h, c);
  session->get_state(0, h, c);
  EXPECT_EQ(refused([&] { session->get_state(2, h, c); }), fmt::format(fmt::runtime(reason), 2));
  EXPECT_EQ(refused([&] { session->get_state(all_h, all_c); }), fmt::format(fmt::runtime(reason), 2));
  EXPECT_EQ(refused([&] { session->run(next); }), fmt::format(fmt::runtime(reason), 2));
  session->reset(2);
  session->get_state(all_h, all_c);
  session->run(next);
}

// Likewise when the question itself fails.
TEST_P(KeepGoing, AnExceptionInterruptsToo) {
  const auto session = find_engine(GetParam(), packed_->plan).session(packed_, {.batch = 3});
  int asked = 0;
  EXPECT_THROW((void)run(*session,
                         [&]() -> bool {
                           if (++asked < 6) return true;
                           throw std::runtime_error("stop");
                         }),
               std::runtime_error);
  std::vector<float> h(3 * 4 * 20), c(3 * 4 * 20);
  EXPECT_THROW(session->get_state(h, c), Error);
  session->reset();
  session->get_state(h, c);
}

INSTANTIATE_TEST_SUITE_P(Engines, KeepGoing, testing::Values("cpu", "interpreter"));

}  // namespace
}  // namespace sprnn::test
