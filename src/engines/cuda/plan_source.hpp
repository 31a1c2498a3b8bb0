// What a plan says, as the constants that the kernel is compiled for: kernels/*.cuh include it as plan.cuh.
#pragma once

#include <cstdint>
#include <string>
#include <variant>

#include "plan/gather_layout.hpp"
#include "plan/mma_layout.hpp"

namespace sprnn::cuda {

struct GatherShape {
  gather::Layout layout;
  bool opaque_pairs = false;
};

struct MmaShape {
  mma::Layout layout;
};

// What one kernel is made for.
struct KernelShape {
  GpuPlan plan;  // what strategies share of it
  DType dtype = DType::fp32;
  Cell cell;
  gpu::Frame frame;
  std::variant<GatherShape, MmaShape> product;
  ExchangeWord h_word = ExchangeWord::stamp;  // the plan's, or tag for a state that no stamp can carry
};

// Whether the CTAs exchange h in their shared memory. What stands in for the planned kernel does not.
[[nodiscard]] bool in_cluster(const KernelShape& shape) noexcept;

// Whether its words are counted, and so carry a state of any value (kernels/counted_exchange.cuh).
[[nodiscard]] bool is_counted(const KernelShape& shape) noexcept;

// Whether warps keep the state in registers as it comes from the ring (kernels/held_exchange.cuh); else it is
// staged in shared memory.
[[nodiscard]] bool holds_state(const KernelShape& shape) noexcept;

// Whether it gathers what its tensor cores leave out.
[[nodiscard]] bool has_rest(const KernelShape& shape) noexcept;

// Of a direction that is planned for a GPU, on one that may be older: without clusters it exchanges through
// the L2.
[[nodiscard]] KernelShape kernel_shape(const Plan& plan, std::size_t direction, int compute_capability);

// Places of a CTA's shared memory.
struct SharedMap {
  std::int64_t h_image = 0, out_image = 0, given_up = 0, ring = 0, counters = 0, sums = 0, rest_sums = 0,
               hh_weights = 0, hr_weights = 0, rest_weights = 0, end = 0;
};
[[nodiscard]] SharedMap shared_map(const KernelShape& shape);
// What a launch asks for: more than half of an SM's shared memory, so that a CTA has its SM for itself.
[[nodiscard]] std::int64_t shared_bytes(const KernelShape& shape, const GpuDescription& gpu);

// Columns of the input projection: [CTA][unit][gate], filled up to a multiple of 4 (16 bytes).
[[nodiscard]] std::int64_t projection_columns(const KernelShape& shape);

// 16-byte quads of an exchanged vector, of one slot of one group.
[[nodiscard]] std::int64_t exchange_quads(int units_a_cta, ExchangeWord word, const KernelShape& shape);

[[nodiscard]] std::string plan_source(const KernelShape& shape);

}  // namespace sprnn::cuda
