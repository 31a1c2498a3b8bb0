#include "plan/problem_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace sprnn {

namespace {

class Checker {
 public:
  Checker(const Problem& problem, ErrorCode code) : problem_(problem), code_(code) {}

  void run() const {
    in_range("batch", problem_.batch, 1, max_batch);
    in_range("input size", problem_.input_size, 1, max_size);
    in_range("hidden size", problem_.hidden_size, 1, max_size);
    in_range("projection size", problem_.projection_size, 0, problem_.hidden_size - 1);
    const std::size_t count = problem_.directions.size();
    if (count == 0) fail("the problem has no layer");
    if (count > max_directions)
      fail(fmt::format("{} directions, at most {} are taken", count, max_directions));
    const bool two = count >= 2 && problem_.directions[1].layer == 0;
    if (two && count % 2 != 0) fail("a layer lacks one of its two directions");
    for (std::size_t i = 0; i < count; ++i) direction(i, two);
  }

 private:
  void direction(std::size_t i, bool two) const {
    const DirectionProblem& d = problem_.directions[i];
    const int layer = static_cast<int>(two ? i / 2 : i);
    if (d.layer != layer) fail(fmt::format("direction {}: layer {}, expected {}", i, d.layer, layer));
    if (two && d.reverse != (i % 2 == 1)) {
      fail(fmt::format("layer {}: two directions must be forward, then reverse", layer));
    }
    cell(d);
    const std::string suffix = parameter_suffix(d.layer, d.reverse);
    const std::int64_t state = problem_.projection_size > 0 ? problem_.projection_size : problem_.hidden_size;
    const std::int64_t rows = d.cell.gates() * problem_.hidden_size;
    matrix("weight_ih" + suffix, d.w_ih, rows, layer == 0 ? problem_.input_size : (two ? 2 : 1) * state);
    matrix("weight_hh" + suffix, d.w_hh, rows, state);
    const std::int64_t block = mma_sharing_units(d.cell.gates());
    const std::int64_t blocks = (problem_.hidden_size + block - 1) / block;
    const auto counted = static_cast<std::int64_t>(d.w_hh.shared_columns.size());
    if (counted != 0 && counted != blocks) {
      fail(fmt::format("weight_hh{}: shared_columns of {} blocks of {} units, expected {}", suffix, counted,
                       block, blocks));
    }
    if (problem_.projection_size > 0) {
      matrix("weight_hr" + suffix, d.w_hr, problem_.projection_size, problem_.hidden_size);
    } else {
      matrix("weight_hr" + suffix, d.w_hr, 0, 0);
    }
  }

  void cell(const DirectionProblem& d) const {
    const std::string suffix = parameter_suffix(d.layer, d.reverse);
    const CellKind kind = problem_.directions.front().cell.kind;
    if (d.cell.kind != kind) {
      fail(fmt::format("cell{}: a {}, but the first is a {}", suffix, to_string(d.cell.kind),
                       to_string(kind)));
    }
    const bool lstm = kind == CellKind::lstm;
    if (!lstm && (problem_.projection_size > 0 || d.peephole || d.cell.input_forget)) {
      fail(fmt::format("cell{}: projection, peephole and input_forget are an lstm's, this is a {}", suffix,
                       to_string(kind)));
    }
    if (kind != CellKind::gru && d.cell.reset_before_product) {
      fail(fmt::format("cell{}: reset_before_product is a gru's, this is a {}", suffix, to_string(kind)));
    }
    if (d.cell.clip && !(*d.cell.clip > 0.0F && std::isfinite(*d.cell.clip))) {
      fail(fmt::format("cell{}: clip {}, expected a finite number above 0", suffix, *d.cell.clip));
    }
    for (const Activation& activation : d.cell.activations) {
      if (!std::isfinite(activation.alpha) || !std::isfinite(activation.beta)) {
        fail(fmt::format("cell{}: {} with alpha {} and beta {}, expected finite numbers", suffix,
                         to_string(activation.kind), activation.alpha, activation.beta));
      }
    }
  }

  void matrix(const std::string& name, const MatrixSummary& m, std::int64_t rows, std::int64_t cols) const {
    if (m.rows != rows || m.cols != cols) {
      fail(fmt::format("{}: shape [{}, {}], expected [{}, {}]", name, m.rows, m.cols, rows, cols));
    }
    if (rows * cols > max_entries) {
      fail(fmt::format("{}: {} entries, at most {} are taken", name, rows * cols, max_entries));
    }
    if (static_cast<std::int64_t>(m.row_nonzeros.size()) != rows) {
      fail(fmt::format("{}: non-zeros of {} rows, expected {}", name, m.row_nonzeros.size(), rows));
    }
    for (std::size_t r = 0; r < m.row_nonzeros.size(); ++r) {
      if (m.row_nonzeros[r] < 0 || m.row_nonzeros[r] > cols) {
        fail(fmt::format("{}: {} non-zeros in row {}, expected 0 to {}", name, m.row_nonzeros[r], r, cols));
      }
    }
    for (const std::int32_t columns : m.shared_columns) in_range(name + ": shared_columns", columns, 0, cols);
    in_range(name + ": most_of_four", m.most_of_four.value_or(0), 0, 4);
    if (!m.row_rests.empty() && std::ssize(m.row_rests) != rows) {
      fail(fmt::format("{}: row_rests of {} rows, expected {} or none", name, m.row_rests.size(), rows));
    }
    for (std::size_t r = 0; r < m.row_rests.size(); ++r) {
      if (m.row_rests[r] < 0 || m.row_rests[r] > m.row_nonzeros[r]) {
        fail(fmt::format("{}: row_rests[{}] is {}, expected 0 to {}", name, r, m.row_rests[r],
                         m.row_nonzeros[r]));
      }
    }
    in_range(name + ": group_columns", m.group_columns, 0, rows * cols);
    in_range(name + ": tile_slots", m.tile_slots, 0, rows * cols);
  }

  void in_range(const std::string& name, std::int64_t value, std::int64_t low, std::int64_t high) const {
    if (value < low || value > high) fail(fmt::format("{} is {}, expected {} to {}", name, value, low, high));
  }

  [[noreturn]] void fail(const std::string& message) const { throw Error(code_, message); }

  const Problem& problem_;
  ErrorCode code_;
};

// What a count can be, given how many non-zeros each row has.
struct Range {
  std::int64_t low = 0, high = 0;
};

class CountChecker {
 public:
  explicit CountChecker(const Problem& problem) : problem_(problem) {}

  void run() const {
    for (const DirectionProblem& d : problem_.directions) {
      const std::string suffix = parameter_suffix(d.layer, d.reverse);
      groups("weight_ih" + suffix, d.w_ih, problem_.hidden_size);
      groups("weight_hh" + suffix, d.w_hh, problem_.hidden_size);
      if (problem_.projection_size > 0) groups("weight_hr" + suffix, d.w_hr, problem_.projection_size);
      only_of_hh("weight_ih" + suffix, d.w_ih);
      only_of_hh("weight_hr" + suffix, d.w_hr);
      sharing_units("weight_hh" + suffix, d.w_hh, d.cell.gates());
      fours("weight_hh" + suffix, d.w_hh);
    }
  }

 private:
  static std::int64_t nonzeros(const MatrixSummary& m, std::int64_t row) {
    return m.row_nonzeros[static_cast<std::size_t>(row)];
  }

  // Rows share all columns that they can, or none that they need not.
  static void groups(const std::string& name, const MatrixSummary& m, std::int64_t rows_a_gate) {
    Range columns, slots;
    for (std::int64_t gate = 0; gate < m.rows; gate += rows_a_gate) {
      for (std::int64_t first = gate; first < gate + rows_a_gate; first += cpu_group_rows) {
        std::int64_t most = 0, sum = 0;
        for (std::int64_t row = first; row < std::min(first + cpu_group_rows, gate + rows_a_gate); ++row) {
          most = std::max(most, nonzeros(m, row));
          sum += nonzeros(m, row);
        }
        columns = {columns.low + most, columns.high + std::min(m.cols, sum)};
        slots = {slots.low + most, slots.high + sum};
      }
    }
    in_range(name, "group_columns", m.group_columns, columns);
    in_range(name, "tile_slots", m.tile_slots, slots);
  }

  static void sharing_units(const std::string& name, const MatrixSummary& m, int gates) {
    const std::int64_t units = m.rows / gates, block = mma_sharing_units(gates);
    if (m.shared_columns.empty()) fail(name + ": shared_columns are missing");
    for (std::int64_t first = 0; first < units; first += block) {
      std::int64_t most = 0, sum = 0;
      for (std::int64_t unit = first; unit < std::min(first + block, units); ++unit) {
        for (std::int64_t row = unit; row < m.rows; row += units) {
          most = std::max(most, nonzeros(m, row));
          sum += nonzeros(m, row);
        }
      }
      in_range(name, "shared_columns", m.shared_columns[static_cast<std::size_t>(first / block)],
               {most, std::min(m.cols, sum)}, first / block);
    }
  }

  static void fours(const std::string& name, const MatrixSummary& m) {
    constexpr std::int64_t four = 4, two = 2;
    const std::int64_t fours = (m.cols + four - 1) / four;
    if (!m.most_of_four) fail(name + ": most_of_four is missing");
    Range most;
    for (std::int64_t row = 0; row < m.rows; ++row) {
      most.low = std::max(most.low, (nonzeros(m, row) + fours - 1) / fours);
      most.high = std::max(most.high, std::min(four, nonzeros(m, row)));
    }
    in_range(name, "most_of_four", *m.most_of_four, most);
    if (m.row_rests.empty() != (*m.most_of_four <= two)) {
      fail(fmt::format("{}: {} row_rests, but most_of_four is {}", name,
                       m.row_rests.empty() ? "no" : "there are", *m.most_of_four));
    }
    std::int64_t longest = 0;
    for (std::int64_t row = 0; row < std::ssize(m.row_rests); ++row) {
      const std::int64_t rest = m.row_rests[static_cast<std::size_t>(row)];
      in_range(name, "row_rests", rest,
               {std::max<std::int64_t>(0, nonzeros(m, row) - two * fours), nonzeros(m, row) / two}, row);
      longest = std::max(longest, rest);
    }
    if (longest < *m.most_of_four - two)
      fail(fmt::format("{}: row_rests are at most {}, but most_of_four is {}", name, longest,
                       *m.most_of_four));
  }

  static void only_of_hh(const std::string& name, const MatrixSummary& m) {
    if (m.shared_columns.empty() && !m.most_of_four && m.row_rests.empty()) return;
    fail(name + ": shared_columns, most_of_four and row_rests are of weight_hh only");
  }

  static void in_range(const std::string& name, const char* count, std::int64_t value, const Range& range,
                       std::optional<std::int64_t> index = std::nullopt) {
    if (value >= range.low && value <= range.high) return;
    fail(fmt::format("{}: {}{} is {}, expected {} to {}", name, count,
                     index ? fmt::format("[{}]", *index) : "", value, range.low, range.high));
  }
  [[noreturn]] static void fail(const std::string& message) { throw Error(ErrorCode::format, message); }

  const Problem& problem_;
};

}  // namespace

void check(const Problem& problem, ErrorCode code) { Checker(problem, code).run(); }
void check_counts(const Problem& problem) { CountChecker(problem).run(); }

}  // namespace sprnn
