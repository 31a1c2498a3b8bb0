// What all test folders share: seeded random models and inputs, the error measure, guarded outputs.
// Every value depends on the seed alone, on any machine and standard library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "sprnn/model.hpp"

namespace sprnn::test {

// A splitmix64 stream: tiny, and the same everywhere, which the standard distributions are not.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t bits();
  double uniform();                                           // [0, 1)
  double uniform(double low, double high);                    // [low, high)
  std::int64_t integer(std::int64_t low, std::int64_t high);  // low..high, both included
  bool chance(double probability) { return uniform() < probability; }

 private:
  std::uint64_t state_;
};

// How the non-zeros of a matrix lie; the mean density is the one asked for where nothing else is said.
enum class Mask {
  uniform,       // every entry by itself
  skewed_rows,   // a row's density is 4 u^3 times the mean, u uniform: few long rows, many short ones
  empty_rows,    // every third row, or so, is empty; the others as uniform
  one_full_row,  // one row is full; the others as uniform
  bands,         // a diagonal band, the same in each gate
  blocks,        // block_rows x block_cols, within a gate, by themselves
  two_of_four,   // as uniform, but at most 2 of columns 4 k to 4 k + 3: of a density above 0.5 that many
};

enum class Directions { forward, reverse, both };

struct ModelSpec {
  Cell cell = tanh_cell();
  DType dtype = DType::fp32;
  std::int64_t input = 8;
  std::int64_t hidden = 16;
  std::int64_t projection = 0;  // lstm only
  std::int64_t layers = 1;
  Directions directions = Directions::forward;
  bool bias = true;
  bool peephole = false;                               // lstm only
  double density = 1.0;                                // of W_hh and W_hr
  std::optional<double> input_density = std::nullopt;  // of W_ih; absent: `density`
  Mask mask = Mask::uniform;
  std::int64_t block_rows = 16, block_cols = 1;  // of Mask::blocks
  std::uint64_t seed = 1;
};

// Everything of the spec in one line: print it when a test fails.
[[nodiscard]] std::string to_string(const ModelSpec& spec);

// Weights are U(-1,1) / sqrt(non-zeros of their row), biases and peepholes U(-1,1) / 2, all of them
// rounded to the dtype and none of the kept ones zero. The model passes validate().
[[nodiscard]] Model random_model(const ModelSpec& spec);

// The four cells of PyTorch, then variants that between them use every activation, clip,
// reset_before_product and input_forget.
[[nodiscard]] std::vector<Cell> standard_cells();
[[nodiscard]] std::vector<Cell> variant_cells();

// Inputs and initial state, U(-1,1), on the model's dtype grid.
struct Inputs {
  std::int64_t steps = 0, batch = 0;
  std::vector<float> x;               // [T, B, I]
  std::vector<float> h0;              // [L*D, B, R]
  std::vector<float> c0;              // [L*D, B, H], empty unless lstm
  std::vector<std::int64_t> lengths;  // [B] in 1..T, or empty: all T
};
enum class Lengths { all_steps, mixed };
[[nodiscard]] Inputs random_inputs(const Model& model, std::int64_t steps, std::int64_t batch,
                                   std::uint64_t seed, Lengths lengths = Lengths::all_steps);

[[nodiscard]] std::vector<double> to_double(std::span<const float> values);

// ||out - ref|| / ||ref||, the project's measure; 0 / 0 is 0. NaN if a NaN is on either side, so that no
// comparison with a bound passes; infinity if the sizes differ.
[[nodiscard]] double rel_error(std::span<const float> out, std::span<const double> ref);
[[nodiscard]] double rel_error(std::span<const double> out, std::span<const double> ref);

// Fills with one particular NaN, which no arithmetic makes.
void poison(std::span<float> values);
[[nodiscard]] bool is_poison(float value);

// An output array between two guard bands, all of it poisoned.
class GuardedOutput {
 public:
  explicit GuardedOutput(std::size_t size);
  [[nodiscard]] float* data() { return storage_.data() + guard_words; }
  [[nodiscard]] std::span<float> values() { return {data(), size_}; }
  [[nodiscard]] std::span<const float> values() const { return {storage_.data() + guard_words, size_}; }
  // Empty when every value was written and both guards are intact; else says where not.
  [[nodiscard]] std::string problem() const;

 private:
  static constexpr std::size_t guard_words = 64;
  std::size_t size_;
  std::vector<float> storage_;
};

}  // namespace sprnn::test
