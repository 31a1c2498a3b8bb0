#include "bench/session_contestant.hpp"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>

#include "sprnn/error.hpp"

namespace sprnn::bench {
namespace {

using Clock = std::chrono::steady_clock;

// The state letter of proc(5): behind the last parenthesis, since a thread's name may hold any character.
char thread_state(const std::filesystem::path& task) {
  std::ifstream file(task / "stat");
  std::string line;
  std::getline(file, line);
  const std::size_t name_end = line.rfind(')');
  return name_end == std::string::npos ? 'X' : line.at(name_end + 2);  // X: it has just ended
}

}  // namespace

bool other_threads_sleep() {
  const std::string self = std::to_string(gettid());
  for (const auto& task : std::filesystem::directory_iterator("/proc/self/task")) {
    if (task.path().filename() != self && thread_state(task.path()) == 'R') return false;
  }
  return true;
}

SessionContestant::SessionContestant(std::unique_ptr<Session> session, const Workload& workload)
    : session_(std::move(session)), workload_(workload) {
  const Problem& problem = session_->problem();
  const std::int64_t state = problem.projection_size > 0 ? problem.projection_size : problem.hidden_size;
  const auto directions =
      std::count_if(problem.directions.begin(), problem.directions.end(),
                    [](const DirectionProblem& direction) { return direction.layer == 0; });
  y_.resize(workload.lengths.front() * workload.batch * state * directions);
}

double SessionContestant::run(std::size_t length, std::size_t input_set) {
  const std::int64_t steps = workload_.lengths[length];
  const std::size_t offset = input_set * workload_.batch * session_->problem().input_size;
  written_ = static_cast<std::ptrdiff_t>(y_.size()) / workload_.lengths.front() * steps;
  const auto start = Clock::now();
  session_->reset();
  session_->run({.steps = steps, .x = workload_.x.data() + offset, .y = y_.data()});
  return std::chrono::duration<double, std::micro>(Clock::now() - start).count();
}

void SessionContestant::sleep() {
  // A spinning engine sleeps within milliseconds, but where others keep all cores busy its threads must first
  // get one again; two looks in a row, since a thread may be between two waits.
  const auto give_up = Clock::now() + std::chrono::seconds(10);
  for (int asleep = 0; asleep < 2; asleep = other_threads_sleep() ? asleep + 1 : 0) {
    if (Clock::now() > give_up) {
      throw Error(
          ErrorCode::internal,
          "a thread of this process is still running ten seconds after the engine's last step: timing a "
          "peer beside it would not be fair");
    }
    std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
}

}  // namespace sprnn::bench
