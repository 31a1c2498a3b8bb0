// This library's side of a race.
#pragma once

#include <memory>

#include "bench/contestant.hpp"
#include "bench/peers/peer.hpp"
#include "sprnn/engine.hpp"

namespace sprnn::bench {

class SessionContestant final : public Contestant {
 public:
  // `workload` must outlive it.
  SessionContestant(std::unique_ptr<Session> session, const Workload& workload);

  double run(std::size_t length, std::size_t input_set) override;
  std::vector<float> output() override { return {y_.begin(), y_.begin() + written_}; }
  void wake() override {}  // the engine wakes its own threads
  // Waits until its threads have stopped spinning. Throws Error(internal) if they do not.
  void sleep() override;

 private:
  std::unique_ptr<Session> session_;
  const Workload& workload_;
  std::vector<float> y_;
  std::ptrdiff_t written_ = 0;
};

// True when every thread of this process but the caller sleeps.
[[nodiscard]] bool other_threads_sleep();

}  // namespace sprnn::bench
