// The reference against PyTorch, onnxruntime and ONNX's reference evaluator (golden/make.py says who of
// them computes what).
//
// ONNX's text, onnxruntime 1.20.1 and the evaluator of onnx 1.17.0 differ in two places. sprnn/cell.hpp:
// - clip: the text bounds "the input of activations"; the evaluator ignores clip; onnxruntime bounds the
//   arguments of f and g, not that of h(c'). cell.hpp follows onnxruntime.
// - ThresholdedRelu at x == alpha: the text of RNN, GRU and LSTM gives x; onnxruntime gives 0; the evaluator
//   has no such activation. cell.hpp follows the text: see OnnxruntimeDiffersWhereThresholdedReluSwitches.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engines/reference/reference.hpp"
#include "reference/golden.hpp"
#include "support/random_model.hpp"

namespace sprnn::test {
namespace {

constexpr const char* threshold_edge = "rnn ThresholdedRelu edge";

reference::Output run_reference(const GoldenCase& golden) {
  const std::vector<double> x = to_double(golden.x);
  return reference::run(golden.model, golden.steps, golden.batch, x.data(),
                        golden.lengths.empty() ? nullptr : golden.lengths.data(), golden.initial);
}

void expect_agreement(const GoldenCase& golden) {
  SCOPED_TRACE(golden.name + ", " + golden.source);
  EXPECT_NO_THROW(validate(golden.model));
  const reference::Output out = run_reference(golden);
  // The worst of the float32 sources is off by 2e-6; a wrong equation shows as 1e-3 or more.
  const double tolerance = golden.is_double ? 1e-12 : 5e-6;
  EXPECT_LE(rel_error(out.y, golden.y), tolerance);
  if (!golden.h.empty()) {
    EXPECT_LE(rel_error(out.final.h, golden.h), tolerance);
  }
  if (!golden.c.empty()) {
    EXPECT_LE(rel_error(out.final.c, golden.c), tolerance);
  }
}

TEST(ReferenceGolden, PyTorch) {
  const std::vector<GoldenCase> cases = load_golden("pytorch");
  EXPECT_EQ(cases.size(), 53U);
  for (const GoldenCase& golden : cases) expect_agreement(golden);
}

TEST(ReferenceGolden, Onnx) {
  const std::vector<GoldenCase> cases = load_golden("onnx");
  EXPECT_EQ(cases.size(), 97U);
  for (const GoldenCase& golden : cases) {
    // Batch-major cases are the session's to transpose: engine_test.cpp.
    if (golden.name != threshold_edge && !golden.batch_first) expect_agreement(golden);
  }
}

TEST(ReferenceGolden, OnnxruntimeDiffersWhereThresholdedReluSwitches) {
  const std::vector<GoldenCase> cases = load_golden("onnx");
  const auto golden = std::ranges::find(cases, threshold_edge, &GoldenCase::name);
  ASSERT_NE(golden, cases.end());
  const reference::Output out = run_reference(*golden);
  ASSERT_EQ(golden->x.at(0), golden->model.layers[0].directions[0].cell.activations[0].alpha);
  EXPECT_EQ(golden->y.at(0), 0.0);
  EXPECT_EQ(out.y.at(0), golden->x.at(0));
  for (std::size_t i = 1; i < out.y.size(); ++i)
    EXPECT_EQ(out.y[i], golden->y.at(i)) << "at x = " << golden->x[i];
}

}  // namespace
}  // namespace sprnn::test
