// A line on standard error that says how far long work has come; silent unless that is a terminal and a
// thread to draw it could be started.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>

namespace sprnn::cli {

// Appears once the work has taken two seconds, and is wiped when the object goes.
class Progress {
 public:
  explicit Progress(std::string phase);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // total = 0: no measure of how far it is, only the time so far is shown.
  void phase(std::string name, std::int64_t total = 0);
  void advance(std::int64_t done) noexcept { done_ = done; }
  // What the benchmark driver calls between its timed runs; true: go on.
  bool report(double part, std::string_view what);
  [[nodiscard]] bool visible() const noexcept { return visible_; }  // somebody could see it

 private:
  void draw_until_finished();

  bool visible_ = false;
  std::atomic<std::int64_t> done_{0};
  std::mutex mutex_;  // of the members below
  std::condition_variable changed_;
  std::string phase_;
  std::int64_t total_ = 0;
  bool finished_ = false;
  std::thread drawer_;  // so that a phase that is one library call shows its time too
};

}  // namespace sprnn::cli
