#include "engines/cuda/kernel_code.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/sha256.hpp"
#include "engines/cuda/compiler.hpp"
#include "engines/cuda/kernel_sources.hpp"

namespace sprnn::cuda {

std::string missing_cell(const Problem& problem) {
  for (const DirectionProblem& direction : problem.directions) {
    if (!direction.cell.is_standard()) return fmt::format("has no {} cell", to_string(direction.cell));
    if (direction.peephole) return "has no lstm with peepholes";
  }
  return "";
}

KernelRequest layer_kernel(const KernelShape& shape) { return {"layer.cu", plan_source(shape)}; }

KernelRequest input_kernel(DType dtype) {
  return {"input.cu", fmt::format("#pragma once\n#include \"types.cuh\"\nusing Element = {};\n",
                                  dtype == DType::fp16   ? "Fp16"
                                  : dtype == DType::bf16 ? "Bf16"
                                                         : "Fp32")};
}

KernelRequest sides_kernel() { return {"sides.cu", "#pragma once\n"}; }

KernelShape unbounded(KernelShape shape) {
  shape.h_word = ExchangeWord::tag;
  // Four products may be more than fp16 has.
  if (auto* gather = std::get_if<GatherShape>(&shape.product)) gather->layout.w_hh.half_sums = false;
  if (has_rest(shape)) std::get<MmaShape>(shape.product).layout.rest->half_sums = false;
  return shape;
}

std::vector<KernelRequest> kernels_of(const Plan& plan, int compute_capability) {
  std::vector<KernelRequest> all{input_kernel(plan.problem.dtype), sides_kernel()};
  const auto add = [&](KernelRequest request) {
    const bool known = std::any_of(all.begin(), all.end(), [&](const KernelRequest& other) {
      return other.kernel == request.kernel && other.plan_source == request.plan_source;
    });
    if (!known) all.push_back(std::move(request));
  };
  for (std::size_t d = 0; d < plan.directions.size(); ++d) {
    const auto add_layer = [&](const KernelShape& shape) {
      add(layer_kernel(shape));
      if (!is_counted(shape)) add(layer_kernel(unbounded(shape)));
    };
    KernelShape shape = kernel_shape(plan, d, compute_capability);
    add_layer(shape);
    if (in_cluster(shape)) {
      shape.plan.in_cluster = false;  // for a GPU without room for the cluster
      add_layer(shape);
    }
  }
  return all;
}

std::string source_hash(const KernelRequest& request) {
  // Every part with its length, so that no two lists of parts read the same.
  std::string text;
  const auto add = [&](std::string_view part) { text += fmt::format("{}\n{}\n", part.size(), part); };
  add(request.kernel);
  add(request.plan_source);
  for (const char* option : compile_options()) add(option);
  for (const KernelSource& source : kernel_sources()) {
    add(source.name);
    add(source.text);
  }
  return sha256(text);
}

}  // namespace sprnn::cuda
