// Global memory of the emulated GPU: the host's, with a list of what was allocated, so that an access beside
// it is a fault and not luck.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>

namespace sprnn::emulator {

class Memory {
 public:
  // `bytes` from `begin` on; each allocation has room around it that belongs to nobody.
  void add(std::uint64_t begin, std::size_t bytes) { allocations_[begin] = begin + bytes; }
  void remove(std::uint64_t begin) { allocations_.erase(begin); }
  [[nodiscard]] bool contains(std::uint64_t address, std::size_t bytes) {
    if (address >= begin_ && address <= end_ && bytes <= end_ - address) return true;
    auto next = allocations_.upper_bound(address);
    if (next == allocations_.begin()) return false;
    --next;
    begin_ = next->first, end_ = next->second;
    return address <= end_ && bytes <= end_ - address;
  }
  void forget() { begin_ = end_ = 0; }

 private:
  std::map<std::uint64_t, std::uint64_t> allocations_;
  std::uint64_t begin_ = 0, end_ = 0;  // the one that was accessed last
};

}  // namespace sprnn::emulator
