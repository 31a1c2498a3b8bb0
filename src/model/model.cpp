#include "sprnn/model.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sprnn/error.hpp"

namespace sprnn {

namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::invalid_argument, message); }

// Calls f(tensor name, values) for every weight of the model; the model may be const or not.
template <class AnyModel, class F>
void for_each_tensor(AnyModel& model, F f) {
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    for (auto& direction : model.layers[l].directions) {
      const std::string suffix = parameter_suffix(static_cast<std::int64_t>(l), direction.reverse);
      f("weight_ih" + suffix, direction.w_ih.values);
      f("weight_hh" + suffix, direction.w_hh.values);
      f("bias_ih" + suffix, direction.b_ih);
      f("bias_hh" + suffix, direction.b_hh);
      f("weight_hr" + suffix, direction.w_hr.values);
      f("peephole" + suffix, direction.peephole);
    }
  }
}

void check_matrix(const std::string& name, const Matrix& matrix, std::int64_t rows, std::int64_t cols) {
  if (matrix.rows != rows || matrix.cols != cols) {
    refuse(fmt::format("{}: shape [{}, {}], expected [{}, {}]", name, matrix.rows, matrix.cols, rows, cols));
  }
  if (static_cast<std::int64_t>(matrix.values.size()) != rows * cols) {
    refuse(fmt::format("{}: {} values, expected {} for shape [{}, {}]", name, matrix.values.size(),
                       rows * cols, rows, cols));
  }
}

void check_vector(const std::string& name, const std::vector<float>& vector, std::int64_t size) {
  if (static_cast<std::int64_t>(vector.size()) != size) {
    refuse(fmt::format("{}: {} values, expected {}", name, vector.size(), size));
  }
}

void check_shapes(const Model& model, const Direction& direction, std::int64_t layer) {
  const std::string suffix = parameter_suffix(layer, direction.reverse);
  const std::int64_t rows = direction.cell.gates() * model.hidden_size;
  check_matrix("weight_ih" + suffix, direction.w_ih, rows, model.layer_input_size(layer));
  check_matrix("weight_hh" + suffix, direction.w_hh, rows, model.state_size());
  if (direction.b_ih.empty() != direction.b_hh.empty()) {
    refuse(fmt::format("bias_ih{0} and bias_hh{0}: only one of them is there; give both or neither", suffix));
  }
  if (!direction.b_ih.empty()) {
    check_vector("bias_ih" + suffix, direction.b_ih, rows);
    check_vector("bias_hh" + suffix, direction.b_hh, rows);
  }
  if (model.projection_size > 0) {
    check_matrix("weight_hr" + suffix, direction.w_hr, model.projection_size, model.hidden_size);
  } else if (!direction.w_hr.empty()) {
    refuse(fmt::format("weight_hr{}: there, but the model's projection size is 0", suffix));
  }
  if (!direction.peephole.empty()) {
    if (direction.cell.kind != CellKind::lstm) {
      refuse(fmt::format("peephole{}: only an lstm has peepholes, this is a {}", suffix,
                         to_string(direction.cell.kind)));
    }
    check_vector("peephole" + suffix, direction.peephole, 3 * model.hidden_size);
  }
}

void check_cell(const Direction& direction, const Cell& first, std::int64_t layer) {
  const Cell& cell = direction.cell;
  const std::string name = "cell" + parameter_suffix(layer, direction.reverse);
  if (cell.kind != first.kind) {
    refuse(fmt::format("{}: a {}, but the first layer is a {}; all must be of one kind", name,
                       to_string(cell.kind), to_string(first.kind)));
  }
  if (cell.reset_before_product && cell.kind != CellKind::gru) {
    refuse(
        fmt::format("{}: reset_before_product is a gru's variant, this is a {}", name, to_string(cell.kind)));
  }
  if (cell.input_forget && cell.kind != CellKind::lstm) {
    refuse(fmt::format("{}: input_forget is an lstm's variant, this is a {}", name, to_string(cell.kind)));
  }
  if (cell.clip && !(*cell.clip > 0.0F && std::isfinite(*cell.clip))) {
    refuse(fmt::format("{}: clip {}, expected a finite number above 0", name, *cell.clip));
  }
  for (const Activation& activation : cell.activations) {
    if (!std::isfinite(activation.alpha) || !std::isfinite(activation.beta)) {
      refuse(fmt::format("{}: {} with alpha {} and beta {}, expected finite numbers", name,
                         to_string(activation.kind), activation.alpha, activation.beta));
    }
  }
}

void check_directions(const Layer& layer, std::size_t expected, std::size_t index) {
  const auto& directions = layer.directions;
  if (directions.size() != expected) {
    refuse(fmt::format("layer {}: {} directions, but layer 0 has {}", index, directions.size(), expected));
  }
  if (directions.size() == 2 && (directions[0].reverse || !directions[1].reverse)) {
    refuse(fmt::format("layer {}: two directions must be forward, then reverse", index));
  }
}

}  // namespace

std::int64_t Matrix::nonzeros() const noexcept {
  return std::count_if(values.begin(), values.end(), is_nonzero);
}

std::int64_t Model::num_directions() const noexcept {
  return layers.empty() ? 0 : static_cast<std::int64_t>(layers.front().directions.size());
}

std::int64_t Model::state_size() const noexcept {
  return projection_size > 0 ? projection_size : hidden_size;
}

std::int64_t Model::output_size() const noexcept { return num_directions() * state_size(); }

bool Model::is_bidirectional() const noexcept { return num_directions() == 2; }

bool Model::is_streamable() const noexcept {
  return std::none_of(layers.begin(), layers.end(), [](const Layer& layer) {
    return std::any_of(layer.directions.begin(), layer.directions.end(),
                       [](const Direction& direction) { return direction.reverse; });
  });
}

bool Model::has_cell_state() const noexcept {
  return !layers.empty() && !layers.front().directions.empty() &&
         layers.front().directions.front().cell.kind == CellKind::lstm;
}

std::int64_t Model::layer_input_size(std::int64_t layer) const noexcept {
  return layer == 0 ? input_size : output_size();
}

std::string parameter_suffix(std::int64_t layer, bool reverse) {
  return fmt::format("_l{}{}", layer, reverse ? "_reverse" : "");
}

void validate(const Model& model) {
  if (model.input_size < 1) refuse(fmt::format("input size {}: expected 1 or more", model.input_size));
  if (model.hidden_size < 1) refuse(fmt::format("hidden size {}: expected 1 or more", model.hidden_size));
  if (model.layers.empty() || model.layers.front().directions.empty()) refuse("the model has no layer");
  const std::size_t directions = model.layers.front().directions.size();
  if (directions > 2) refuse(fmt::format("layer 0: {} directions, expected 1 or 2", directions));
  const Cell& first = model.layers.front().directions.front().cell;
  if (model.projection_size != 0) {
    if (first.kind != CellKind::lstm) {
      refuse(fmt::format("projection size {}: only an lstm has a projection, this is a {}",
                         model.projection_size, to_string(first.kind)));
    }
    if (model.projection_size < 1 || model.projection_size >= model.hidden_size) {
      refuse(fmt::format("projection size {}: expected 1 or more and less than the hidden size {}",
                         model.projection_size, model.hidden_size));
    }
  }
  for (std::size_t l = 0; l < model.layers.size(); ++l) {
    check_directions(model.layers[l], directions, l);
    for (const Direction& direction : model.layers[l].directions) {
      check_cell(direction, first, static_cast<std::int64_t>(l));
      check_shapes(model, direction, static_cast<std::int64_t>(l));
    }
  }
  for_each_tensor(model, [&](const std::string& name, const std::vector<float>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (!std::isfinite(values[i])) {
        refuse(fmt::format("{}[{}] is {}: weights must be finite", name, i, values[i]));
      }
      if (model.dtype != DType::fp32 &&
          to_bits(DType::fp32, round_to(model.dtype, values[i])) != to_bits(DType::fp32, values[i])) {
        refuse(fmt::format("{}[{}] is {}, which {} cannot hold; convert() the model to {} first", name, i,
                           values[i], to_string(model.dtype), to_string(model.dtype)));
      }
    }
  });
}

Model convert(const Model& model, DType dtype) {
  Model converted = model;
  converted.dtype = dtype;
  for_each_tensor(converted, [&](const std::string& name, std::vector<float>& values) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const float rounded = round_to(dtype, values[i]);
      if (std::isinf(rounded) && std::isfinite(values[i])) {
        refuse(fmt::format("{}[{}] is {}, too large for {}; use {}, or scale the weights", name, i, values[i],
                           to_string(dtype), dtype == DType::bf16 ? "fp32" : "bf16 or fp32"));
      }
      values[i] = rounded;
    }
  });
  return converted;
}

}  // namespace sprnn
