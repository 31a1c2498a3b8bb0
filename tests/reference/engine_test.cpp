// The reference behind the interface of the engines.
#include "engines/reference/engine.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engines/reference/reference.hpp"
#include "reference/golden.hpp"
#include "support/expect_error.hpp"
#include "support/random_model.hpp"

namespace sprnn::test {
namespace {

const Device cpu_device{"cpu", CpuDescription{}};
const Device gpu_device{"h100", GpuDescription{}};

std::shared_ptr<const Packed> packed(const Model& model, const Device& device = cpu_device) {
  return std::make_shared<const Packed>(pack(model, make_plan(describe(model, 1), device)));
}

std::unique_ptr<Session> open(const Model& model, std::int64_t batch) {
  return reference_engine().session(packed(model),
                                    {.batch = static_cast<int>(batch), .threads = 1, .isa = ""});
}

struct Outputs {
  std::vector<float> y, h, c;
};

std::vector<float> to_float(const std::vector<double>& values) { return {values.begin(), values.end()}; }

// What a session should give: x and h0 rounded to the dtype, the final state rounded to it.
Outputs expected(const Model& model, const Inputs& inputs) {
  std::vector<float> x = inputs.x;
  std::vector<float> h0 = inputs.h0;
  round_to(model.dtype, x);
  round_to(model.dtype, h0);
  const reference::Output out = reference::run(model, inputs.steps, inputs.batch, to_double(x).data(),
                                               inputs.lengths.empty() ? nullptr : inputs.lengths.data(),
                                               {to_double(h0), to_double(inputs.c0)});
  Outputs outputs{to_float(out.y), to_float(out.final.h), to_float(out.final.c)};
  round_to(model.dtype, outputs.h);
  round_to(model.dtype, outputs.c);
  return outputs;
}

std::vector<float> run(Session& session, const Model& model, const Inputs& inputs, bool batch_first = false) {
  GuardedOutput y(static_cast<std::size_t>(inputs.steps * inputs.batch * model.output_size()));
  session.run({.steps = inputs.steps,
               .x = inputs.x.data(),
               .y = y.data(),
               .lengths = inputs.lengths.empty() ? nullptr : inputs.lengths.data(),
               .batch_first = batch_first});
  EXPECT_EQ(y.problem(), "");
  return {y.values().begin(), y.values().end()};
}

Outputs outputs_of(Session& session, const Model& model, const Inputs& inputs) {
  session.set_state(inputs.h0, inputs.c0);
  Outputs outputs;
  outputs.y = run(session, model, inputs);
  outputs.h.resize(inputs.h0.size());
  outputs.c.resize(inputs.c0.size());
  session.get_state(outputs.h, outputs.c);
  return outputs;
}

void expect_equal(const Outputs& a, const Outputs& b) {
  EXPECT_EQ(a.y, b.y);
  EXPECT_EQ(a.h, b.h);
  EXPECT_EQ(a.c, b.c);
}

std::vector<ModelSpec> specs() {
  std::vector<ModelSpec> all;
  std::vector<Cell> cells = standard_cells();
  for (const Cell& cell : variant_cells()) cells.push_back(cell);
  for (const Cell& cell : cells) {
    ModelSpec spec{.cell = cell, .input = 3, .hidden = 5, .layers = 2};
    spec.dtype = static_cast<DType>(all.size() % 3);
    spec.directions = static_cast<Directions>(all.size() % 3);
    spec.density = 0.7;
    spec.seed = all.size();
    if (cell.kind == CellKind::lstm) {
      spec.projection = 4;
      spec.peephole = true;
    }
    all.push_back(spec);
  }
  return all;
}

TEST(ReferenceEngine, RunsEveryCellFromEitherKindOfPlan) {
  for (const ModelSpec& spec : specs()) {
    SCOPED_TRACE(to_string(spec));
    const Model model = random_model(spec);
    Inputs inputs = random_inputs(model, 6, 3, spec.seed, Lengths::mixed);
    for (float& value : inputs.x) value += 1e-4F;  // off the grid of the narrow dtypes
    for (float& value : inputs.h0) value += 1e-4F;
    for (const Device& device : {cpu_device, gpu_device}) {
      const std::shared_ptr<const Packed> p = packed(model, device);
      EXPECT_EQ(reference_engine().refusal(p->plan), "");
      const auto session = reference_engine().session(p, {.batch = 3, .threads = 2, .isa = ""});
      expect_equal(outputs_of(*session, model, inputs), expected(model, inputs));
    }
  }
}

TEST(ReferenceEngine, SaysWhatItIs) {
  const auto session =
      reference_engine().session(packed(random_model({})), {.batch = 2, .threads = 3, .isa = ""});
  EXPECT_EQ(reference_engine().name(), "reference");
  EXPECT_EQ(session->engine(), "reference");
  EXPECT_EQ(session->threads(), 3);
  EXPECT_EQ(session->batch(), 2);
  EXPECT_GE(reference_engine().session(packed(random_model({})), {})->threads(), 1);
}

TEST(ReferenceEngine, BatchFirstAgreesWithOnnxLayout1) {
  int cases = 0;
  for (const GoldenCase& golden : load_golden("onnx")) {
    if (!golden.batch_first) continue;
    SCOPED_TRACE(golden.name);
    ++cases;
    const auto session = open(golden.model, golden.batch);
    session->set_state(to_float(golden.initial.h), to_float(golden.initial.c));
    const Inputs inputs{
        .steps = golden.steps, .batch = golden.batch, .x = golden.x, .h0 = {}, .c0 = {}, .lengths = {}};
    EXPECT_LE(rel_error(run(*session, golden.model, inputs, true), golden.y), 1e-7);  // y is float
  }
  EXPECT_EQ(cases, 3);
}

TEST(ReferenceEngine, ChunksGiveTheBitsOfTheWhole) {
  for (ModelSpec spec : specs()) {
    spec.directions = Directions::forward;
    SCOPED_TRACE(to_string(spec));
    const Model model = random_model(spec);
    const Inputs inputs = random_inputs(model, 12, 2, spec.seed);
    const Outputs whole = expected(model, inputs);
    const auto session = open(model, 2);
    session->set_state(inputs.h0, inputs.c0);
    Outputs chunked{
        .y = {}, .h = std::vector<float>(inputs.h0.size()), .c = std::vector<float>(inputs.c0.size())};
    for (const std::int64_t steps : {1, 5, 2, 4}) {
      const std::int64_t done = static_cast<std::int64_t>(chunked.y.size()) / (2 * model.output_size());
      Inputs chunk{.steps = steps, .batch = 2, .x = {}, .h0 = {}, .c0 = {}, .lengths = {}};
      const auto begin = inputs.x.begin() + done * 2 * model.input_size;
      chunk.x.assign(begin, begin + steps * 2 * model.input_size);
      const std::vector<float> y = run(*session, model, chunk);
      chunked.y.insert(chunked.y.end(), y.begin(), y.end());
    }
    session->get_state(chunked.h, chunked.c);
    expect_equal(chunked, whole);
  }
}

void expect_error(ErrorCode code, const std::string& message_part, const std::function<void()>& call) {
  EXPECT_TRUE(throws_error(call, code, {message_part}));
}

TEST(ReferenceEngine, ReverseDirectionsTakeWholeSequencesOnly) {
  for (const Directions directions : {Directions::both, Directions::reverse}) {
    const Model model = random_model({.cell = gru_cell(), .directions = directions});
    const Inputs inputs = random_inputs(model, 4, 2, 1);
    const auto session = open(model, 2);
    const Outputs first = outputs_of(*session, model, inputs);
    const auto refused = [&] {
      std::vector<float> y(first.y.size());
      expect_error(ErrorCode::unsupported, "reverse direction",
                   [&] { session->run({.steps = 4, .x = inputs.x.data(), .y = y.data()}); });
    };
    refused();
    session->reset(1);
    refused();  // entry 0 still goes on
    session->reset(0);
    const std::vector<float> from_zeros = run(*session, model, inputs);
    session->reset();
    EXPECT_EQ(run(*session, model, inputs), from_zeros);
    expect_equal(outputs_of(*session, model, inputs), first);
  }
}

TEST(ReferenceEngine, StateOfOneEntry) {
  const Model model =
      random_model({.cell = lstm_cell(), .dtype = DType::fp16, .hidden = 4, .projection = 3, .layers = 2});
  const Inputs inputs = random_inputs(model, 5, 3, 1);
  const auto session = open(model, 3);
  const Outputs all = outputs_of(*session, model, inputs);
  std::vector<float> h(2 * 3), c(2 * 4);
  session->get_state(1, h, c);
  for (std::size_t l = 0; l < 2; ++l) {
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(h[l * 3 + i], all.h[(l * 3 + 1) * 3 + i]);
    for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(c[l * 4 + i], all.c[(l * 3 + 1) * 4 + i]);
  }

  // Entry 1 begins anew from its first state, entry 2 from zeros, entry 0 goes on.
  const std::vector<float> goes_on = [&] {
    const auto other = open(model, 3);
    outputs_of(*other, model, inputs);
    return run(*other, model, inputs);
  }();
  const std::vector<float> from_zeros = run(*open(model, 3), model, inputs);
  for (std::size_t l = 0; l < 2; ++l) {
    std::copy_n(inputs.h0.begin() + (l * 3 + 1) * 3, 3, h.begin() + l * 3);
    std::copy_n(inputs.c0.begin() + (l * 3 + 1) * 4, 4, c.begin() + l * 4);
  }
  session->set_state(1, h, c);
  session->reset(2);
  const std::vector<float> y = run(*session, model, inputs);
  for (std::size_t t = 0; t < 5; ++t) {
    for (std::size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(y[t * 9 + i], goes_on[t * 9 + i]);
      EXPECT_EQ(y[t * 9 + 3 + i], all.y[t * 9 + 3 + i]);
      EXPECT_EQ(y[t * 9 + 6 + i], from_zeros[t * 9 + 6 + i]);
    }
  }
}

TEST(ReferenceEngine, OtherWeightsKeepTheState) {
  ModelSpec spec{.cell = gru_cell(), .layers = 2};
  const Model first = random_model(spec);
  spec.seed = 2;
  const Model second = random_model(spec);
  const Inputs inputs = random_inputs(first, 4, 2, 1);
  const auto session = open(first, 2);
  Inputs after = inputs;
  after.h0 = outputs_of(*session, first, inputs).h;
  session->set_weights(packed(second));
  session->set_state(after.h0, {});
  EXPECT_EQ(run(*session, second, inputs), expected(second, after).y);

  spec.hidden = 17;
  expect_error(ErrorCode::invalid_argument, "differs",
               [&] { session->set_weights(packed(random_model(spec))); });
  spec.hidden = 16;
  spec.bias = false;
  expect_error(ErrorCode::invalid_argument, "differs",
               [&] { session->set_weights(packed(random_model(spec))); });
  expect_error(ErrorCode::invalid_argument, "null", [&] { session->set_weights(nullptr); });
}

TEST(ReferenceEngine, RefusesWhatIsWrong) {
  const Model model = random_model({.cell = lstm_cell(), .input = 2, .hidden = 3});
  const auto p = packed(model);
  const auto bad = ErrorCode::invalid_argument;
  expect_error(bad, "null", [&] { (void)reference_engine().session(nullptr, {}); });
  expect_error(bad, "batch: 0",
               [&] { (void)reference_engine().session(p, {.batch = 0, .threads = 0, .isa = ""}); });
  expect_error(bad, "batch: 4097",
               [&] { (void)reference_engine().session(p, {.batch = 4097, .threads = 0, .isa = ""}); });
  expect_error(bad, "threads: -1",
               [&] { (void)reference_engine().session(p, {.batch = 1, .threads = -1, .isa = ""}); });

  const auto session = open(model, 2);
  std::vector<float> x(8), y(12), h(6), c(6), none;
  const std::vector<std::int64_t> zero{2, 0}, long_one{3, 1};
  expect_error(bad, "of 0 timesteps", [&] { session->run({.steps = 0, .x = x.data(), .y = y.data()}); });
  expect_error(bad, "x is null", [&] { session->run({.steps = 2, .x = nullptr, .y = y.data()}); });
  expect_error(bad, "y is null", [&] { session->run({.steps = 2, .x = x.data(), .y = nullptr}); });
  expect_error(bad, "lengths[1] is 0",
               [&] { session->run({.steps = 2, .x = x.data(), .y = y.data(), .lengths = zero.data()}); });
  expect_error(bad, "lengths[0] is 3",
               [&] { session->run({.steps = 2, .x = x.data(), .y = y.data(), .lengths = long_one.data()}); });
  expect_error(bad, "state h: 0 values, expected 6", [&] { session->set_state(none, c); });
  expect_error(bad, "state c: 0 values, expected 6", [&] { session->set_state(h, none); });
  expect_error(bad, "state h: 6 values, expected 3", [&] { session->get_state(0, h, c); });
  expect_error(bad, "batch entry 2", [&] { session->reset(2); });
  expect_error(bad, "batch entry -1", [&] { session->get_state(-1, h, c); });
  expect_error(bad, "only an lstm", [&] { open(random_model({}), 1)->set_state(std::vector<float>(16), h); });
}

}  // namespace
}  // namespace sprnn::test
