// The GPU strategy `gather`: non-zeros as (offset, value) pairs in registers, hidden state in shared memory.
#pragma once

#include <cstdint>
#include <optional>

namespace sprnn {

struct GatherPlan {
  bool operator==(const GatherPlan&) const = default;
};

struct GatherWishes {};

}  // namespace sprnn
