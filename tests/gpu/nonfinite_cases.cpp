// NaN, infinities and extremes: they go along stored non-zeros only, never look like a word that has not
// arrived, and states that no stamp can carry are carried all the same.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "engines/reference/reference.hpp"
#include "gpu/run_model.hpp"
#include "verify/naive.hpp"

namespace sprnn::test {

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();
const Wanted gather_plan{{.strategy = GpuStrategy::gather}};

// NaN where NaN is expected, the same infinity where one is; the rest by the project's measure.
class Comparison {
 public:
  explicit Comparison(DType dtype) : dtype_(dtype) {}

  template <class Expected>
  void add(const char* name, std::span<const float> found, std::span<const Expected> expected) {
    for (std::size_t i = 0; i < found.size(); ++i) {
      const auto wanted = static_cast<double>(expected[i]);
      const auto value = static_cast<double>(found[i]);
      if (std::isfinite(wanted) && std::isfinite(value)) {
        difference_ += (value - wanted) * (value - wanted);
        norm_ += wanted * wanted;
      } else if (!(std::isnan(wanted) && std::isnan(value)) && value != wanted && note_.empty()) {
        note_ = fmt::format("{}[{}] is {}, expected {}", name, i, value, wanted);
      }
    }
  }
  [[nodiscard]] const std::string& note() const { return note_; }
  [[nodiscard]] double error() const {
    return difference_ == 0.0 ? 0.0 : std::sqrt(difference_ / std::max(norm_, 1e-30));
  }
  [[nodiscard]] double fixed_bound() const {
    return dtype_ == DType::fp32 ? 1e-5 : dtype_ == DType::fp16 ? 2e-3 : 1.5e-2;
  }

 private:
  DType dtype_;
  double difference_ = 0.0, norm_ = 0.0;
  std::string note_;
};

CaseResult compare_nonfinite(const Model& model, const Inputs& inputs, const Output& output) {
  const std::int64_t* lengths = inputs.lengths.empty() ? nullptr : inputs.lengths.data();
  const reference::Output exact =
      reference::run(model, inputs.steps, inputs.batch, to_double(inputs.x).data(), lengths,
                     {to_double(inputs.h0), to_double(inputs.c0)});
  const NaiveOutput naive =
      run_naively(model, inputs.steps, inputs.batch, inputs.x.data(), lengths, inputs.h0, inputs.c0);
  Comparison ours(model.dtype), naives(model.dtype);
  const auto add = [&](Comparison& to, const auto& y, const auto& h, const auto& c) {
    to.add<double>("y", y, exact.y);
    to.add<double>("h", h, exact.final.h);
    to.add<double>("c", c, exact.final.c);
  };
  add(ours, output.y, output.h, output.c);
  add(naives, naive.y, naive.h, naive.c);
  return {ours.error(), std::max(ours.fixed_bound(), 2.0 * naives.error()), ours.note()};
}

// One value in one place, in turn: a step's input, an entry's initial state, its initial cell state.
CaseResult one_value(const ModelSpec& spec, Lengths lengths, const Wanted& wanted,
                     const std::vector<float>& values) {
  const std::int64_t steps = 6, batch = wanted.batch(3);
  const Model model = random_model(spec);
  const auto session = cuda_session(pack_for(model, batch, wanted), batch);
  CaseResult worst{0, 1, ""};
  for (const float value : values) {
    for (const char* place : {"x", "h0", "c0"}) {
      Inputs inputs = random_inputs(model, steps, batch, 2, lengths);
      std::vector<float>& array = *place == 'x' ? inputs.x : *place == 'h' ? inputs.h0 : inputs.c0;
      if (array.empty()) continue;
      array[array.size() / 2 + 1] = round_to(spec.dtype, value);
      const Output output = run_on_host(*session, inputs);
      const CaseResult result = compare_nonfinite(model, inputs, output);
      if (!result.passed()) {
        return {result.error, result.bound, fmt::format("{} in {}: {}", value, place, result.note)};
      }
      const std::string other = difference(output, run_on_device(*session, inputs));
      if (!other.empty()) return {0, 0, fmt::format("{} in {}, device memory: {}", value, place, other)};
      if (result.error / result.bound > worst.error / worst.bound) worst = result;
    }
  }
  return worst;
}

// Every entry of the initial state at once, of one magnitude and both signs.
CaseResult all_states(const ModelSpec& spec, Lengths lengths, float magnitude,
                      const Wanted& wanted = gather_plan) {
  const std::int64_t steps = 6, batch = wanted.batch(5);
  const Model model = random_model(spec);
  const auto session = cuda_session(pack_for(model, batch, wanted), batch);
  Inputs inputs = random_inputs(model, steps, batch, 7, lengths);
  for (float& h : inputs.h0) h = round_to(spec.dtype, std::copysign(magnitude, h));
  const Output output = run_on_host(*session, inputs);
  const std::string other = difference(output, run_on_host(*session, inputs));
  CaseResult result = compare_nonfinite(model, inputs, output);
  if (result.note.empty()) result.note = other;
  return result;
}

// relu with W_hh = 1 and nothing else keeps what is not negative, bit by bit, over the exchange and back.
// 16-bit types: every bit pattern that there is.
CaseResult keep_every_pattern(DType dtype, const Wanted& wanted = gather_plan) {
  constexpr std::int64_t hidden = 2048, batch = 32, steps = 5;
  ModelSpec spec{
      .cell = relu_cell(), .dtype = dtype, .input = 1, .hidden = hidden, .bias = false, .density = 0.0};
  Model model = random_model(spec);
  for (std::int64_t i = 0; i < hidden; ++i) model.layers[0].directions[0].w_hh.row(i)[i] = 1.0F;
  Inputs inputs = random_inputs(model, steps, batch, 1);
  Random random(5);
  for (std::size_t i = 0; i < inputs.h0.size(); ++i) {
    const auto bits = static_cast<std::uint32_t>(i);
    inputs.h0[i] = dtype != DType::fp32 ? from_bits(dtype, bits)
                                        : std::bit_cast<float>(static_cast<std::uint32_t>(random.bits()) &
                                                               (i % 3 == 0 ? 0x807FFFFFU : 0xFFFFFFFFU));
  }
  const auto session = cuda_session(pack_for(model, batch, wanted), batch);
  const Output output = run_on_host(*session, inputs);
  for (std::size_t i = 0; i < output.y.size(); ++i) {
    const float h0 = inputs.h0[i % inputs.h0.size()];
    const float expected = h0 > 0.0F ? h0 : std::isnan(h0) ? h0 : 0.0F;
    const bool same = std::isnan(expected) ? std::isnan(output.y[i])
                                           : std::bit_cast<std::uint32_t>(output.y[i]) ==
                                                 std::bit_cast<std::uint32_t>(expected);
    if (!same) {
      return {0, 0,
              fmt::format("y[{}] is {} ({:#x}), expected {} ({:#x})", i, output.y[i],
                          to_bits(dtype, output.y[i]), expected, to_bits(dtype, expected))};
    }
  }
  return {};
}

// Chains: unit i hears unit i - 1 alone, or with the two before it, so the NaN of one input walks one unit a
// step along each.
CaseResult walk(const Cell& cell, DType dtype, const Wanted& wanted = gather_plan) {
  constexpr std::int64_t chain = 64;
  const std::int64_t steps = 40, batch = wanted.batch(2);
  const ModelSpec spec =
      wanted.sized({.cell = cell, .dtype = dtype, .input = 1, .hidden = chain, .density = 0.0});
  Model model = random_model(spec);
  Direction& direction = model.layers[0].directions[0];
  for (std::int64_t row = 0; row < direction.w_hh.rows; ++row) {
    const std::int64_t unit = row % spec.hidden;
    // Three of four columns, so that the front of the NaNs is in the rest.
    const std::int64_t heard = wanted.rests && unit % 4 == 3 ? 3 : 1;
    for (std::int64_t i = 1; unit % chain > 0 && i <= heard; ++i) direction.w_hh.row(row)[unit - i] = 0.5F;
    if (unit % chain == 0) direction.w_ih.row(row)[0] = 0.5F;
  }
  Inputs inputs = random_inputs(model, steps, batch, 1);
  inputs.x[0] = std::bit_cast<float>(0x7FC12345U);  // entry 0, step 0
  const auto session = cuda_session(pack_for(model, batch, wanted), batch);
  const Output output = run_on_host(*session, inputs);
  const std::int64_t touched = std::ranges::count_if(output.y, [](float y) { return std::isnan(y); });
  CaseResult result = compare_nonfinite(model, inputs, output);
  if (touched < steps * (spec.hidden / chain) && result.note.empty())
    result.note = fmt::format("only {} NaNs", touched);
  return result;
}

}  // namespace

void add_nonfinite_cases(std::vector<Case>& cases) {
  const std::vector<float> nonfinite = {std::numeric_limits<float>::quiet_NaN(),
                                        -std::numeric_limits<float>::quiet_NaN(),
                                        std::bit_cast<float>(0x7F812000U),  // a signalling payload
                                        std::bit_cast<float>(0xFFFFE000U),
                                        infinity,
                                        -infinity};
  const std::vector<float> extremes = {65504.0F, -65504.0F, -0.0F, 6e-8F, -6e-8F,
                                       1e-40F,   1.9990F,   -2.0F, 2.5F};
  struct Variant {
    std::int64_t projection;
    Directions directions;
    Lengths lengths;
    InputStorage storage;
    double input_density;
  };
  const Variant variants[] = {
      {0, Directions::forward, Lengths::all_steps, InputStorage::dense, 0.3},
      {0, Directions::both, Lengths::mixed, InputStorage::csr, 0.3},
      {20, Directions::forward, Lengths::mixed, InputStorage::dense, 1.0},
  };
  // A tensor core would multiply pruned weights too.
  for (const Wanted& wanted : mma_plans()) {
    const std::string name = to_string(wanted);
    for (const DType dtype : {DType::fp16, DType::bf16}) {
      if (wanted.device && dtype == DType::bf16) continue;  // a detour is the same for both
      for (const Cell& cell : standard_cells()) {
        const ModelSpec spec = wanted.sized(
            {.cell = cell, .dtype = dtype, .input = 10, .hidden = 60, .density = 0.06, .input_density = 0.3});
        const auto text = [&](std::string_view what, std::int64_t batch) {
          return fmt::format("{}: {}, 6 steps, batch {}, {}", name, what, wanted.batch(batch),
                             to_string(spec));
        };
        cases.push_back({text("one NaN or infinity", 3),
                         [=] { return one_value(spec, Lengths::mixed, wanted, nonfinite); }});
        cases.push_back({text("one extreme value", 3),
                         [=] { return one_value(spec, Lengths::all_steps, wanted, extremes); }});
        cases.push_back(
            {text("|h0| = 30", 5), [=] { return all_states(spec, Lengths::mixed, 30.0F, wanted); }});
        cases.push_back({fmt::format("{}: a NaN walks along a chain of 64 units, {} {}", name,
                                     to_string(cell), to_string(dtype)),
                         [=] { return walk(cell, dtype, wanted); }});
      }
      if (wanted.device) continue;  // a detour has no room for so large a layer
      cases.push_back({fmt::format("{}: relu keeps every bit pattern of {}", name, to_string(dtype)),
                       [=] { return keep_every_pattern(dtype, wanted); }});
    }
  }
  for (const Cell& cell : standard_cells()) {
    for (const DType dtype : {DType::fp32, DType::fp16, DType::bf16}) {
      for (const Variant& v : variants) {
        if (v.projection > 0 && cell.kind != CellKind::lstm) continue;
        const ModelSpec spec{.cell = cell,
                             .dtype = dtype,
                             .input = 10,
                             .hidden = 60,
                             .projection = v.projection,
                             .directions = v.directions,
                             .density = 0.06,
                             .input_density = v.input_density};
        const std::string text =
            fmt::format("6 steps, batch 3{}, W_ih {}, {}", v.lengths == Lengths::mixed ? ", lengths" : "",
                        to_string(v.storage), to_string(spec));
        cases.push_back({"one NaN or infinity, " + text, [=] {
                           return one_value(spec, v.lengths,
                                            {{.strategy = GpuStrategy::gather, .w_ih = v.storage}},
                                            nonfinite);
                         }});
        cases.push_back({"one extreme value, " + text, [=] {
                           return one_value(spec, v.lengths,
                                            {{.strategy = GpuStrategy::gather, .w_ih = v.storage}}, extremes);
                         }});
      }
      cases.push_back(
          {fmt::format("a NaN walks along a chain of 64 units, {} {}", to_string(cell), to_string(dtype)),
           [=] { return walk(cell, dtype); }});
      for (const Directions directions : {Directions::forward, Directions::both}) {
        for (const float magnitude : {1.5F, 2.0F, 30.0F, 20000.0F, 65504.0F}) {
          // relu may sum to more than fp16 has.
          if (magnitude == 65504.0F && cell.kind == CellKind::rnn && !cell.is_bounded()) continue;
          for (const Lengths lengths : {Lengths::all_steps, Lengths::mixed}) {
            const ModelSpec spec{.cell = cell,
                                 .dtype = dtype,
                                 .input = 5,
                                 .hidden = 50,
                                 .directions = directions,
                                 .density = 0.3};
            cases.push_back({fmt::format("|h0| = {}, 6 steps, batch 5{}, {}", magnitude,
                                         lengths == Lengths::mixed ? ", lengths" : "", to_string(spec)),
                             [=] { return all_states(spec, lengths, magnitude); }});
          }
        }
      }
    }
  }
  // Few non-zeros a row are large ones: four products in half precision would be more than fp16 has.
  for (const Cell& cell : {tanh_cell(), gru_cell(), lstm_cell()}) {
    for (const std::uint64_t seed : {2, 3}) {
      for (const double density : {0.06, 0.1}) {
        const ModelSpec spec{
            .cell = cell, .dtype = DType::fp16, .input = 5, .hidden = 60, .density = density, .seed = seed};
        cases.push_back({fmt::format("|h0| = 65504, 6 steps, batch 5, {}", to_string(spec)),
                         [=] { return all_states(spec, Lengths::all_steps, 65504.0F); }});
      }
    }
  }
  for (const DType dtype : {DType::fp32, DType::fp16, DType::bf16}) {
    cases.push_back(
        {fmt::format("relu {} H=2048, batch 32, W_hh = 1: every bit pattern is kept", to_string(dtype)),
         [=] { return keep_every_pattern(dtype); }});
  }
}

}  // namespace sprnn::test
