#include "engines/cpu/crowding.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace sprnn::cpu {

namespace {

using std::chrono::milliseconds;

// The scheduler lets threads take turns of 3 to 4 ms.
constexpr milliseconds window{5};
// A host that takes a virtual core away makes one window crowded, now and then two.
constexpr int enough_windows = 3;
constexpr milliseconds shortest_hold{40}, longest_hold{320};
// Whoever finds its cores crowded so soon after it took all workers again has looked too early.
constexpr milliseconds too_early{100};
// A session that is alone stands still for less than a tenth of a window.
constexpr double enough_slowed = 4.0 / 3.0;
// Taking turns on the cores with one other session takes this many times as long. Weights that fit the caches
// of all cores but not of fewer take longer with fewer: LSTM 1024 at 10 % 88 us with one worker, 37 with two.
constexpr double sharing = 2.0;

}  // namespace

void Crowding::set_costs(std::vector<double> costs) noexcept {
  costs_ = std::move(costs);
  change(since_, std::min(halvings_, static_cast<int>(costs_.size()) - 1));
}

bool Crowding::can_halve() const noexcept { return costs_.size() > 1 && costs_[1] <= sharing * costs_[0]; }

void Crowding::ran(const Job& job) noexcept {
  if (halvings_ > 0 && job.end - since_ >= hold_) {
    since_ = job.end;
    return change(job.end, 0);
  }
  // Jobs without a wait are not told of. A turn of the scheduler may pass without one, two windows do not
  // where others want the cores.
  if (const std::int64_t calm = (job.begin - window_) / window; halvings_ == 0 && calm >= 2) {
    crowded_windows_ -= static_cast<int>(std::min<std::int64_t>(calm, crowded_windows_));
    window_ = job.begin;
    waited_ = {};
  }
  waited_ += job.waited;
  running_ += job.end - job.begin;
  const Duration running = halvings_ == 0 ? job.end - window_ : running_;
  if (running >= window) end_window(job.end, running);
}

void Crowding::end_window(Time now, Duration running) noexcept {
  bool crowded = false;
  if (const auto next = static_cast<std::size_t>(halvings_) + 1; next < costs_.size()) {
    // Workers that keep each other off one core all wait: more than the time that passes.
    const Duration worked = running - std::min(waited_, running - Duration(1));
    const double slowed = static_cast<double>(running.count()) / static_cast<double>(worked.count());
    const double halved = costs_[next] / costs_[next - 1];
    crowded = slowed >= enough_slowed && halved <= sharing;
  }
  crowded_windows_ = crowded ? crowded_windows_ + 1 : std::max(crowded_windows_ - 1, 0);
  window_ = now;
  running_ = waited_ = {};
  if (crowded_windows_ < enough_windows) return;
  if (halvings_ == 0) {
    hold_ = now - since_ < too_early ? std::min<Duration>(2 * hold_, longest_hold) : shortest_hold;
    since_ = now;
  }
  change(now, halvings_ + 1);
}

void Crowding::change(Time now, int halvings) noexcept {
  halvings_ = halvings;
  crowded_windows_ = 0;
  window_ = now;
  running_ = waited_ = {};
}

}  // namespace sprnn::cpu
