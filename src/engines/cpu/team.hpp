// Threads that live as long as their session. The caller of run() is worker 0.
//
// Between timesteps there is no barrier and no mutex: each worker has a stamp in a cache line of its own,
// which counts what it has published; the others read it. Whoever waits spins for a bounded time, then
// yields, then sleeps on the stamp (std::atomic::wait), so idle sessions use no processor.
#pragma once

#include <pthread.h>

#include <atomic>
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
  // Runs job(context, worker) on every worker and returns when all are done. After a fork the child has
  // lost the threads: they are started anew.
  void run(Job job, void* context);

  // Within a job: what this worker has written is published, with one flag. Workers take turns: each
  // arrive() is followed by a wait() of the same worker before its next arrive(), except at the job's end.
  void arrive(int worker, bool flag) noexcept;
  // Waits until all workers have arrived as often as this one; true if any of them raised its flag then.
  bool wait(int worker) noexcept;

 private:
  struct alignas(64) Line {
    // Bits 3 and up: how often the worker arrived; bit k, k < 3: its flag of k arrivals ago. A worker may be
    // two ahead of who reads its stamp: by its last arrive() of a job, which no wait() follows, and by the
    // one that ends the job.
    std::atomic<std::uint32_t> stamp{0};
    std::uint32_t arrivals = 0;  // the owner's copy
  };
  struct Start {
    Team* team;
    int worker;
    std::uint32_t jobs;  // run()s before the thread was started
  };

  void start();
  void stop() noexcept;
  static void* thread_main(void* start);
  void serve(const Start& start) noexcept;
  // Returns the first value of `word` for which done(value) holds.
  template <class Done>
  std::uint32_t await(std::atomic<std::uint32_t>& word, Done done) noexcept;
  void publish(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept;

  int size_;
  std::unique_ptr<Line[]> lines_;
  alignas(64) std::atomic<std::uint32_t> jobs_{0};  // counts run()s
  alignas(64) std::atomic<std::uint32_t> sleepers_{0};
  Job job_ = nullptr;  // null: the threads end
  void* context_ = nullptr;
  std::vector<pthread_t> threads_;
  std::vector<Start> starts_;
  std::uint32_t generation_ = 0;  // of the process that started threads_
};

}  // namespace sprnn::cpu
