// What a strategy's packed matrix does with a state vector.
#pragma once

#include "engines/interpreter/state_image.hpp"

namespace sprnn::interpreter {

class RecurrentProduct {
 public:
  RecurrentProduct() = default;
  RecurrentProduct(const RecurrentProduct&) = delete;
  RecurrentProduct& operator=(const RecurrentProduct&) = delete;
  virtual ~RecurrentProduct() = default;

  // The sums of all CTAs' rows for the first `entries` batch entries of the group. Not `bounded`: the state
  // has a value of 2 or more.
  virtual void run(const StateImage& state, int entries, bool bounded) = 0;
  // [entry] of the CTA's row unit * gates + gate.
  [[nodiscard]] virtual const float* sums(int cta, int local_row) const = 0;
};

}  // namespace sprnn::interpreter
