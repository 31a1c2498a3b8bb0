// Threads that live as long as their session. The caller of run() is worker 0.
//
// Between timesteps there is no barrier and no mutex: each worker has a stamp in a cache line of its own,
// which counts what it has published; the others read it. Whoever waits spins and yields for a bounded time,
// then sleeps on the stamp (std::atomic::wait), so idle sessions use no processor.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

namespace sprnn::cpu {

class Team {
 public:
  using Job = void (*)(void* context, int worker) noexcept;

  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

  [[nodiscard]] int size() const noexcept { return size_; }
  // Runs job(context, worker) on the first `workers` workers and returns when all of them are done; the
  // others sleep on. After a fork the child has lost the threads: they are started anew.
  void run(Job job, void* context, int workers);
  // How long the last job's workers waited for one that must have been off its core, a mean of those that
  // wait for one.
  [[nodiscard]] std::chrono::steady_clock::duration waited() const noexcept;

  // Within a job: what this worker has written is published, with one flag. Workers take turns: each
  // arrive() is followed by a wait() of the same worker before its next arrive(), except at the job's end.
  void arrive(int worker, bool flag) noexcept;
  // Waits until all workers of the job have arrived as often as this one; true if any of them raised its flag
  // then.
  bool wait(int worker) noexcept;

 private:
  // A value that one thread publishes and others wait for, with how many of them sleep.
  struct alignas(64) Word {
    std::atomic<std::uint32_t> value{0};
    std::atomic<std::uint32_t> sleepers{0};
  };
  struct Line {
    // Bits 3 and up: how often the worker arrived; bit k, k < 3: its flag of k arrivals ago. A worker may be
    // two ahead of who reads its stamp: by its last arrive() of a job, which no wait() follows, and by the
    // one that ends the job.
    Word stamp;
    Word jobs;                                     // that the worker was called to
    std::uint32_t arrivals = 0;                    // the owner's copy; run()'s while the worker sleeps
    bool newcomer = false;                         // the owner's: it was away from its core (team.cpp)
    std::chrono::steady_clock::duration waited{};  // the owner's: longer than a spell, within this job
  };
  struct Start {
    Team* team;
    int worker;
    std::uint32_t jobs;  // before the thread was started
  };

  void start();
  void stop() noexcept;
  static void* thread_main(void* start);
  void serve(const Start& start) noexcept;
  void call(int worker) noexcept;

  int size_;
  std::unique_ptr<Line[]> lines_;
  Job job_ = nullptr;  // null: the threads end
  void* context_ = nullptr;
  int workers_ = 1;  // of the job
  std::vector<pthread_t> threads_;
  std::vector<Start> starts_;
  std::uint32_t generation_ = 0;  // of the process that started threads_
};

}  // namespace sprnn::cpu
