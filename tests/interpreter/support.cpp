#include "interpreter/support.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engines/interpreter/engine.hpp"
#include "engines/reference/reference.hpp"
#include "verify/naive.hpp"

namespace sprnn::test {

Device tiny_gpu() {
  GpuDescription gpu;
  gpu.sm_count = 4;
  gpu.max_registers_per_thread = 152;
  gpu.shared_bytes_per_block = gpu.shared_bytes_per_sm = 24 * 1024;
  return {"tiny", gpu};
}

std::shared_ptr<const Packed> pack_for(const Model& model, const Device& device, int batch,
                                       const GpuWishes& wishes) {
  const Plan plan = make_plan(describe(model, batch), device, {{}, wishes});
  auto packed = std::make_shared<Packed>(pack(model, plan));
  validate(*packed);
  return packed;
}

ModelSpec masked_for(GpuStrategy strategy, ModelSpec spec) {
  if (strategy == GpuStrategy::sparse_mma) spec.mask = Mask::two_of_four;
  return spec;
}

GpuProblem draw_gpu_problem(Random& random, std::int64_t most_hidden) {
  const auto one_of = [&](auto... choices) {
    const std::common_type_t<decltype(choices)...> all[] = {choices...};
    return all[random.integer(0, sizeof...(choices) - 1)];
  };
  GpuProblem drawn;
  ModelSpec& spec = drawn.spec;
  spec.seed = random.bits();
  spec.cell = standard_cells()[static_cast<std::size_t>(random.integer(0, 3))];
  spec.dtype = one_of(DType::fp32, DType::fp16, DType::bf16);
  spec.hidden = std::min<std::int64_t>(
      one_of(1, 2, 3, 5, 7, 13, 16, 31, 37, 61, 64, 97, 127, 130, 251, 512, 777), most_hidden);
  spec.input = one_of(1, 2, 5, 11, 33, 128);
  spec.density = one_of(0.0, 0.01, 0.1, 0.3, 0.6, 1.0);
  spec.input_density = one_of(0.02, 0.4, 1.0);
  spec.mask = one_of(Mask::uniform, Mask::skewed_rows, Mask::empty_rows, Mask::one_full_row, Mask::bands);
  spec.layers = one_of(1, 1, 1, 2);
  spec.directions = one_of(Directions::forward, Directions::forward, Directions::reverse, Directions::both);
  spec.bias = random.chance(0.7);
  if (spec.cell.kind == CellKind::lstm && spec.hidden > 1 && random.chance(0.4))
    spec.projection = random.integer(1, spec.hidden - 1);
  drawn.batch = one_of(1, 2, 3, 4, 5, 7, 8, 13, 16, 32);
  drawn.lengths = one_of(Lengths::all_steps, Lengths::mixed);
  drawn.tiny = random.chance(0.5);
  return drawn;
}

Output interpret(const std::shared_ptr<const Packed>& packed, const Inputs& inputs, std::int64_t chunk) {
  const Problem& problem = packed->plan.problem;
  const auto session = interpreter_engine().session(packed, {static_cast<int>(inputs.batch), 0, ""});
  session->set_state(inputs.h0, inputs.c0);
  const std::size_t per_layer = problem.directions.size() > 1 && problem.directions[1].layer == 0 ? 2 : 1;
  const std::size_t width = per_layer * static_cast<std::size_t>(problem.directions.front().w_hh.cols);
  const auto batch = static_cast<std::size_t>(inputs.batch);
  const auto in = static_cast<std::size_t>(problem.input_size);

  GuardedOutput y(static_cast<std::size_t>(inputs.steps) * batch * width);
  if (chunk == 0) chunk = inputs.steps;
  for (std::int64_t begin = 0; begin < inputs.steps; begin += chunk) {
    Sequence sequence;
    sequence.steps = std::min(chunk, inputs.steps - begin);
    sequence.x = inputs.x.data() + static_cast<std::size_t>(begin) * batch * in;
    sequence.y = y.data() + static_cast<std::size_t>(begin) * batch * width;
    if (!inputs.lengths.empty()) sequence.lengths = inputs.lengths.data();
    session->run(sequence);
  }
  EXPECT_EQ(y.problem(), "");
  Output output{{y.values().begin(), y.values().end()}, inputs.h0, inputs.c0};
  session->get_state(output.h, output.c);
  return output;
}

Errors compare(const Model& model, const Inputs& inputs, const Output& output) {
  const std::vector<double> x = to_double(inputs.x);
  const std::int64_t* lengths = inputs.lengths.empty() ? nullptr : inputs.lengths.data();
  const reference::Output expected = reference::run(model, inputs.steps, inputs.batch, x.data(), lengths,
                                                    {to_double(inputs.h0), to_double(inputs.c0)});
  const NaiveOutput naive =
      run_naively(model, inputs.steps, inputs.batch, inputs.x.data(), lengths, inputs.h0, inputs.c0);
  const auto worst = [&](const auto& y, const auto& h, const auto& c) {
    const double errors[] = {rel_error(y, expected.y), rel_error(h, expected.final.h),
                             rel_error(c, expected.final.c)};
    double most = 0.0;
    for (const double error : errors) most = std::isnan(error) ? error : std::max(most, error);
    return most;
  };
  const double fixed = model.dtype == DType::fp32 ? 1e-5 : model.dtype == DType::fp16 ? 2e-3 : 1.5e-2;
  const std::span<const float> y(output.y), h(output.h), c(output.c);
  const std::span<const float> naive_y(naive.y), naive_h(naive.h), naive_c(naive.c);
  return {worst(y, h, c), std::max(fixed, 2.0 * worst(naive_y, naive_h, naive_c))};
}

}  // namespace sprnn::test
