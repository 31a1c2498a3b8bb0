#include "pack/gather_spread.hpp"

#include <algorithm>
#include <cstddef>
#include <random>
#include <utility>

namespace sprnn::gather {

namespace {

using std::size_t;

// Of a phase: its wavefronts, and how far its bank classes are beyond the slots, squared, which leads on
// where the wavefronts stay the same.
struct Cost {
  std::int64_t wavefronts = 0, excess = 0;
  [[nodiscard]] bool operator<=(const Cost& other) const noexcept {
    return wavefronts != other.wavefronts ? wavefronts < other.wavefronts : excess <= other.excess;
  }
  [[nodiscard]] Cost operator+(const Cost& other) const noexcept {
    return {wavefronts + other.wavefronts, excess + other.excess};
  }
};

class Spreader {
 public:
  Spreader(std::span<const RowGroup> groups, size_t groups_a_phase, int slots, const Image& image)
      : classes_(static_cast<size_t>(image.bank_classes())),
        groups_a_phase_(groups_a_phase),
        slots_(slots),
        pairs_(groups.size() * classes_),
        of_phase_(groups.size() / groups_a_phase * classes_) {
    for (size_t g = 0; g < groups.size(); ++g) {
      for (const Entry& pair : groups[g].pairs)
        ++pairs_[g * classes_ + static_cast<size_t>(image.bank_class(pair.address))];
      for (size_t c = 0; c < classes_; ++c)
        of_phase_[g / groups_a_phase * classes_ + c] += pairs_[g * classes_ + c];
    }
    for (size_t p = 0; p < of_phase_.size() / classes_; ++p) cost_.push_back(cost(p, 0, 0));
  }

  // Whether no phase has more pairs of a class than slots.
  [[nodiscard]] bool is_best() const {
    return std::all_of(cost_.begin(), cost_.end(), [](const Cost& one) { return one.excess == 0; });
  }

  // Whether the swap of two row groups, of two phases, makes nothing worse; then it is done.
  bool swap_if_no_worse(size_t a, size_t b) {
    const size_t of_a = a / groups_a_phase_, of_b = b / groups_a_phase_;
    const Cost new_a = cost(of_a, a, b), new_b = cost(of_b, b, a);
    if (!(new_a + new_b <= cost_[of_a] + cost_[of_b])) return false;
    cost_[of_a] = new_a;
    cost_[of_b] = new_b;
    for (size_t c = 0; c < classes_; ++c) {
      std::int32_t &x = pairs_[a * classes_ + c], &y = pairs_[b * classes_ + c];
      of_phase_[of_a * classes_ + c] += y - x;
      of_phase_[of_b * classes_ + c] += x - y;
      std::swap(x, y);
    }
    return true;
  }

 private:
  // Of a phase that gives row group `out` away and takes `in`; the same: as it is.
  [[nodiscard]] Cost cost(size_t phase, size_t out, size_t in) const {
    Cost sum{slots_, 0};
    for (size_t c = 0; c < classes_; ++c) {
      const std::int64_t pairs =
          of_phase_[phase * classes_ + c] - pairs_[out * classes_ + c] + pairs_[in * classes_ + c];
      const std::int64_t beyond = std::max<std::int64_t>(0, pairs - slots_);
      sum.wavefronts = std::max(sum.wavefronts, pairs);
      sum.excess += beyond * beyond;
    }
    return sum;
  }

  size_t classes_, groups_a_phase_;
  std::int64_t slots_;
  std::vector<std::int32_t> pairs_;     // [row group][bank class]
  std::vector<std::int32_t> of_phase_;  // [phase][bank class]
  std::vector<Cost> cost_;              // [phase]
};

// Of random swaps; with more the wavefronts hardly fall further.
constexpr size_t tries_a_group = 200;

}  // namespace

void spread_banks(std::span<RowGroup> groups, int lanes, int slots, const Image& image) {
  const auto groups_a_phase = static_cast<size_t>(image.phase_lanes() / lanes);
  if (slots == 0 || groups_a_phase < 2 || groups.size() <= groups_a_phase) return;
  std::vector<size_t> filled;  // two row groups without pairs need not change places
  for (size_t g = 0; g < groups.size(); ++g) {
    if (!groups[g].pairs.empty()) filled.push_back(g);
  }
  Spreader spreader(groups, groups_a_phase, slots, image);
  std::minstd_rand random(1);  // the same weights are packed into the same bytes
  for (size_t tries = tries_a_group * filled.size(); tries > 0; --tries) {
    if (tries % filled.size() == 0 && spreader.is_best()) return;
    const size_t a = filled[random() % filled.size()], b = random() % groups.size();
    if (a / groups_a_phase != b / groups_a_phase && spreader.swap_if_no_worse(a, b))
      std::swap(groups[a], groups[b]);
  }
}

}  // namespace sprnn::gather
