// Long runs of this process whose workers are together more than its cores take turns of about 2 ms (a part
// of session.cpp). The kernel lets threads take turns each for itself, and a session stands still whenever
// one of its workers is off its core: two sessions of an LSTM 1024 took 2.3 times as long, in the median, and
// take 2.2 in turns (docs/cpu.md).
#pragma once

#include <atomic>
#include <cstdint>

namespace sprnn::cpu {

class Turns {
 public:
  explicit Turns(int cores) noexcept : cores_(cores) {}
  // Of all sessions, on this process's cores. After a fork the child's are all free.
  [[nodiscard]] static Turns& of_process();

  // Returns when `workers` cores are free, at most all of them; first come, first served. Sleeps meanwhile.
  void take(int workers) noexcept;
  void give(int workers) noexcept;

 private:
  [[nodiscard]] int taken_by(int workers) const noexcept { return workers < cores_ ? workers : cores_; }
  void reset() noexcept;

  int cores_;
  std::atomic<std::uint32_t> next_{0}, served_{0};  // who comes, and whose turn it is to be served
  std::atomic<int> taken_{0};                       // cores
};

// A turn as long as this lives.
class Turn {
 public:
  Turn(Turns& turns, int workers) noexcept : turns_(turns), workers_(workers) { turns_.take(workers_); }
  ~Turn() { turns_.give(workers_); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Turns& turns_;
  int workers_;
};

}  // namespace sprnn::cpu
