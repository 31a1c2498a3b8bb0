// Threads: many sessions of one packed model at once, fork, sleep, and sessions that share the cores.
#include <gtest/gtest.h>
#include <pthread.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <ctime>
#include <thread>

#include "cpu/support.hpp"
#include "engines/cpu/crowding.hpp"
#include "engines/cpu/team.hpp"
#include "engines/cpu/turns.hpp"
#include "sprnn/error.hpp"
#include "support/sanitizers.hpp"

namespace sprnn::test {
namespace {

ModelSpec some_lstm() {
  ModelSpec spec;
  spec.cell = lstm_cell();
  spec.hidden = 100;
  spec.input = 40;
  spec.density = 0.3;
  return spec;
}

double processor_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

TEST(Team, WorkersMeetAndHandOverTheirFlags) {
  constexpr int workers = 3, rounds = 2000;
  cpu::Team team(workers);
  struct Context {
    cpu::Team* team;
    int values[2][workers];
    int wrong[workers];
  } context{&team, {}, {}};
  for (int run = 0; run < 3; ++run) {
    team.run(
        [](void* c, int worker) noexcept {
          Context& ctx = *static_cast<Context*>(c);
          for (int round = 0; round < rounds; ++round) {
            ctx.values[round % 2][worker] = round * 7 + worker;
            ctx.team->arrive(worker, round % 5 == worker);
            const bool flag = ctx.team->wait(worker);
            if (flag != (round % 5 < workers)) ++ctx.wrong[worker];
            for (int other = 0; other < workers; ++other) {
              if (ctx.values[round % 2][other] != round * 7 + other) ++ctx.wrong[worker];
            }
          }
        },
        &context, workers);
  }
  for (const int wrong : context.wrong) EXPECT_EQ(wrong, 0);
}

// Worker 1 is through with the whole job before worker 0 looks for its flag.
TEST(Team, FlagsReachWorkersThatComeLate) {
  cpu::Team team(2);
  struct Context {
    cpu::Team* team;
    bool flag[2];
  } context{&team, {}};
  team.run(
      [](void* c, int worker) noexcept {
        Context& ctx = *static_cast<Context*>(c);
        ctx.team->arrive(worker, worker == 1);
        if (worker == 0) std::this_thread::sleep_for(std::chrono::milliseconds(50));
        ctx.flag[worker] = ctx.team->wait(worker);
        ctx.team->arrive(worker, false);
      },
      &context, 2);
  EXPECT_TRUE(context.flag[0]);
  EXPECT_TRUE(context.flag[1]);
}

// Workers that sit out jobs come back in step with the others, flags included.
TEST(Team, JobsTakeAsManyWorkersAsTheyAskFor) {
  constexpr int most = 4;
  cpu::Team team(most);
  struct Context {
    cpu::Team* team;
    int workers;
    int calls[most];
    bool flags[most];
  } context{&team, 0, {}, {}};
  int expected[most] = {};
  for (const int workers : {1, 4, 2, 2, 2, 4, 1, 3, 4}) {
    context.workers = workers;
    team.run(
        [](void* c, int worker) noexcept {
          Context& ctx = *static_cast<Context*>(c);
          ++ctx.calls[worker];
          ctx.team->arrive(worker, false);
          bool flag = ctx.team->wait(worker);
          ctx.team->arrive(worker, worker == ctx.workers - 1);
          ctx.flags[worker] = ctx.team->wait(worker) && !flag;
          ctx.team->arrive(worker, true);
        },
        &context, workers);
    for (int worker = 0; worker < workers; ++worker) {
      ++expected[worker];
      EXPECT_TRUE(context.flags[worker]) << "worker " << worker << " of " << workers;
    }
    for (int worker = 0; worker < most; ++worker) EXPECT_EQ(context.calls[worker], expected[worker]);
  }
}

// By default a session has all threads that the process may use; a layer that is too small for them leaves
// them asleep. A number that was asked for works.
TEST(Threads, ASessionHasWhatTheProcessMayUse) {
  ModelSpec spec = some_lstm();
  spec.hidden = 20;
  spec.input = 10;
  const Model model = random_model(spec);
  const auto packed = pack_as(model, 1, CpuLayout::tile);
  const Inputs in = random_inputs(model, 40, 1, 4);
  const auto usual = cpu_engine().session(packed, {});
  EXPECT_EQ(usual->threads(), this_cpu().cpu().threads);
  EXPECT_EQ(usual->threads_at_work(), 1);
  SessionOptions options;
  options.threads = 3;
  const auto asked = cpu_engine().session(packed, options);
  EXPECT_EQ(asked->threads(), 3);
  EXPECT_EQ(asked->threads_at_work(), 2);  // 20 units are two groups of 16
  EXPECT_TRUE(run_engine(*usual, model, in) == run_engine(*asked, model, in));
  options.threads = 1025;
  EXPECT_THROW((void)cpu_engine().session(packed, options), Error);
}

TEST(Threads, OnePackedModelServesManySessionsAtOnce) {
  const Model model = random_model(some_lstm());
  const Inputs in = random_inputs(model, 30, 2, 4);
  const auto packed = pack_as(model, 2, CpuLayout::tile);
  const EngineOutput expected = run_engine(packed, model, in, "", 1);
  std::vector<int> wrong(4);
  {
    std::vector<std::jthread> callers;
    for (std::size_t i = 0; i < wrong.size(); ++i) {
      callers.emplace_back([&, i] {
        for (int repeat = 0; repeat < 3; ++repeat) {
          wrong[i] += run_engine(packed, model, in, "", 1 + static_cast<int>(i) % 3) == expected ? 0 : 1;
        }
      });
    }
  }
  EXPECT_EQ(wrong, std::vector<int>(4));
}

TEST(Threads, IdleSessionsUseNoProcessor) {
  const Model model = random_model(some_lstm());
  const Inputs in = random_inputs(model, 30, 1, 4);
  const auto packed = pack_as(model, 1, CpuLayout::row);
  std::vector<std::unique_ptr<Session>> sessions;
  for (int i = 0; i < 4; ++i) {
    SessionOptions options;
    options.threads = 3;
    sessions.push_back(cpu_engine().session(packed, options));
    EXPECT_EQ(sessions.back()->threads(), 3);
    (void)run_engine(*sessions.back(), model, in);
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // the last ones fall asleep
  const double before = processor_seconds();
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  EXPECT_LT(processor_seconds() - before, 0.01);
  EXPECT_TRUE(run_engine(*sessions[0], model, in) == run_engine(*sessions[3], model, in));
}

TEST(Threads, SessionsWorkAfterFork) {
  if (thread_sanitizer) GTEST_SKIP() << "the thread sanitizer does not take threads that start after a fork";
  const Model model = random_model(some_lstm());
  const Inputs in = random_inputs(model, 10, 1, 4);
  const auto packed = pack_as(model, 1, CpuLayout::tile);
  SessionOptions options;
  options.threads = 3;
  const auto session = cpu_engine().session(packed, options);
  const EngineOutput expected = run_engine(*session, model, in);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(60);  // a child that hangs fails too
    const bool same =
        run_engine(*session, model, in) == expected && run_engine(packed, model, in, "", 2) == expected;
    _exit(same ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
  EXPECT_TRUE(run_engine(*session, model, in) == expected);
}

// A child of fork that cannot start its threads gets an error, and may try again.
TEST(Threads, StartAfterForkMayFailAndBeRetried) {
  if (thread_sanitizer) GTEST_SKIP() << "the thread sanitizer does not take threads that start after a fork";
  const Model model = random_model(some_lstm());
  const Inputs in = random_inputs(model, 10, 1, 4);
  const auto packed = pack_as(model, 1, CpuLayout::tile);
  SessionOptions options;
  options.threads = 3;
  const auto session = cpu_engine().session(packed, options);
  const EngineOutput expected = run_engine(*session, model, in);
  const auto child_result = [&] {
    pthread_attr_t usual, huge;
    pthread_getattr_default_np(&usual);
    pthread_getattr_default_np(&huge);
    pthread_attr_setstacksize(&huge, std::size_t{1} << 46);
    for (int attempt = 0; attempt < 2; ++attempt) {
      pthread_setattr_default_np(&huge);
      try {
        (void)run_engine(*session, model, in);
        return 2;
      } catch (const Error& error) {
        if (error.code() != ErrorCode::out_of_memory) return 3;
      }
    }
    pthread_setattr_default_np(&usual);
    return run_engine(*session, model, in) == expected ? 0 : 4;
  };
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    alarm(60);  // a child that hangs fails too
    _exit(child_result());
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status;
}

// More threads than cores: waiting threads must let the others go on. A spinning wait would need its
// whole time slice, milliseconds, for each of the 2000 steps.
TEST(Threads, CrowdedCoresMakeProgress) {
  const Model model = random_model(some_lstm());
  const Inputs in = random_inputs(model, 500, 1, 4);
  const auto packed = pack_as(model, 1, CpuLayout::tile);
  const EngineOutput expected = run_engine(packed, model, in, "", 1);
  const int threads = static_cast<int>(std::max(2U, std::thread::hardware_concurrency()));
  const auto start = std::chrono::steady_clock::now();
  {
    std::vector<std::jthread> callers;
    for (int i = 0; i < 4; ++i) {
      callers.emplace_back([&] { EXPECT_TRUE(run_engine(packed, model, in, "", threads) == expected); });
    }
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(thread_sanitizer ? 60 : 10));
}

// More workers than cores, beside another such session: some of the jobs are run by fewer of them.
TEST(Threads, ResultsKeepTheirBitsWhileWorkersChange) {
  for (const bool projected : {false, true}) {
    ModelSpec spec = some_lstm();
    spec.projection = projected ? 36 : 0;
    const Model model = random_model(spec);
    const Inputs in = random_inputs(model, thread_sanitizer ? 500 : scaled(20000), 1, 4);
    const auto packed = pack_as(model, 1, CpuLayout::tile);
    const EngineOutput expected = run_engine(packed, model, in, "", 1);
    const int threads = static_cast<int>(2 * std::max(2U, std::thread::hardware_concurrency()));
    std::vector<std::jthread> callers;
    for (int i = 0; i < 2; ++i) {
      callers.emplace_back([&] { EXPECT_TRUE(run_engine(packed, model, in, "", threads) == expected); });
    }
  }
}

// A session's time as Crowding is told of it.
struct Told {
  using Crowding = cpu::Crowding;
  explicit Told(std::vector<double> costs) { crowding.set_costs(std::move(costs)); }
  // `count` jobs of a millisecond, of which the workers stood still for `percent`.
  void jobs(int count, int percent) {
    for (int i = 0; i < count; ++i) {
      const Crowding::Duration waited = std::chrono::microseconds(10) * percent;
      now += std::chrono::milliseconds(1);
      if (crowding.halvings() > 0) {
        crowding.ran({now - std::chrono::milliseconds(1), now, waited});
      } else if (percent > 0) {
        crowding.ran({now - waited, now, waited});
      }
    }
  }
  // How many jobs run until the number of halvings changes; at most 10000.
  int jobs_until_change(int percent) {
    const int before = crowding.halvings();
    int count = 0;
    while (crowding.halvings() == before && count < 10000) jobs(1, percent), ++count;
    return count;
  }
  Crowding crowding;
  Crowding::Time now{std::chrono::hours(1)};
};

// Too large for the caches of one core, so that they do not halve their workers.
TEST(Threads, LargeSessionsSideBySideKeepTheirBits) {
  ModelSpec spec = some_lstm();
  spec.hidden = 1000;
  spec.density = 0.1;
  const Model model = random_model(spec);
  const Inputs in = random_inputs(model, 100, 1, 4);
  const auto packed = pack_as(model, 1, CpuLayout::tile);
  const EngineOutput expected = run_engine(packed, model, in, "", 1);
  std::vector<std::jthread> callers;
  for (int i = 0; i < 3; ++i) {
    callers.emplace_back([&] { EXPECT_TRUE(run_engine(packed, model, in, "", 2) == expected); });
  }
}

TEST(Turns, NeverHaveMoreWorkersThanCoresAndAllComeToTheirs) {
  constexpr int cores = 3, callers = 6, times = 200;
  cpu::Turns turns(cores);
  std::atomic<int> at_work{0}, most{0}, done{0};
  {
    std::vector<std::jthread> threads;
    for (int caller = 0; caller < callers; ++caller) {
      threads.emplace_back([&, workers = caller + 1] {
        const int counted = std::min(workers, cores);  // who has more gets all
        for (int i = 0; i < times; ++i) {
          const cpu::Turn turn(turns, workers);
          const int now = at_work.fetch_add(counted) + counted;
          for (int seen = most.load(); now > seen && !most.compare_exchange_weak(seen, now);) {
          }
          std::this_thread::yield();
          at_work.fetch_sub(counted);
          done.fetch_add(1);
        }
      });
    }
  }
  EXPECT_LE(most.load(), cores);
  EXPECT_EQ(done.load(), callers * times);
}

// The thread that has the cores is not there in a child.
TEST(Turns, AreFreeInAChildOfFork) {
  cpu::Turns& turns = cpu::Turns::of_process();
  const cpu::Turn turn(turns, 1000);
  const pid_t child = fork();
  if (child == 0) {
    alarm(20);
    { const cpu::Turn own(turns, 1000); }
    _exit(0);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
}

TEST(Crowding, ASessionWithItsCoresKeepsAllWorkers) {
  Told told({1.0, 1.7});
  told.jobs(1000, 0);
  told.jobs(1000, 10);
  // One that a host keeps from a core now and then.
  for (int i = 0; i < 100; ++i) {
    told.jobs(10, 90);
    told.jobs(20, 0);
    told.jobs(1, 1);
  }
  EXPECT_EQ(told.crowding.halvings(), 0);
}

TEST(Crowding, ACrowdedSessionHalvesItsWorkersAndLooksAgain) {
  Told told({1.0, 1.7});
  told.jobs(100, 0);
  EXPECT_LE(told.jobs_until_change(50), 25);
  EXPECT_EQ(told.crowding.halvings(), 1);
  int before = told.jobs_until_change(0);
  EXPECT_EQ(told.crowding.halvings(), 0);
  for (int look = 0; look < 6; ++look) {  // ever later, as long as it finds them crowded
    EXPECT_LE(told.jobs_until_change(50), 25);
    const int held = told.jobs_until_change(0);
    EXPECT_GE(held, before);
    EXPECT_LE(held, 500);
    before = held;
  }
  EXPECT_GE(before, 300);
  // The others have gone, come and gone: it is back soon, and begins anew.
  told.jobs(1000, 1);
  EXPECT_EQ(told.crowding.halvings(), 0);
  EXPECT_LE(told.jobs_until_change(50), 25);
  EXPECT_LE(told.jobs_until_change(0), 50);
  EXPECT_EQ(told.crowding.halvings(), 0);
}

// Workers that share one core may all wait, longer than time passes.
TEST(Crowding, WorkersMayStandStillLongerThanTimePasses) {
  Told told({1.0, 1.7});
  told.jobs(100, 1);
  EXPECT_LE(told.jobs_until_change(250), 25);
}

TEST(Crowding, HalvingMustPay) {
  // Weights that fit the caches of two cores but not of one: better to take turns.
  Told large({1.0, 2.8});
  large.jobs(1000, 50);
  EXPECT_EQ(large.crowding.halvings(), 0);
  Told single({1.0});
  single.jobs(1000, 90);
  EXPECT_EQ(single.crowding.halvings(), 0);
}

TEST(Crowding, FourWorkersBecomeTwoAndOne) {
  Told told({1.0, 1.6, 3.0});
  told.jobs(100, 1);
  EXPECT_LE(told.jobs_until_change(50), 25);
  told.jobs(10, 10);
  EXPECT_EQ(told.crowding.halvings(), 1);
  EXPECT_LE(told.jobs_until_change(50), 25);
  EXPECT_EQ(told.crowding.halvings(), 2);
  (void)told.jobs_until_change(0);
  EXPECT_EQ(told.crowding.halvings(), 0);
  // Other weights.
  (void)told.jobs_until_change(50);
  told.crowding.set_costs({1.0});
  EXPECT_EQ(told.crowding.halvings(), 0);
}

}  // namespace
}  // namespace sprnn::test
