// A whole model: densities of each matrix, masks, and what they cost.
#include "sprnn/prune.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "sprnn/error.hpp"

namespace sprnn {

namespace {

// A matrix to prune.
struct Target {
  Matrix* matrix;
  std::string name;
  bool recurrent;  // W_hh, else W_ih
  int gates;
  double density;
};

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::invalid_argument, message); }

void check_density(double density, const std::string& name) {
  if (!(density >= 0.0 && density <= 1.0))
    refuse(fmt::format("{} is {}: expected a number in [0, 1]", name, density));
}

void check_layer_densities(const std::vector<double>& densities, const std::string& name, const Model& model,
                           const Pattern& pattern) {
  if (densities.empty()) return;
  if (pattern.kind == Pattern::Kind::global || pattern.kind == Pattern::Kind::n_of_m) {
    refuse(fmt::format("densities per layer do not go with pattern {}, {}: leave {} out", to_string(pattern),
                       pattern.kind == Pattern::Kind::global ? "which shares one density among all layers"
                                                             : "which says the density itself",
                       name));
  }
  if (std::ssize(densities) != model.num_layers()) {
    refuse(fmt::format("{} has {} values, expected one for each of the {} layers", name, densities.size(),
                       model.num_layers()));
  }
  for (std::size_t l = 0; l < densities.size(); ++l)
    check_density(densities[l], fmt::format("{}[{}]", name, l));
}

// The density that N:M leaves, checked against the one that was said.
double density_of(const Pattern& pattern, double said, bool one_is_unsaid, const std::string& name) {
  if (pattern.kind != Pattern::Kind::n_of_m) return said;
  const double density = static_cast<double>(pattern.a) / pattern.b;
  if (!(one_is_unsaid && said == 1.0) && !(std::abs(said - density) <= 1e-6)) {
    refuse(fmt::format("{} {} contradicts pattern {}, whose density is {}: leave it out or say {}", name,
                       said, to_string(pattern), density, density));
  }
  return density;
}

// Checks the options and lists the matrices to prune, each with its density, in the order of the report.
std::vector<Target> targets_of(Model& model, const PruneOptions& options) {
  const Pattern& pattern = options.pattern;
  (void)parse_pattern(to_string(pattern));  // refuses sizes below 1
  check_density(options.density, "density");
  if (options.input_density) check_density(*options.input_density, "input density");
  check_layer_densities(options.layer_density, "layer_density", model, pattern);
  check_layer_densities(options.layer_input_density, "layer_input_density", model, pattern);

  const double density = density_of(pattern, options.density, true, "density");
  std::optional<double> input_density = options.input_density;
  if (input_density) input_density = density_of(pattern, *input_density, false, "input density");
  std::vector<Target> targets;
  for (std::int64_t l = 0; l < model.num_layers(); ++l) {
    for (Direction& direction : model.layers[l].directions) {
      const std::string suffix = parameter_suffix(l, direction.reverse);
      const int gates = direction.cell.gates();
      const auto add = [&](Matrix& matrix, const char* name, bool recurrent, double d) {
        targets.push_back({&matrix, name + suffix, recurrent, gates, d});
      };
      if (!options.layer_input_density.empty()) {
        add(direction.w_ih, "weight_ih", false, options.layer_input_density[l]);
      } else if (input_density) {
        add(direction.w_ih, "weight_ih", false, *input_density);
      }
      add(direction.w_hh, "weight_hh", true,
          options.layer_density.empty() ? density : options.layer_density[l]);
    }
  }
  return targets;
}

// Prunes and says what it cost.
void apply(const Target& target, const std::vector<std::uint8_t>& mask, MatrixReport& report) noexcept {
  Matrix& matrix = *target.matrix;
  report.rows = matrix.rows;
  report.cols = matrix.cols;
  report.wanted = target.density;
  report.min_row = matrix.cols;
  double lost = 0.0, whole = 0.0;  // squares
  std::int64_t stored = 0;
  for (std::int64_t r = 0; r < matrix.rows; ++r) {
    float* const row = matrix.row(r);
    std::int64_t in_row = 0;
    for (std::int64_t c = 0; c < matrix.cols; ++c) {
      const double square = double{row[c]} * double{row[c]};
      whole += square;
      if (mask[r * matrix.cols + c] == 0) {
        lost += square;
        row[c] = 0.0F;
      }
      in_row += is_nonzero(row[c]) ? 1 : 0;
    }
    stored += in_row;
    report.min_row = std::min(report.min_row, in_row);
    report.max_row = std::max(report.max_row, in_row);
  }
  report.reached = static_cast<double>(stored) / static_cast<double>(matrix.values.size());
  report.norm_lost = whole > 0.0 ? std::sqrt(lost / whole) : 0.0;
}

// From one ranking of all matrices of one role, W_ih or W_hh, side by side; the others' masks stay empty.
void pooled_masks(const std::vector<Target>& targets, bool recurrent,
                  std::vector<std::vector<std::uint8_t>>& masks) {
  Matrix pool;
  pool.rows = 1;
  double density = 1.0;
  for (const Target& target : targets) {
    if (target.recurrent != recurrent) continue;
    const std::vector<float>& values = target.matrix->values;
    pool.values.insert(pool.values.end(), values.begin(), values.end());
    density = target.density;
  }
  pool.cols = std::ssize(pool.values);
  const auto mask = prune_mask(pool, 1, {Pattern::Kind::unstructured, 0, 0}, density);
  auto next = mask.begin();
  for (std::size_t i = 0; i < targets.size(); ++i) {
    if (targets[i].recurrent != recurrent) continue;
    const auto end = next + std::ssize(targets[i].matrix->values);
    masks[i].assign(next, end);
    next = end;
  }
}

std::vector<std::vector<std::uint8_t>> masks_of(const std::vector<Target>& targets, const Pattern& pattern) {
  std::vector<std::vector<std::uint8_t>> masks(targets.size());
  if (pattern.kind == Pattern::Kind::global) {
    pooled_masks(targets, false, masks);
    pooled_masks(targets, true, masks);
    return masks;
  }
  for (std::size_t i = 0; i < targets.size(); ++i) {
    masks[i] = prune_mask(*targets[i].matrix, targets[i].gates, pattern, targets[i].density);
  }
  return masks;
}

}  // namespace

std::vector<MatrixReport> prune(Model& model, const PruneOptions& options) {
  validate(model);
  const std::vector<Target> targets = targets_of(model, options);
  std::vector<MatrixReport> reports(targets.size());
  for (std::size_t i = 0; i < targets.size(); ++i) reports[i].name = targets[i].name;
  const auto masks = masks_of(targets, options.pattern);
  // Nothing from here on can fail, so the model changes as a whole or not at all.
  for (std::size_t i = 0; i < targets.size(); ++i) apply(targets[i], masks[i], reports[i]);
  return reports;
}

}  // namespace sprnn
