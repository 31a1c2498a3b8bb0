#include "support/random_model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

namespace sprnn::test {

std::uint64_t Random::bits() {
  std::uint64_t z = state_ += 0x9E3779B97F4A7C15U;
  z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9U;
  z = (z ^ (z >> 27U)) * 0x94D049BB133111EBU;
  return z ^ (z >> 31U);
}

double Random::uniform() { return static_cast<double>(bits() >> 11U) * 0x1p-53; }

double Random::uniform(double low, double high) { return low + (high - low) * uniform(); }

std::int64_t Random::integer(std::int64_t low, std::int64_t high) {
  return low + static_cast<std::int64_t>(bits() % static_cast<std::uint64_t>(high - low + 1));
}

namespace {

float random_value(Random& random, DType dtype, double scale) {
  return round_to(dtype, static_cast<float>(random.uniform(-1.0, 1.0) * scale));
}

float random_weight(Random& random, DType dtype, double scale) {
  float value = 0.0F;
  while (value == 0.0F) value = random_value(random, dtype, scale);
  return value;
}

std::vector<float> random_values(Random& random, DType dtype, std::int64_t count, double scale) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (float& value : values) value = random_value(random, dtype, scale);
  return values;
}

// The kept entries of a matrix of `gates` gates.
class MaskMaker {
 public:
  MaskMaker(const ModelSpec& spec, std::int64_t rows, std::int64_t cols, std::int64_t gates, double density,
            Random& random)
      : spec_(spec), rows_(rows), cols_(cols), gate_rows_(rows / gates), density_(density), random_(random) {}

  std::vector<bool> make() {
    std::vector<bool> mask(static_cast<std::size_t>(rows_ * cols_));
    if (spec_.mask == Mask::blocks) draw_blocks();
    const std::int64_t full_row = random_.integer(0, rows_ - 1);
    for (std::int64_t r = 0; r < rows_; ++r) {
      const double row_density = spec_.mask == Mask::one_full_row && r == full_row ? 1.0 : density_of_row();
      for (std::int64_t c = 0; c < cols_; ++c) {
        mask[static_cast<std::size_t>(r * cols_ + c)] = keep(r, c, row_density);
      }
      if (spec_.mask == Mask::two_of_four) thin_out(mask, r);
    }
    return mask;
  }

 private:
  // Of each four neighbours all but two go, whichever.
  void thin_out(std::vector<bool>& mask, std::int64_t r) {
    for (std::int64_t c = 0; c < cols_; c += 4) {
      const auto first = mask.begin() + r * cols_ + c;
      const std::int64_t four = std::min<std::int64_t>(4, cols_ - c);
      while (std::count(first, first + four, true) > 2) first[random_.integer(0, four - 1)] = false;
    }
  }

  double density_of_row() {
    if (spec_.mask == Mask::skewed_rows) return 4.0 * std::pow(random_.uniform(), 3.0) * density_;
    if (spec_.mask == Mask::empty_rows && random_.chance(1.0 / 3.0)) return 0.0;
    return density_;
  }

  bool keep(std::int64_t r, std::int64_t c, double row_density) {
    switch (spec_.mask) {
      case Mask::bands: {
        const std::int64_t middle = r % gate_rows_ * cols_ / gate_rows_;
        return static_cast<double>((c - middle + cols_) % cols_) < density_ * static_cast<double>(cols_);
      }
      case Mask::blocks:
        return blocks_[static_cast<std::size_t>(block_row(r) * block_cols() + c / spec_.block_cols)];
      default:
        return random_.chance(row_density);
    }
  }

  [[nodiscard]] std::int64_t blocks_a_gate() const {
    return (gate_rows_ + spec_.block_rows - 1) / spec_.block_rows;
  }
  [[nodiscard]] std::int64_t block_cols() const { return (cols_ + spec_.block_cols - 1) / spec_.block_cols; }
  [[nodiscard]] std::int64_t block_row(std::int64_t r) const {
    return r / gate_rows_ * blocks_a_gate() + r % gate_rows_ / spec_.block_rows;
  }

  void draw_blocks() {
    blocks_.resize(static_cast<std::size_t>((block_row(rows_ - 1) + 1) * block_cols()));
    for (std::size_t i = 0; i < blocks_.size(); ++i) blocks_[i] = random_.chance(density_);
  }

  const ModelSpec& spec_;
  std::int64_t rows_, cols_, gate_rows_;
  double density_;
  Random& random_;
  std::vector<bool> blocks_;
};

Matrix random_matrix(const ModelSpec& spec, std::int64_t rows, std::int64_t cols, std::int64_t gates,
                     double density, Random& random) {
  const std::vector<bool> mask = MaskMaker(spec, rows, cols, gates, density, random).make();
  Matrix matrix{rows, cols, std::vector<float>(mask.size(), 0.0F)};
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto first = mask.begin() + r * cols;
    const double scale = 1.0 / std::sqrt(static_cast<double>(std::count(first, first + cols, true)));
    for (std::int64_t c = 0; c < cols; ++c) {
      if (first[c]) matrix.row(r)[c] = random_weight(random, spec.dtype, scale);
    }
  }
  return matrix;
}

Direction random_direction(const ModelSpec& spec, std::int64_t input, bool reverse, Random& random) {
  const std::int64_t gates = spec.cell.gates();
  const std::int64_t state = spec.projection > 0 ? spec.projection : spec.hidden;
  const std::int64_t rows = gates * spec.hidden;
  Direction d;
  d.cell = spec.cell;
  d.reverse = reverse;
  d.w_ih = random_matrix(spec, rows, input, gates, spec.input_density.value_or(spec.density), random);
  d.w_hh = random_matrix(spec, rows, state, gates, spec.density, random);
  if (spec.projection > 0) d.w_hr = random_matrix(spec, state, spec.hidden, 1, spec.density, random);
  if (spec.bias) d.b_ih = random_values(random, spec.dtype, rows, 0.5);
  if (spec.bias) d.b_hh = random_values(random, spec.dtype, rows, 0.5);
  if (spec.peephole) d.peephole = random_values(random, spec.dtype, 3 * spec.hidden, 0.5);
  return d;
}

constexpr std::uint32_t poison_bits = 0x7FDEAD5AU;

template <class T>
double relative_error(std::span<const T> out, std::span<const double> ref) {
  if (out.size() != ref.size()) return std::numeric_limits<double>::infinity();
  double difference = 0.0;
  double norm = 0.0;
  for (std::size_t i = 0; i < ref.size(); ++i) {
    const double d = static_cast<double>(out[i]) - ref[i];
    difference += d * d;
    norm += ref[i] * ref[i];
  }
  return difference == 0.0 && norm == 0.0 ? 0.0 : std::sqrt(difference / norm);
}

std::string_view to_string(Mask mask) {
  switch (mask) {
    case Mask::uniform:
      return "uniform";
    case Mask::skewed_rows:
      return "skewed rows";
    case Mask::empty_rows:
      return "empty rows";
    case Mask::one_full_row:
      return "one full row";
    case Mask::bands:
      return "bands";
    case Mask::blocks:
      return "blocks";
    case Mask::two_of_four:
      return "two of four";
  }
  return "?";
}

std::string_view to_string(Directions directions) {
  switch (directions) {
    case Directions::forward:
      return "forward";
    case Directions::reverse:
      return "reverse";
    case Directions::both:
      return "bidirectional";
  }
  return "?";
}

}  // namespace

std::string to_string(const ModelSpec& spec) {
  return fmt::format(
      "{} {} I={} H={} P={} L={} {}{}{}, density {} (W_ih {}), {}{}, seed {}", to_string(spec.cell),
      to_string(spec.dtype), spec.input, spec.hidden, spec.projection, spec.layers,
      to_string(spec.directions), spec.bias ? "" : ", no bias", spec.peephole ? ", peephole" : "",
      spec.density, spec.input_density.value_or(spec.density), to_string(spec.mask),
      spec.mask == Mask::blocks ? fmt::format(" {}x{}", spec.block_rows, spec.block_cols) : "", spec.seed);
}

Model random_model(const ModelSpec& spec) {
  Random random(spec.seed);
  Model model;
  model.dtype = spec.dtype;
  model.input_size = spec.input;
  model.hidden_size = spec.hidden;
  model.projection_size = spec.projection;
  const std::int64_t state = spec.projection > 0 ? spec.projection : spec.hidden;
  std::int64_t input = spec.input;
  for (std::int64_t l = 0; l < spec.layers; ++l) {
    Layer layer;
    if (spec.directions != Directions::reverse) {
      layer.directions.push_back(random_direction(spec, input, false, random));
    }
    if (spec.directions != Directions::forward) {
      layer.directions.push_back(random_direction(spec, input, true, random));
    }
    input = static_cast<std::int64_t>(layer.directions.size()) * state;
    model.layers.push_back(std::move(layer));
  }
  return model;
}

std::vector<Cell> standard_cells() { return {tanh_cell(), relu_cell(), gru_cell(), lstm_cell()}; }

std::vector<Cell> variant_cells() {
  using enum ActivationKind;
  Cell clipped_rnn = tanh_cell();
  clipped_rnn.activations[0] = {scaled_tanh, 1.5F, 0.75F};
  clipped_rnn.clip = 0.5F;
  Cell affine_rnn = tanh_cell();
  affine_rnn.activations[0] = {affine, 0.5F, 0.125F};
  Cell leaky_rnn = tanh_cell();
  leaky_rnn.activations[0] = {leaky_relu, 0.125F, 0.0F};
  Cell threshold_rnn = tanh_cell();
  threshold_rnn.activations[0] = {thresholded_relu, 0.25F, 0.0F};
  Cell reset_gru = gru_cell();
  reset_gru.reset_before_product = true;
  Cell hard_gru = reset_gru;
  hard_gru.activations = {{{hard_sigmoid, 0.25F, 0.5F}, {softsign, 0.0F, 0.0F}}};
  hard_gru.clip = 1.0F;
  Cell elu_gru = gru_cell();
  elu_gru.activations[1] = {elu, 0.5F, 0.0F};
  Cell coupled_lstm = lstm_cell();
  coupled_lstm.input_forget = true;
  Cell clipped_lstm = lstm_cell();
  clipped_lstm.activations = {{{hard_sigmoid, 0.25F, 0.5F}, {softplus, 0.0F, 0.0F}, {softsign, 0.0F, 0.0F}}};
  clipped_lstm.clip = 0.75F;
  return {clipped_rnn, affine_rnn, leaky_rnn,    threshold_rnn, reset_gru,
          hard_gru,    elu_gru,    coupled_lstm, clipped_lstm};
}

Inputs random_inputs(const Model& model, std::int64_t steps, std::int64_t batch, std::uint64_t seed,
                     Lengths lengths) {
  Random random(seed);
  const std::int64_t states = model.num_layers() * model.num_directions() * batch;
  Inputs inputs;
  inputs.steps = steps;
  inputs.batch = batch;
  inputs.x = random_values(random, model.dtype, steps * batch * model.input_size, 1.0);
  inputs.h0 = random_values(random, model.dtype, states * model.state_size(), 1.0);
  if (model.has_cell_state()) inputs.c0 = random_values(random, model.dtype, states * model.hidden_size, 1.0);
  if (lengths == Lengths::mixed) {
    for (std::int64_t b = 0; b < batch; ++b) inputs.lengths.push_back(random.integer(1, steps));
  }
  return inputs;
}

std::vector<double> to_double(std::span<const float> values) { return {values.begin(), values.end()}; }

double rel_error(std::span<const float> out, std::span<const double> ref) { return relative_error(out, ref); }
double rel_error(std::span<const double> out, std::span<const double> ref) {
  return relative_error(out, ref);
}

void poison(std::span<float> values) { std::ranges::fill(values, std::bit_cast<float>(poison_bits)); }

bool is_poison(float value) { return std::bit_cast<std::uint32_t>(value) == poison_bits; }

GuardedOutput::GuardedOutput(std::size_t size) : size_(size), storage_(size + 2 * guard_words) {
  poison(storage_);
}

std::string GuardedOutput::problem() const {
  for (std::size_t i = 0; i < storage_.size(); ++i) {
    const bool inside = i >= guard_words && i < guard_words + size_;
    const auto index = static_cast<std::int64_t>(i) - static_cast<std::int64_t>(guard_words);
    if (inside && is_poison(storage_[i]))
      return fmt::format("element {} of {} was not written", index, size_);
    if (!inside && !is_poison(storage_[i])) {
      return fmt::format("element {}, outside of the {}, was written: {}", index, size_, storage_[i]);
    }
  }
  return "";
}

}  // namespace sprnn::test
