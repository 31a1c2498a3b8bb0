#include "base/temporary_registry.hpp"

#include <unistd.h>

#include <array>
#include <atomic>
#include <climits>
#include <cstring>

#include "sprnn/temporary_files.hpp"

namespace sprnn {

namespace {

constexpr pid_t vacant = 0;
constexpr pid_t being_filled = -1;

struct Slot {
  // The process that writes the file: a forked child must not remove its parent's.
  std::atomic<pid_t> owner{vacant};
  std::array<char, PATH_MAX> path{};
};
static_assert(std::atomic<pid_t>::is_always_lock_free, "a signal handler may use lock-free atomics only");

std::array<Slot, 32> slots;

}  // namespace

int register_temporary(const char* path) noexcept {
  const std::size_t size = std::strlen(path) + 1;
  if (size > PATH_MAX) return -1;
  for (int i = 0; i < static_cast<int>(slots.size()); ++i) {
    Slot& slot = slots[static_cast<std::size_t>(i)];
    pid_t expected = vacant;
    if (!slot.owner.compare_exchange_strong(expected, being_filled)) continue;
    std::memcpy(slot.path.data(), path, size);
    slot.owner.store(getpid());
    return i;
  }
  return -1;
}

void unregister_temporary(int slot) noexcept {
  if (slot >= 0) slots[static_cast<std::size_t>(slot)].owner.store(vacant);
}

void remove_temporary_files() noexcept {
  const pid_t self = getpid();
  for (const Slot& slot : slots) {
    if (slot.owner.load() == self) unlink(slot.path.data());
  }
}

}  // namespace sprnn
