// The emulated GPU behind the driver's and cuBLASLt's functions: its memory, and the streams that work comes
// in.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "emulator/memory.hpp"

namespace sprnn::emulator {

// What a captured stream recorded.
using Work = std::vector<std::function<void()>>;

struct Stream {
  std::unique_ptr<Work> captured;  // while it is being captured
};

struct Gpu {
  std::recursive_mutex mutex;
  Memory memory;
  std::uint64_t seed = 1;  // of the next launch
  Stream default_stream;
};
[[nodiscard]] Gpu& gpu();

// Does it at once, or records it. It throws what is wrong with it.
template <class F>
void enqueue(Stream* stream, F&& work) {
  const std::lock_guard lock(gpu().mutex);
  Stream& to = stream == nullptr ? gpu().default_stream : *stream;
  if (to.captured) {
    to.captured->emplace_back(std::forward<F>(work));
  } else {
    work();
  }
}

}  // namespace sprnn::emulator
