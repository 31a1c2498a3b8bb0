// What does not fit into this machine is refused by name before it is tried: the system would hand out the
// memory all the same and end the process once it is used.
#pragma once

#include <cstddef>
#include <string_view>

namespace sprnn {

[[nodiscard]] std::size_t physical_memory();  // bytes

// Throws Error(out_of_memory) if `bytes` are more than this machine has; `what` begins the message, as "steps
// 1000000 of batch 64" does.
void require_memory(std::string_view what, double bytes);

}  // namespace sprnn
