#include "base/memory.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include "sprnn/error.hpp"

namespace sprnn {

std::size_t physical_memory() {
  return static_cast<std::size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

void require_memory(std::string_view what, double bytes) {
  const auto available = static_cast<double>(physical_memory());
  if (bytes <= available) return;
  throw Error(ErrorCode::out_of_memory, fmt::format("{}: needs {:.3g} GB of memory, this machine has {:.3g}",
                                                    what, bytes * 1e-9, available * 1e-9));
}

}  // namespace sprnn
