// The plainest loop in a model's own precision: what tolerances are measured against.
#pragma once

#include <cstdint>
#include <vector>

#include "sprnn/model.hpp"

namespace sprnn {

struct NaiveOutput {
  std::vector<float> y;  // [T, B, D*R], zero at padded steps
  std::vector<float> h;  // [L*D, B, R]
  std::vector<float> c;  // [L*D, B, H], empty unless lstm
};

// x [T, B, I], h0 [L*D, B, R] and c0 [L*D, B, H] on the dtype's grid; lengths [B] or null. Dot products
// and cell updates in fp32, one sum a row, h rounded to the model's dtype at each step.
[[nodiscard]] NaiveOutput run_naively(const Model& model, std::int64_t steps, std::int64_t batch,
                                      const float* x, const std::int64_t* lengths, std::vector<float> h0,
                                      std::vector<float> c0);

}  // namespace sprnn
