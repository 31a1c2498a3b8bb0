// A loop over several threads whose turns are independent of each other.
#pragma once

#include <atomic>
#include <cstddef>
#include <exception>
#include <system_error>
#include <thread>
#include <vector>

namespace sprnn {

// Calls work(i) for every i in [0, count), over up to `threads` threads, the caller's among them. All turns
// are taken whatever one of them throws; then the exception of the least i is thrown on.
template <class Work>
void parallel_for(std::size_t count, std::size_t threads, const Work& work) {
  std::atomic<std::size_t> next{0};
  std::vector<std::exception_ptr> thrown(count);
  const auto take_turns = [&]() noexcept {
    for (std::size_t i = next.fetch_add(1); i < count; i = next.fetch_add(1)) {
      try {
        work(i);
      } catch (...) {
        thrown[i] = std::current_exception();
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    try {
      while (helpers.size() + 1 < threads && helpers.size() + 1 < count) helpers.emplace_back(take_turns);
    } catch (const std::system_error&) {
      // As many as there are take the turns of all.
    }
    take_turns();
  }
  for (const std::exception_ptr& exception : thrown) {
    if (exception) std::rethrow_exception(exception);
  }
}

}  // namespace sprnn
