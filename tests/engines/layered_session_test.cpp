// What all sessions share, seen through an engine that runs each direction by the naive loop.
#include "engines/layered_session.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <new>

#include "sprnn/error.hpp"
#include "support/random_model.hpp"
#include "verify/naive.hpp"

namespace sprnn {
namespace {

constexpr std::int64_t tile_steps = 4;

// A packed model without sections: the session below never looks at them.
std::shared_ptr<const Packed> without_sections(const Model& model) {
  auto packed = std::make_shared<Packed>();
  packed->plan.problem = describe(model, 1);
  packed->plan.directions.resize(packed->plan.problem.directions.size());
  return packed;
}

class NaiveSession : public LayeredSession {
 public:
  NaiveSession(const Model& model, int batch)
      : LayeredSession(without_sections(model), batch, tile_steps), model_(model) {}

  [[nodiscard]] std::string_view engine() const noexcept override { return "naive"; }
  [[nodiscard]] std::int64_t longest_run() const { return longest_run_; }
  [[nodiscard]] const Packed* packed() const { return packed_.get(); }
  bool refuse_weights = false;

 private:
  void weights_changed() override {
    if (refuse_weights) throw std::bad_alloc();
  }
  void run_direction(std::size_t direction, const DirectionRun& run) override {
    longest_run_ = std::max(longest_run_, run.steps);
    const auto per_layer = static_cast<std::size_t>(model_.num_directions());
    const Direction& weights = model_.layers[direction / per_layer].directions[direction % per_layer];
    const Model one{
        model_.dtype, weights.w_ih.cols, model_.hidden_size, model_.projection_size, {{{weights}}}};
    const std::int64_t width = one.state_size();
    for (std::int64_t b = 0; b < batch(); ++b) {
      std::vector<float> x;
      for (std::int64_t t = 0; t < run.steps; ++t) {
        const float* from = run.x + t * run.x_time + b * run.x_batch;
        x.insert(x.end(), from, from + one.input_size);
      }
      const std::int64_t length = run.lengths == nullptr ? run.steps : run.lengths[b];
      float* h = run.h + b * width;
      float* c = run.c == nullptr ? nullptr : run.c + b * one.hidden_size;
      const NaiveOutput out =
          run_naively(one, run.steps, 1, x.data(), &length, {h, h + width},
                      c == nullptr ? std::vector<float>{} : std::vector<float>(c, c + one.hidden_size));
      for (std::int64_t t = 0; t < run.steps; ++t) {
        std::copy_n(out.y.begin() + t * width, width, run.y + t * run.y_time + b * run.y_batch);
      }
      std::copy(out.h.begin(), out.h.end(), h);
      std::copy(out.c.begin(), out.c.end(), c);
    }
  }

  Model model_;
  std::int64_t longest_run_ = 0;
};

struct Result {
  std::vector<float> y, h, c;
};

Result run(Session& session, const Model& model, const test::Inputs& in, bool batch_first = false) {
  Result result{std::vector<float>(static_cast<std::size_t>(in.steps * in.batch * model.output_size())),
                std::vector<float>(in.h0.size()), std::vector<float>(in.c0.size())};
  session.set_state(in.h0, in.c0);
  session.run({in.steps, in.x.data(), result.y.data(), in.lengths.empty() ? nullptr : in.lengths.data(),
               batch_first});
  session.get_state(result.h, result.c);
  return result;
}

NaiveOutput expected(const Model& model, const test::Inputs& in) {
  return run_naively(model, in.steps, in.batch, in.x.data(), in.lengths.empty() ? nullptr : in.lengths.data(),
                     in.h0, in.c0);
}

test::ModelSpec projected_lstm() {
  return {.cell = lstm_cell(), .input = 5, .hidden = 7, .projection = 3, .layers = 3, .seed = 11};
}

// Seven steps are two tiles: the lengths below end in the first, in the second and at the seam.
TEST(LayeredSession, LayersMeetAcrossTilesAndLengths) {
  const Model model = test::random_model(projected_lstm());
  test::Inputs in = test::random_inputs(model, 7, 4, 12);
  in.lengths = {7, 4, 1, 6};
  NaiveSession session(model, 4);
  const Result result = run(session, model, in);
  const NaiveOutput wanted = expected(model, in);
  EXPECT_EQ(result.y, wanted.y);
  EXPECT_EQ(result.h, wanted.h);
  EXPECT_EQ(result.c, wanted.c);
  EXPECT_EQ(session.longest_run(), tile_steps);
}

TEST(LayeredSession, BidirectionalLayersSeeTheWholeSequence) {
  test::ModelSpec spec = projected_lstm();
  spec.directions = test::Directions::both;
  const Model model = test::random_model(spec);
  const test::Inputs in = test::random_inputs(model, 9, 3, 13, test::Lengths::mixed);
  NaiveSession session(model, 3);
  const Result result = run(session, model, in);
  const NaiveOutput wanted = expected(model, in);
  EXPECT_EQ(result.y, wanted.y);
  EXPECT_EQ(result.h, wanted.h);
  EXPECT_EQ(session.longest_run(), 9);
}

TEST(LayeredSession, BidirectionalModelsRefuseChunksUntilReset) {
  const Model model =
      test::random_model({.cell = gru_cell(), .directions = test::Directions::both, .seed = 5});
  const test::Inputs in = test::random_inputs(model, 3, 1, 6);
  NaiveSession session(model, 1);
  run(session, model, in);
  std::vector<float> y(static_cast<std::size_t>(3 * model.output_size()));
  try {
    session.run({3, in.x.data(), y.data()});
    FAIL() << "the second chunk ran";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), ErrorCode::unsupported);
  }
  session.reset();
  EXPECT_NO_THROW(session.run({3, in.x.data(), y.data()}));
}

TEST(LayeredSession, BatchFirstIsTheSameNumbersInAnotherOrder) {
  const Model model = test::random_model(projected_lstm());
  const test::Inputs in = test::random_inputs(model, 6, 3, 14, test::Lengths::mixed);
  test::Inputs swapped = in;
  for (std::int64_t t = 0; t < in.steps; ++t) {
    for (std::int64_t b = 0; b < in.batch; ++b) {
      std::copy_n(in.x.begin() + (t * in.batch + b) * model.input_size, model.input_size,
                  swapped.x.begin() + (b * in.steps + t) * model.input_size);
    }
  }
  NaiveSession session(model, 3);
  const Result time_major = run(session, model, in);
  const Result batch_major = run(session, model, swapped, true);
  const std::int64_t width = model.output_size();
  for (std::int64_t t = 0; t < in.steps; ++t) {
    for (std::int64_t b = 0; b < in.batch; ++b) {
      for (std::int64_t i = 0; i < width; ++i) {
        ASSERT_EQ(batch_major.y[static_cast<std::size_t>((b * in.steps + t) * width + i)],
                  time_major.y[static_cast<std::size_t>((t * in.batch + b) * width + i)]);
      }
    }
  }
}

TEST(LayeredSession, StatesOfBatchEntriesAreTheirOwn) {
  const Model model = test::random_model({.cell = lstm_cell(), .dtype = DType::fp16, .layers = 2, .seed = 7});
  NaiveSession session(model, 3);
  const test::Inputs in = test::random_inputs(model, 2, 3, 8);
  session.set_state(in.h0, in.c0);
  session.reset(1);
  std::vector<float> h(2 * 16), c(2 * 16);
  session.get_state(1, h, c);
  EXPECT_THAT(h, testing::Each(0.0F));
  EXPECT_THAT(c, testing::Each(0.0F));
  for (std::size_t i = 0; i < h.size(); ++i) h[i] = c[i] = static_cast<float>(i) + 0.25F;
  session.set_state(2, h, c);
  std::vector<float> all_h(in.h0.size()), all_c(in.c0.size());
  session.get_state(all_h, all_c);
  for (std::size_t layer = 0; layer < 2; ++layer) {
    for (std::size_t i = 0; i < 16; ++i) {
      const std::size_t at = layer * 3 * 16 + i;
      EXPECT_EQ(all_h[at], in.h0[at]);
      EXPECT_EQ(all_c[at + 16], 0.0F);
      EXPECT_EQ(all_h[at + 32], h[layer * 16 + i]);
    }
  }
}

TEST(LayeredSession, WrongCallsAreNamed) {
  const Model model = test::random_model({.cell = gru_cell(), .seed = 9});
  NaiveSession session(model, 2);
  std::vector<float> x(2 * 2 * 8), y(2 * 2 * 16), state(2 * 16);
  const auto message = [](auto&& call) -> std::string {
    try {
      call();
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::invalid_argument);
      return error.what();
    }
    return "no error";
  };
  const std::int64_t lengths[] = {2, 3};
  using testing::HasSubstr;
  EXPECT_THAT(message([&] { session.run({0, x.data(), y.data()}); }), HasSubstr("0 timesteps"));
  EXPECT_THAT(message([&] { session.run({2, nullptr, y.data()}); }), HasSubstr("x is null"));
  EXPECT_THAT(message([&] { session.run({2, x.data(), nullptr}); }), HasSubstr("y is null"));
  EXPECT_THAT(message([&] { session.run({2, x.data(), y.data(), lengths}); }), HasSubstr("lengths[1] is 3"));
  EXPECT_THAT(message([&] { session.set_state(y, {}); }), HasSubstr("state h: 64 values, expected 32"));
  EXPECT_THAT(message([&] { session.set_state(state, state); }), HasSubstr("only an lstm has a c"));
  EXPECT_THAT(message([&] { session.reset(2); }), HasSubstr("batch entry 2"));
  EXPECT_THAT(message([&] { session.set_weights(nullptr); }), HasSubstr("null"));
}

TEST(LayeredSession, WeightsAreReplacedOnlyUnderTheSamePlan) {
  const Model model = test::random_model({.cell = gru_cell(), .seed = 1});
  const Model other_size = test::random_model({.cell = gru_cell(), .hidden = 15, .seed = 1});
  NaiveSession session(model, 1);
  EXPECT_NO_THROW(session.set_weights(without_sections(test::random_model({.cell = gru_cell(), .seed = 2}))));
  EXPECT_THROW(session.set_weights(without_sections(other_size)), Error);
}

TEST(LayeredSession, WeightsThatCannotBeTakenLeaveTheOldOnes) {
  const Model model = test::random_model({.cell = gru_cell(), .seed = 1});
  NaiveSession session(model, 1);
  const Packed* before = session.packed();
  session.refuse_weights = true;
  EXPECT_THROW(session.set_weights(without_sections(model)), std::bad_alloc);
  EXPECT_EQ(session.packed(), before);
}

}  // namespace
}  // namespace sprnn
