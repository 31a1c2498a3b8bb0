#include "cli/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <system_error>
#include <utility>

namespace sprnn::cli {

namespace {

using Clock = std::chrono::steady_clock;
constexpr std::chrono::seconds quiet_start{2};
constexpr std::chrono::milliseconds redraw{500};  // rare enough not to show in what is being timed
constexpr int bar_width = 30;

std::string line(const std::string& phase, std::int64_t done, std::int64_t total, double seconds) {
  if (total <= 0) return fmt::format("{} ... {:.0f} s", phase, seconds);
  const double part = std::clamp(static_cast<double>(done) / static_cast<double>(total), 0.0, 1.0);
  const int filled = static_cast<int>(part * bar_width);
  return fmt::format("{} [{:#<{}}{:.<{}}] {:3.0f} % {:.0f} s", phase, "", filled, "", bar_width - filled,
                     part * 100, seconds);
}

}  // namespace

Progress::Progress(std::string phase) : phase_(std::move(phase)) {
  if (::isatty(STDERR_FILENO) != 1) return;
  try {
    drawer_ = std::thread([this] { draw_until_finished(); });
    visible_ = true;
  } catch (const std::system_error&) {
    // The system has no thread for it: the work matters more than its picture.
  }
}

Progress::~Progress() {
  if (!visible_) return;
  {
    const std::lock_guard lock(mutex_);
    finished_ = true;
  }
  changed_.notify_one();
  drawer_.join();
}

void Progress::phase(std::string name, std::int64_t total) {
  const std::lock_guard lock(mutex_);
  phase_ = std::move(name);
  total_ = total;
  done_ = 0;
}

bool Progress::report(double part, std::string_view what) {
  constexpr std::int64_t whole = 1000;
  phase(std::string(what), whole);
  advance(static_cast<std::int64_t>(part * whole));
  return true;
}

void Progress::draw_until_finished() {
  const Clock::time_point start = Clock::now();
  std::unique_lock lock(mutex_);
  if (changed_.wait_for(lock, quiet_start, [this] { return finished_; })) return;
  while (!finished_) {
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    // A write that fails loses a drawing, nothing else.
    fmt::print(stderr, "\r{}\033[K", line(phase_, done_, total_, seconds));
    std::fflush(stderr);
    changed_.wait_for(lock, redraw, [this] { return finished_; });
  }
  std::fputs("\r\033[K", stderr);
}

}  // namespace sprnn::cli
