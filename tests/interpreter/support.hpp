// Packing for a GPU, running in the interpreter, comparing with the float64 reference.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sprnn/engine.hpp"
#include "support/random_model.hpp"

namespace sprnn::test {

struct Output {
  std::vector<float> y, h, c;
  bool operator==(const Output&) const = default;
};

// A GPU with 4 SMs and little room, so that small models spread over several passes and places.
[[nodiscard]] Device tiny_gpu();

[[nodiscard]] std::shared_ptr<const Packed> pack_for(const Model& model, const Device& device, int batch,
                                                     const GpuWishes& wishes = {});

// With a mask that the strategy takes.
[[nodiscard]] ModelSpec masked_for(GpuStrategy strategy, ModelSpec spec);

// A problem whose plans differ in all that a plan decides.
struct GpuProblem {
  ModelSpec spec;
  std::int64_t batch = 1;
  Lengths lengths = Lengths::all_steps;
  bool tiny = false;  // planned for tiny_gpu()
};
[[nodiscard]] GpuProblem draw_gpu_problem(Random& random, std::int64_t most_hidden);

// Through one session, checked for unwritten outputs and overruns; in chunks of `chunk` steps if not 0.
[[nodiscard]] Output interpret(const std::shared_ptr<const Packed>& packed, const Inputs& inputs,
                               std::int64_t chunk = 0);

struct Errors {
  double error = 0.0, bound = 0.0;  // the worst of y, h and c; and what it may be
};
[[nodiscard]] Errors compare(const Model& model, const Inputs& inputs, const Output& output);

}  // namespace sprnn::test
