#include "engines/cpu/team.hpp"

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>

#include <chrono>
#include <system_error>

#include "base/float_environment.hpp"
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

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

// Whoever waits spins for about 1 us without a look at the clock. Then its spell begins: it spins on, offers
// its core to others, and so forth, and sleeps when it has spent `total`; waking costs 5 to 50 us.
//
// Sessions that share cores ought to run in turns of milliseconds, all threads of a session side by side: one
// that takes turns with another at every step finds its weights gone from the cache each time. So a thread
// does not give way as soon as it waits, and a newcomer, which has been away from its core, gives the others
// of its session the time to come too. Giving way at once made two sessions of an LSTM 1024 on two cores 2.3
// to 2.9 times as slow, at 25000 switches a second; like this it is 1.8 to 2.2 times, at 3500. Where fewer
// workers are better than turns, the session has fewer (crowding.hpp).
struct Patience {
  microseconds spell, newcomers_spell, total;
  bool away_counts;  // in the total: the time that others have had the core
};
constexpr Patience within_a_job{microseconds(15), microseconds(200), microseconds(2000), false};
// The core is the caller's, or whoever wants it.
constexpr Patience between_jobs{microseconds(0), microseconds(0), microseconds(200), true};
// A thread that has just been started may never be called.
constexpr Patience before_the_first_job{microseconds(0), microseconds(0), microseconds(0), true};
constexpr int first_pauses = 20;
constexpr microseconds away{10};  // a longer yield: others had the core

// Returns the first value of `word` for which done(value) holds. Adds the spells that passed before to
// `waited`.
template <class Word, class Done>
std::uint32_t await(Word& word, const Patience& patience, bool& newcomer, Clock::duration& waited,
                    Done done) noexcept {
  for (int i = 0; i < first_pauses; ++i) {
    const std::uint32_t value = word.value.load(std::memory_order_acquire);
    if (done(value)) return value;
    pause();
  }
  Clock::time_point now = Clock::now();
  for (Clock::duration spent{}; spent < patience.total;) {
    const Clock::time_point begin = now;
    const microseconds spell = newcomer ? patience.newcomers_spell : patience.spell;
    do {
      for (int i = 0; i < first_pauses / 2; ++i) {
        const std::uint32_t value = word.value.load(std::memory_order_acquire);
        if (done(value)) {
          newcomer = false;
          return value;
        }
        pause();
      }
      now = Clock::now();
    } while (now - begin < spell);
    const Clock::time_point offered = now;
    sched_yield();
    now = Clock::now();
    newcomer = now - offered > away;
    waited += now - begin;
    spent += (newcomer && !patience.away_counts ? offered : now) - begin;
  }
  // Either publish() sees the sleeper, or the sleeper sees the new value: both orders are sequentially
  // consistent.
  word.sleepers.fetch_add(1);
  std::uint32_t value = word.value.load();
  while (!done(value)) {
    word.value.wait(value);
    value = word.value.load();
  }
  word.sleepers.fetch_sub(1);
  waited += Clock::now() - now;
  newcomer = true;
  return value;
}

template <class Word>
void publish(Word& word, std::uint32_t value) noexcept {
  word.value.store(value);
  if (word.sleepers.load() != 0) word.value.notify_all();
}

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
  // Whoever slept before a fork does not sleep here.
  for (int worker = 0; worker < size_; ++worker) {
    lines_[worker].stamp.sleepers.store(0);
    lines_[worker].jobs.sleepers.store(0);
  }
  // Signals are for the program's own threads.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &before);
  int failure = 0;
  for (Start& start : starts_) {
    start.jobs = lines_[start.worker].jobs.value.load(std::memory_order_relaxed);
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
                fmt::format("cannot start thread {} of {}: {}: ask for fewer threads", started + 2, size_,
                            std::system_category().message(failure)));
  }
}

void Team::stop() noexcept {
  if (generation_ != current_generation()) return;
  job_ = nullptr;
  for (int worker = 1; worker < size_; ++worker) call(worker);
  for (const pthread_t thread : threads_) pthread_join(thread, nullptr);
}

void* Team::thread_main(void* start) {
  const DefaultFloatEnvironment environment;  // not that of the thread which made the session
  const Start& mine = *static_cast<const Start*>(start);
  mine.team->serve(mine);
  return nullptr;
}

void Team::serve(const Start& start) noexcept {
  std::uint32_t seen = start.jobs;
  Line& line = lines_[start.worker];
  Clock::duration idle{};  // not of a job
  for (Patience patience = before_the_first_job;; patience = between_jobs) {
    seen =
        await(line.jobs, patience, line.newcomer, idle, [seen](std::uint32_t jobs) { return jobs != seen; });
    if (job_ == nullptr) return;
    line.waited = {};
    job_(context_, start.worker);
    arrive(start.worker, false);
  }
}

void Team::call(int worker) noexcept {
  Line& line = lines_[worker];
  publish(line.jobs, line.jobs.value.load(std::memory_order_relaxed) + 1);
}

void Team::run(Job job, void* context, int workers) {
  if (generation_ != current_generation()) start();
  job_ = job;
  context_ = context;
  workers_ = workers;
  for (int worker = 1; worker < workers; ++worker) {
    Line& line = lines_[worker];
    // It may have slept through other jobs.
    if (line.arrivals != lines_[0].arrivals) {
      line.arrivals = lines_[0].arrivals;
      line.stamp.value.store(line.arrivals << flag_bits, std::memory_order_relaxed);
    }
    call(worker);
  }
  lines_[0].waited = {};
  job(context, 0);
  arrive(0, false);
  wait(0);
}

Clock::duration Team::waited() const noexcept {
  Clock::duration sum{};
  for (int worker = 0; worker < workers_; ++worker) sum += lines_[worker].waited;
  return workers_ > 1 ? sum / (workers_ - 1) : sum;
}

void Team::arrive(int worker, bool flag) noexcept {
  Line& line = lines_[worker];
  const std::uint32_t before = line.stamp.value.load(std::memory_order_relaxed);
  ++line.arrivals;
  publish(line.stamp, line.arrivals << flag_bits | (before & 3U) << 1 | (flag ? 1U : 0U));
}

bool Team::wait(int worker) noexcept {
  const std::uint32_t mine = lines_[worker].arrivals << flag_bits;
  bool flag = false;
  for (int other = 0; other < workers_; ++other) {
    const std::uint32_t stamp =
        await(lines_[other].stamp, within_a_job, lines_[worker].newcomer, lines_[worker].waited,
              [mine](std::uint32_t value) { return static_cast<std::int32_t>(value - mine) >= 0; });
    const std::uint32_t ahead = (stamp - mine) >> flag_bits;
    flag = flag || (stamp >> ahead & 1U) != 0;
  }
  return flag;
}

}  // namespace sprnn::cpu
