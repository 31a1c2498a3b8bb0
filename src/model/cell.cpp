#include "sprnn/cell.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <vector>

#include "sprnn/error.hpp"

namespace sprnn {

namespace {

constexpr std::array<std::string_view, 11> activation_names = {
    "Sigmoid",    "Tanh",        "Relu", "Affine",   "LeakyRelu", "ThresholdedRelu",
    "ScaledTanh", "HardSigmoid", "Elu",  "Softsign", "Softplus"};

Cell standard_cell(CellKind kind, ActivationKind f, ActivationKind g, ActivationKind h) noexcept {
  Cell cell;
  cell.kind = kind;
  cell.activations = {Activation{f}, Activation{g}, Activation{h}};
  return cell;
}

bool same_ignoring_case(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](unsigned char x, unsigned char y) { return std::tolower(x) == std::tolower(y); });
}

int activation_count(CellKind kind) noexcept {
  switch (kind) {
    case CellKind::rnn:
      return 1;
    case CellKind::gru:
      return 2;
    case CellKind::lstm:
      return 3;
  }
  return 0;
}

Cell standard_cell(CellKind kind) noexcept {
  switch (kind) {
    case CellKind::gru:
      return gru_cell();
    case CellKind::lstm:
      return lstm_cell();
    case CellKind::rnn:
      break;
  }
  return tanh_cell();
}

}  // namespace

Cell tanh_cell() noexcept {
  return standard_cell(CellKind::rnn, ActivationKind::tanh, ActivationKind::tanh, ActivationKind::tanh);
}
Cell relu_cell() noexcept {
  return standard_cell(CellKind::rnn, ActivationKind::relu, ActivationKind::tanh, ActivationKind::tanh);
}
Cell gru_cell() noexcept {
  return standard_cell(CellKind::gru, ActivationKind::sigmoid, ActivationKind::tanh, ActivationKind::tanh);
}
Cell lstm_cell() noexcept {
  return standard_cell(CellKind::lstm, ActivationKind::sigmoid, ActivationKind::tanh, ActivationKind::tanh);
}

int Cell::gates() const noexcept {
  switch (kind) {
    case CellKind::rnn:
      return 1;
    case CellKind::gru:
      return 3;
    case CellKind::lstm:
      return 4;
  }
  return 0;
}

bool Cell::is_standard() const noexcept {
  return *this == tanh_cell() || *this == relu_cell() || *this == gru_cell() || *this == lstm_cell();
}

bool Cell::is_bounded() const noexcept { return is_standard() && *this != relu_cell(); }

std::string_view to_string(CellKind kind) noexcept {
  switch (kind) {
    case CellKind::rnn:
      return "rnn";
    case CellKind::gru:
      return "gru";
    case CellKind::lstm:
      return "lstm";
  }
  return "?";
}

std::string_view to_string(ActivationKind kind) noexcept {
  return activation_names[static_cast<std::size_t>(kind)];
}

ActivationKind parse_activation(std::string_view name) {
  for (std::size_t i = 0; i < activation_names.size(); ++i) {
    if (same_ignoring_case(name, activation_names[i])) return static_cast<ActivationKind>(i);
  }
  throw Error(ErrorCode::invalid_argument,
              fmt::format("activation '{}': expected one of {}", name, fmt::join(activation_names, ", ")));
}

std::string to_string(const Cell& cell) {
  if (cell == tanh_cell()) return "tanh";
  if (cell == relu_cell()) return "relu";
  const Cell standard = standard_cell(cell.kind);
  std::vector<std::string> variants;
  if (cell.activations != standard.activations) {
    std::vector<std::string> names;
    for (int i = 0; i < activation_count(cell.kind); ++i) {
      names.emplace_back(to_string(cell.activations[static_cast<std::size_t>(i)].kind));
    }
    variants.push_back(fmt::format("activations={}", fmt::join(names, "/")));
  }
  if (cell.reset_before_product) variants.emplace_back("reset_before_product");
  if (cell.input_forget) variants.emplace_back("input_forget");
  if (cell.clip) variants.push_back(fmt::format("clip={:g}", *cell.clip));
  if (variants.empty()) return std::string(to_string(cell.kind));
  return fmt::format("{}({})", to_string(cell.kind), fmt::join(variants, ", "));
}

Cell parse_cell(std::string_view name) {
  if (name == "tanh") return tanh_cell();
  if (name == "relu") return relu_cell();
  if (name == "gru") return gru_cell();
  if (name == "lstm") return lstm_cell();
  throw Error(ErrorCode::invalid_argument, fmt::format("cell '{}': expected tanh, relu, gru or lstm", name));
}

}  // namespace sprnn
