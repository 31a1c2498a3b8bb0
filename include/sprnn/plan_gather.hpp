// The GPU strategy `gather`: non-zeros as (offset, value) pairs in registers, hidden state in shared memory.
//
// Each CTA owns some units with all their rows. Its lanes form row groups of `lanes`, and a row is summed by
// as many row groups as its length takes, its parts; when a CTA has more rows than row groups, each takes a
// row a pass, the longest rows first. A slot is the place of one pair in one lane; every lane has the same
// number of slots in a pass, so that the kernel's loops are constants.
#pragma once

#include <optional>
#include <vector>

#include "sprnn/plan_gpu.hpp"

namespace sprnn {

// Slots a lane in one pass over the rows, by where they live; summed in this order. When one place
// overflows into the next, it holds a multiple of 4.
struct RowPass {
  int registers = 0;
  int shared = 0;
  int l2 = 0;
  [[nodiscard]] int slots() const noexcept { return registers + shared + l2; }
  bool operator==(const RowPass&) const = default;
};

// The largest magnitude of weights of which any four products with states below 2, summed in half precision,
// are finite: 8192 * (2 - 2^-10) = 16376, whose multiples are rounded to 32752, 49120 and 65504.
inline constexpr float most_half_weight = 8192.0F;

// How one recurrent matrix lies over the CTAs of a group.
struct GatherMatrix {
  int units_a_cta = 0;  // a unit has G rows in W_hh, one in W_hr
  int lanes = 32;       // of a row group: 1, 2, 4, ... 32
  int parts = 1;        // of the row that has most; 1 when there are several passes
  int offset_unit = 1;  // bytes of state that one step of a 16-bit offset stands for
  // fp16: 4 products are summed in half precision, then in fp32. Not where a weight is above
  // most_half_weight.
  bool half_sums = false;
  std::vector<RowPass> passes;
  bool operator==(const GatherMatrix&) const = default;
};

struct GatherPlan : GpuPlan {
  int word_bytes = 2;  // of one shared-memory load: word_bytes / element size batch entries
  GatherMatrix w_hh;
  std::optional<GatherMatrix> w_hr;
  bool bank_order = true;     // false: a row's pairs in the order of their columns
  bool opaque_pairs = false;  // keep the compiler from unpacking pairs outside the time loop
  bool operator==(const GatherPlan&) const = default;
};

}  // namespace sprnn
