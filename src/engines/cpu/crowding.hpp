// Whether others want a session's cores too, and with how many workers it runs meanwhile.
//
// Workers wait for each other, so a session that shares its cores stands still whenever one of its workers is
// off its core, and each yield of a waiter gives away the rest of its turn. A single worker does not wait:
// beside a process that spins on each of two cores a step of an LSTM 256 takes 8 us with one worker and 22
// with two, beside a second session 6 and 9 (docs/cpu.md). So a session that stands still a quarter of its
// time halves its workers where that can pay, and looks again after a while whether it has its cores back.
// Results have the same bits for any number of workers.
#pragma once

#include <chrono>
#include <vector>

namespace sprnn::cpu {

class Crowding {
 public:
  using Clock = std::chrono::steady_clock;
  using Time = Clock::time_point;
  using Duration = Clock::duration;

  struct Job {
    Time begin, end;
    Duration waited{};  // that its workers stood still because one of them was off its core
  };

  // What a timestep costs, with the number of workers halved 0, 1, 2... times.
  void set_costs(std::vector<double> costs) noexcept;
  // Whether halving them can pay at all; else nobody need tell.
  [[nodiscard]] bool can_halve() const noexcept;
  // How often it is halved for the next job.
  [[nodiscard]] int halvings() const noexcept { return halvings_; }
  // Each job with halvings, and each without in which workers stood still; of the latter `begin` may be as
  // late as end - waited.
  void ran(const Job& job) noexcept;

 private:
  void end_window(Time now, Duration running) noexcept;
  void change(Time now, int halvings) noexcept;

  std::vector<double> costs_{1.0};
  int halvings_ = 0;
  int crowded_windows_ = 0;        // lately
  Time window_{};                  // when the current window began
  Time since_{};                   // since when all workers run, or fewer
  Duration hold_{};                // how long fewer run
  Duration running_{}, waited_{};  // in the window
};

}  // namespace sprnn::cpu
