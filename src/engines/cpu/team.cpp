#include "engines/cpu/team.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>

#include <chrono>

#include "sprnn/error.hpp"

namespace sprnn::cpu {

namespace {

// How often this process is a child of fork: threads of an earlier generation are gone.
std::atomic<std::uint32_t> generation{0};

std::uint32_t current_generation() {
  static const int registered =
      pthread_atfork(nullptr, nullptr, [] { generation.fetch_add(1, std::memory_order_relaxed); });
  (void)registered;
  return generation.load(std::memory_order_relaxed);
}

void pause() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#endif
}

constexpr int flag_bits = 3;  // of a stamp

// About 1 us. Then the core is offered to others at every look: without that, sessions that share cores took
// 4 to 15 times as long instead of 2 to 3 times. After `patience` the waiter sleeps; waking costs 5 to 50 us.
constexpr int pauses = 20;
constexpr std::chrono::microseconds patience{200};

}  // namespace

Team::Team(int threads) : size_(threads), lines_(new Line[static_cast<std::size_t>(threads)]) {
  threads_.reserve(static_cast<std::size_t>(threads));
  for (int worker = 1; worker < threads; ++worker) starts_.push_back({this, worker, 0});
  start();
}

Team::~Team() { stop(); }

void Team::start() {
  generation_ = current_generation();
  threads_.clear();
  sleepers_.store(0);
  // Signals are for the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  int failure = 0;
  for (Start& start : starts_) {
    start.jobs = jobs_.load(std::memory_order_relaxed);
    pthread_t thread;
    failure = pthread_create(&thread, nullptr, thread_main, &start);
    if (failure != 0) break;
    threads_.push_back(thread);
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (failure != 0) {
    const std::size_t started = threads_.size();
    stop();
    // In a forked child the team lives on: its next run() tries again.
    threads_.clear();
    generation_ = current_generation() - 1;
    throw Error(ErrorCode::out_of_memory,
                fmt::format("cannot start thread {} of {} (error {}): ask for fewer threads", started + 2,
                            size_, failure));
  }
}

void Team::stop() noexcept {
  if (generation_ != current_generation()) return;
  job_ = nullptr;
  publish(jobs_, jobs_.load(std::memory_order_relaxed) + 1);
  for (const pthread_t thread : threads_) pthread_join(thread, nullptr);
}

void* Team::thread_main(void* start) {
  const Start& mine = *static_cast<const Start*>(start);
  mine.team->serve(mine);
  return nullptr;
}

void Team::serve(const Start& start) noexcept {
  std::uint32_t seen = start.jobs;
  for (;;) {
    seen = await(jobs_, [seen](std::uint32_t jobs) { return jobs != seen; });
    if (job_ == nullptr) return;
    job_(context_, start.worker);
    arrive(start.worker, false);
  }
}

void Team::run(Job job, void* context) {
  if (generation_ != current_generation()) start();
  if (size_ > 1) {
    job_ = job;
    context_ = context;
    publish(jobs_, jobs_.load(std::memory_order_relaxed) + 1);
  }
  job(context, 0);
  arrive(0, false);
  wait(0);
}

void Team::arrive(int worker, bool flag) noexcept {
  Line& line = lines_[worker];
  const std::uint32_t before = line.stamp.load(std::memory_order_relaxed);
  ++line.arrivals;
  publish(line.stamp, line.arrivals << flag_bits | (before & 3U) << 1 | (flag ? 1U : 0U));
}

bool Team::wait(int worker) noexcept {
  const std::uint32_t mine = lines_[worker].arrivals << flag_bits;
  bool flag = false;
  for (int other = 0; other < size_; ++other) {
    const std::uint32_t stamp = await(lines_[other].stamp, [mine](std::uint32_t value) {
      return static_cast<std::int32_t>(value - mine) >= 0;
    });
    const std::uint32_t ahead = (stamp - mine) >> flag_bits;
    flag = flag || (stamp >> ahead & 1U) != 0;
  }
  return flag;
}

template <class Done>
std::uint32_t Team::await(std::atomic<std::uint32_t>& word, Done done) noexcept {
  for (int i = 0; i < pauses; ++i) {
    const std::uint32_t value = word.load(std::memory_order_acquire);
    if (done(value)) return value;
    pause();
  }
  const auto deadline = std::chrono::steady_clock::now() + patience;
  do {
    const std::uint32_t value = word.load(std::memory_order_acquire);
    if (done(value)) return value;
    sched_yield();
  } while (std::chrono::steady_clock::now() < deadline);
  // Either publish() sees the sleeper, or the sleeper sees the new value: both orders are sequentially
  // consistent.
  sleepers_.fetch_add(1);
  std::uint32_t value = word.load();
  while (!done(value)) {
    word.wait(value);
    value = word.load();
  }
  sleepers_.fetch_sub(1);
  return value;
}

void Team::publish(std::atomic<std::uint32_t>& word, std::uint32_t value) noexcept {
  word.store(value);
  if (sleepers_.load() != 0) word.notify_all();
}

}  // namespace sprnn::cpu
