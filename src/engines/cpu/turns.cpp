#include "engines/cpu/turns.hpp"

#include <pthread.h>

#include "sprnn/device.hpp"

namespace sprnn::cpu {

Turns& Turns::of_process() {
  static Turns turns(this_cpu().cpu().threads);
  static const int registered = pthread_atfork(nullptr, nullptr, [] { turns.reset(); });
  (void)registered;
  return turns;
}

void Turns::take(int workers) noexcept {
  const std::uint32_t own = next_.fetch_add(1);
  for (std::uint32_t served = served_.load(); served != own; served = served_.load()) served_.wait(served);
  // Only the first of those that wait is here.
  for (int taken = taken_.load(); taken + taken_by(workers) > cores_; taken = taken_.load())
    taken_.wait(taken);
  taken_.fetch_add(taken_by(workers));
  served_.store(own + 1);
  served_.notify_all();
}

void Turns::give(int workers) noexcept {
  taken_.fetch_sub(taken_by(workers));
  taken_.notify_all();
}

// Those that had cores, or waited for some, are not in a child.
void Turns::reset() noexcept {
  next_.store(0);
  served_.store(0);
  taken_.store(0);
}

}  // namespace sprnn::cpu
