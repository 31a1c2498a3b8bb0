// Drawn problems: every engine that plans them agrees with the float64 reference, writes all of its output
// and nothing else. SPRNN_SEED draws others; a failure prints the seed and the problem.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "engines/reference/reference.hpp"
#include "sprnn/engine.hpp"
#include "support/drawn_problem.hpp"
#include "support/sanitizers.hpp"
#include "verify/naive.hpp"

namespace sprnn {
namespace {

std::uint64_t base_seed() {
  const char* given = std::getenv("SPRNN_SEED");
  return given == nullptr ? 20260101 : std::strtoull(given, nullptr, 10);
}

double fixed_bound(DType dtype) { return dtype == DType::fp32 ? 1e-5 : dtype == DType::fp16 ? 2e-3 : 1.5e-2; }

struct Expected {
  reference::Output exact;
  double bound;
};

Expected expect(const Model& model, const test::Inputs& in) {
  const std::int64_t* lengths = in.lengths.empty() ? nullptr : in.lengths.data();
  Expected expected{reference::run(model, in.steps, in.batch, test::to_double(in.x).data(), lengths,
                                   {test::to_double(in.h0), test::to_double(in.c0)}),
                    fixed_bound(model.dtype)};
  const NaiveOutput naive = run_naively(model, in.steps, in.batch, in.x.data(), lengths, in.h0, in.c0);
  for (const double naive_error :
       {test::rel_error(naive.y, expected.exact.y), test::rel_error(naive.h, expected.exact.final.h),
        test::rel_error(naive.c, expected.exact.final.c)}) {
    if (std::isfinite(naive_error)) expected.bound = std::max(expected.bound, 2.0 * naive_error);
  }
  return expected;
}

void check_engine(const char* target, const Model& model, const test::Inputs& in, const Expected& expected) {
  const Plan plan = make_plan(describe(model, static_cast<int>(in.batch)), find_device(target));
  const auto packed = std::make_shared<const Packed>(pack(model, plan));
  ASSERT_NO_THROW(validate(*packed));
  ASSERT_EQ(unpack(*packed), model);
  const Engine& engine = find_engine("auto", plan);
  SCOPED_TRACE(fmt::format("{} on {}", target, engine.name()));
  const auto session = engine.session(packed, {.batch = static_cast<int>(in.batch), .threads = 2});
  test::GuardedOutput y(expected.exact.y.size());
  test::GuardedOutput h(in.h0.size());
  test::GuardedOutput c(in.c0.size());
  session->set_state(in.h0, in.c0);
  session->run({in.steps, in.x.data(), y.data(), in.lengths.empty() ? nullptr : in.lengths.data()});
  session->get_state(h.values(), c.values());
  EXPECT_EQ(y.problem(), "");
  EXPECT_EQ(h.problem(), "");
  EXPECT_EQ(c.problem(), "");
  EXPECT_LE(test::rel_error(y.values(), expected.exact.y), expected.bound);
  EXPECT_LE(test::rel_error(h.values(), expected.exact.final.h), expected.bound);
  EXPECT_LE(test::rel_error(c.values(), expected.exact.final.c), expected.bound);
}

class Drawn : public testing::TestWithParam<int> {};
// Ten programs' worth of draws, so that a failure is found again quickly by its number.
INSTANTIATE_TEST_SUITE_P(Problems, Drawn, testing::Range(0, 10));

TEST_P(Drawn, EnginesAgreeWithTheReference) {
  constexpr int problems = 12;
  for (int i = 0; i < test::scaled(problems); ++i) {
    const std::uint64_t seed = base_seed() + static_cast<std::uint64_t>(GetParam() * problems + i);
    const test::DrawnProblem drawn = test::draw_problem(seed, i == 0);
    const Model model = test::random_model(drawn.spec);
    const test::Inputs in =
        test::random_inputs(model, drawn.steps, drawn.batch, drawn.input_seed, drawn.lengths);
    SCOPED_TRACE(fmt::format("seed {}: {}", seed, test::to_string(drawn)));
    const Expected expected = expect(model, in);
    check_engine("cpu", model, in, expected);
    check_engine("h100", model, in, expected);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace sprnn
