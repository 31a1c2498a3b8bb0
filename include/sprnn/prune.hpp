// Magnitude pruning of the recurrent (and, if asked, the input) matrices.
//
// Counts are rounded half away from zero. Blocks (of `block` and `unit`) are kept or pruned as a whole, in
// the order of their mean magnitude, which is fair to the short ones at the edges; the number kept is the
// one that brings the kept entries nearest to density * entries (of two equally near, the larger).
// An entry that is +0.0 is never stored, so the density reached can be below the one asked for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sprnn/model.hpp"

namespace sprnn {

struct Pattern {
  enum class Kind : std::uint8_t {
    unstructured,  // round(density * entries) largest magnitudes of the matrix, ties to the lower index
    row,           // the same count, round(density * cols), in every row
    global,        // unstructured over all W_hh of the model together, and over all W_ih together
    block,         // a = R consecutive rows by b = C consecutive columns, never across a gate
    unit,          // all G rows of a = U consecutive units share their columns, in runs of b = C
    n_of_m,        // a = N of every b = M consecutive entries of a row; min(N, length) of a short last group
  };
  Kind kind = Kind::unstructured;
  int a = 0;
  int b = 0;
  bool operator==(const Pattern&) const = default;
};

// "unstructured", "row", "global", "block:16x1", "unit:4x1", "2:4"; throws Error(invalid_argument).
[[nodiscard]] Pattern parse_pattern(std::string_view text);
[[nodiscard]] std::string to_string(const Pattern& pattern);

// W_hr and biases are never pruned. An n_of_m pattern says the density itself: `density` must be 1 (unsaid)
// or N/M, `input_density` absent or N/M. Densities per layer do not go with n_of_m, nor with global.
struct PruneOptions {
  Pattern pattern{};
  double density = 1.0;                       // of every W_hh, in [0, 1]
  std::optional<double> input_density{};      // of every W_ih; absent: W_ih is left alone
  std::vector<double> layer_density{};        // absent or one a layer: replaces `density`
  std::vector<double> layer_input_density{};  // likewise for W_ih
};

struct MatrixReport {
  std::string name;  // "weight_hh_l0"
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  double wanted = 1.0;       // density asked for
  double reached = 1.0;      // stored non-zeros / entries
  std::int64_t min_row = 0;  // non-zeros in the row with the fewest
  std::int64_t max_row = 0;  // and with the most
  double norm_lost = 0.0;    // ||W - pruned W|| / ||W||, Frobenius; 0 for a zero matrix
};

// Sets the pruned entries to +0.0, in place. Deterministic. One report for each matrix pruned, in the order
// of the layers, then of the directions, W_ih before W_hh. Throws Error(invalid_argument) for a bad
// option or an invalid model, which then stays as it was.
std::vector<MatrixReport> prune(Model& model, const PruneOptions& options);

// The kept entries of one matrix [rows * cols], 1 = kept. `gates` bounds block and unit patterns; global is
// unstructured here. Throws Error(invalid_argument) for a density outside [0, 1] or, with n_of_m, other than
// 1 or N/M, and for gates that do not divide the rows.
[[nodiscard]] std::vector<std::uint8_t> prune_mask(const Matrix& matrix, int gates, const Pattern& pattern,
                                                   double density);

}  // namespace sprnn
