// The oracle: textbook float64, dense, frozen. It shares no code with what it checks.
#pragma once

#include <cstdint>
#include <vector>

#include "sprnn/model.hpp"

namespace sprnn::reference {

struct State {
  std::vector<double> h;  // [L*D, B, R]
  std::vector<double> c;  // [L*D, B, H], empty unless lstm
};

struct Output {
  std::vector<double> y;  // [T, B, D*R], zero at padded steps
  State final;            // each sequence's own
};

// x [T, B, I]; lengths [B] or null; an empty initial state means zeros. Nothing is rounded: give it
// weights, x and h0 that are on the dtype's grid. Products skip the weights that are +0.0, so that
// non-finite values propagate along stored non-zeros only. Same bits for any number of threads.
[[nodiscard]] Output run(const Model& model, std::int64_t steps, std::int64_t batch, const double* x,
                         const std::int64_t* lengths, const State& initial, int threads = 1);

}  // namespace sprnn::reference
