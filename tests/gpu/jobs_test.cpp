// Cases without a GPU, that meet, wait for each other, crash and hang.
#include "gpu/jobs.hpp"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <new>
#include <stdexcept>
#include <thread>

namespace sprnn::test {

namespace {

constexpr double limit = 60;

std::vector<CaseResult> run(const std::vector<Case>& cases, int jobs, double seconds = limit) {
  std::vector<CaseResult> results(cases.size());
  std::vector<int> reports(cases.size());
  run_cases(cases, jobs, seconds, [&](std::size_t index, const CaseResult& result, double) {
    results[index] = result;
    ++reports[index];
  });
  EXPECT_EQ(reports, std::vector<int>(cases.size(), 1));
  return results;
}

// That all processes see.
struct Shared {
  std::atomic<int> running{0}, most{0}, ended{0};
};
Shared* make_shared() {
  void* const memory =
      mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  return new (memory) Shared;
}

// Goes on when `others` more run too, or after ten seconds.
CaseResult meet(Shared& shared, int others) {
  const int now = ++shared.running;
  for (int most = shared.most; now > most && !shared.most.compare_exchange_weak(most, now);) {
  }
  const auto begin = std::chrono::steady_clock::now();
  while (shared.most <= others && std::chrono::steady_clock::now() - begin < std::chrono::seconds(10))
    std::this_thread::yield();
  --shared.running;
  ++shared.ended;
  return {};
}

}  // namespace

TEST(Jobs, ReportWhatEachCaseGave) {
  const std::vector<Case> cases = {{"passes",
                                    [] {
                                      return CaseResult{0.5, 1, ""};
                                    }},
                                   {"fails",
                                    [] {
                                      return CaseResult{2, 1, "two lines\nof note"};
                                    }},
                                   {"NaN",
                                    [] {
                                      return CaseResult{std::nan(""), 1, ""};
                                    }},
                                   {"throws", []() -> CaseResult { throw std::runtime_error("why"); }},
                                   {"passes too", [] { return CaseResult{}; }}};
  for (const int jobs : {0, 1, 3, 20}) {
    const auto results = run(cases, jobs);
    EXPECT_TRUE(results[0].passed());
    EXPECT_EQ(results[0].error, 0.5);
    EXPECT_FALSE(results[1].passed());
    EXPECT_EQ(results[1].note, "two lines\nof note");
    EXPECT_TRUE(std::isnan(results[2].error));
    EXPECT_FALSE(results[2].passed());
    EXPECT_EQ(results[3].note, "why");
    EXPECT_TRUE(results[4].passed());
  }
}

TEST(Jobs, CutALongNote) {
  const std::string note(100'000, 'n');
  const auto results = run({{"long", [&] { return CaseResult{0, 0, note}; }}}, 1);
  EXPECT_GT(results[0].note.size(), 10'000U);
  EXPECT_TRUE(note.starts_with(results[0].note));
}

TEST(Jobs, RunSideBySide) {
  Shared& shared = *make_shared();
  const std::vector<Case> cases(6, {"meets two others", [&] { return meet(shared, 2); }});
  run(cases, 3);
  EXPECT_EQ(shared.most, 3);
}

TEST(Jobs, RunThoseThatAreAloneAfterAllOthers) {
  Shared& shared = *make_shared();
  const Case beside{"beside others", [&] { return meet(shared, 1); }};
  const Case alone{"alone",
                   [&] {
                     const bool right = shared.running++ == 0 && shared.ended >= 4;
                     std::this_thread::sleep_for(std::chrono::milliseconds(50));
                     --shared.running;
                     return CaseResult{0, 0, right ? "" : "not alone"};
                   },
                   true};
  for (const CaseResult& result : run({alone, beside, beside, alone, beside, alone, beside}, 4))
    EXPECT_EQ(result.note, "");
}

TEST(Jobs, BlameACaseForTheEndOfItsProcess) {
  const Case passes{"passes", [] { return CaseResult{}; }};
  const std::vector<Case> cases = {passes,
                                   {"aborts", []() -> CaseResult { std::abort(); }},
                                   {"ends", []() -> CaseResult { _exit(3); }},
                                   passes,
                                   {"throws what no one knows", []() -> CaseResult { throw 1; }},
                                   {"is killed when alone",
                                    []() -> CaseResult {
                                      std::raise(SIGKILL);
                                      return {};
                                    },
                                    true},
                                   {"passes alone", [] { return CaseResult{}; }, true}};
  for (const int jobs : {1, 2}) {
    const auto results = run(cases, jobs);
    for (const std::size_t i : {0, 3, 6}) EXPECT_EQ(results[i].note, "") << i;
    EXPECT_EQ(results[1].note, "its process was killed by signal 6 (Aborted)");
    EXPECT_EQ(results[2].note, "its process ended with status 3");
    EXPECT_EQ(results[4].note, "its process was killed by signal 6 (Aborted)");
    EXPECT_EQ(results[5].note, "its process was killed by signal 9 (Killed)");
  }
}

TEST(Jobs, GiveUpWhatHangs) {
  const Case passes{"passes", [] { return CaseResult{}; }};
  const Case hangs{"hangs", []() -> CaseResult {
                     for (;;) pause();
                   }};
  const auto results = run({passes, hangs, passes, hangs, passes}, 2, 0.5);
  for (const std::size_t i : {0, 2, 4}) EXPECT_EQ(results[i].note, "") << i;
  for (const std::size_t i : {1, 3}) EXPECT_EQ(results[i].note, "hung: given up after 0.5 s") << i;
}

// An error of CUDA stays with its process.
TEST(Jobs, StartAFreshProcessAfterAFailure) {
  static bool is_broken = false;
  const std::vector<Case> cases = {{"breaks",
                                    [] {
                                      is_broken = true;
                                      return CaseResult{0, 0, "broken"};
                                    }},
                                   {"passes", [] {
                                      return CaseResult{0, 0, is_broken ? "broken" : ""};
                                    }}};
  EXPECT_EQ(run(cases, 1)[1].note, "");
}

TEST(Jobs, KeepAProcessWhilePassing) {
  const std::vector<Case> cases(5, {"counts", [] {
                                      static int before = 0;
                                      return CaseResult{double(before++), 10, ""};
                                    }});
  EXPECT_EQ(run(cases, 1).back().error, 4);
}

}  // namespace sprnn::test
