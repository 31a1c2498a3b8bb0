#include <fmt/format.h>

#include <cmath>
#include <random>

#include "base/memory.hpp"
#include "bench/bench.hpp"
#include "bench/random.hpp"

namespace sprnn::bench {
namespace {

// Keeps the places of the non-zeros and draws their values anew: pruning by magnitude left only large ones.
void redraw(Matrix& matrix, std::mt19937_64& random) {
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    float* row = matrix.row(r);
    std::int64_t count = 0;
    for (std::int64_t c = 0; c < matrix.cols; ++c) count += is_nonzero(row[c]) ? 1 : 0;
    const float scale = 1.0F / std::sqrt(static_cast<float>(std::max<std::int64_t>(count, 1)));
    for (std::int64_t c = 0; c < matrix.cols; ++c) {
      if (is_nonzero(row[c])) row[c] = scale * uniform(random);
    }
  }
}

}  // namespace

Model random_model(const LayerSpec& spec, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto draw = [&](std::int64_t count) {
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = uniform(random);
    return values;
  };
  const std::int64_t hidden = spec.hidden_size, rows = spec.cell.gates() * hidden;
  const std::int64_t input = spec.input_size > 0 ? spec.input_size : hidden;
  // Rounding to the dtype copies them.
  require_memory(fmt::format("weights of hidden {}, input {}", hidden, input),
                 2.0 * sizeof(float) * static_cast<double>(rows) * static_cast<double>(input + hidden));
  Direction direction;
  direction.cell = spec.cell;
  direction.w_ih = {rows, input, draw(rows * input)};
  direction.w_hh = {rows, hidden, draw(rows * hidden)};
  direction.b_ih = draw(rows);
  direction.b_hh = draw(rows);
  const float bias_scale = 1.0F / std::sqrt(static_cast<float>(hidden));
  for (std::vector<float>* bias : {&direction.b_ih, &direction.b_hh}) {
    for (float& value : *bias) value *= bias_scale;
  }
  Model model{
      .dtype = DType::fp32, .input_size = input, .hidden_size = hidden, .projection_size = 0, .layers = {}};
  model.layers.push_back({{std::move(direction)}});
  prune(model, {.pattern = spec.pattern,
                .density = spec.density,
                .input_density = spec.input_density.value_or(spec.density),
                .layer_density = {},
                .layer_input_density = {}});
  redraw(model.layers[0].directions[0].w_ih, random);
  redraw(model.layers[0].directions[0].w_hh, random);
  return convert(model, spec.dtype);
}

}  // namespace sprnn::bench
