#include "engines/session_state.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "base/float_environment.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::invalid_argument, message); }

}  // namespace

SessionState::SessionState(const Problem& problem, int batch)
    : dtype_(problem.dtype),
      batch_(batch),
      directions_(problem.directions.size()),
      state_size_(static_cast<std::size_t>(problem.directions.front().w_hh.cols)),
      cell_size_(problem.directions.front().cell.kind == CellKind::lstm
                     ? static_cast<std::size_t>(problem.hidden_size)
                     : 0),
      per_layer_(problem.directions.size() > 1 && problem.directions[1].layer == 0 ? 2 : 1),
      streamable_(std::none_of(problem.directions.begin(), problem.directions.end(),
                               [](const DirectionProblem& direction) { return direction.reverse; })),
      fresh_(static_cast<std::size_t>(batch), true),
      interrupted_(static_cast<std::size_t>(batch), false),
      h_(directions_ * static_cast<std::size_t>(batch) * state_size_),
      c_(directions_ * static_cast<std::size_t>(batch) * cell_size_) {}

std::size_t SessionState::h_at(std::size_t direction, int entry) const noexcept {
  return (direction * static_cast<std::size_t>(batch_) + static_cast<std::size_t>(entry)) * state_size_;
}

std::size_t SessionState::c_at(std::size_t direction, int entry) const noexcept {
  return (direction * static_cast<std::size_t>(batch_) + static_cast<std::size_t>(entry)) * cell_size_;
}

void SessionState::check_sizes(std::size_t h, std::size_t c, std::size_t entries) const {
  const std::size_t h_wanted = directions_ * entries * state_size_;
  const std::size_t c_wanted = directions_ * entries * cell_size_;
  if (h != h_wanted) {
    refuse(fmt::format("state h: {} values, expected {} (layers x directions {}, batch {}, width {})", h,
                       h_wanted, directions_, entries, state_size_));
  }
  if (c != c_wanted) {
    refuse(fmt::format("state c: {} values, expected {} ({})", c, c_wanted,
                       cell_size_ == 0 ? "only an lstm has a c"
                                       : fmt::format("layers x directions {}, batch {}, width {}",
                                                     directions_, entries, cell_size_)));
  }
}

void SessionState::check_entry(int entry) const {
  if (entry < 0 || entry >= batch_)
    refuse(fmt::format("batch entry {}, expected 0 to {}", entry, batch_ - 1));
}

void SessionState::check_complete(int first, int last) const {
  const auto begin = interrupted_.begin();
  const auto found = std::find(begin + first, begin + last, true);
  if (found == begin + last) return;
  throw Error(
      ErrorCode::unsupported,
      fmt::format("the last run was interrupted or given up, so the state of batch entry {} is of no one "
                  "time: set it or reset it",
                  found - begin));
}

void SessionState::get(std::span<float> h, std::span<float> c) const {
  check_sizes(h.size(), c.size(), static_cast<std::size_t>(batch_));
  check_complete(0, batch_);
  const DefaultFloatEnvironment environment;
  std::copy(h_.begin(), h_.end(), h.begin());
  std::copy(c_.begin(), c_.end(), c.begin());
  round_to(dtype_, c);
}

void SessionState::set(std::span<const float> h, std::span<const float> c) {
  check_sizes(h.size(), c.size(), static_cast<std::size_t>(batch_));
  const DefaultFloatEnvironment environment;
  std::copy(h.begin(), h.end(), h_.begin());
  std::copy(c.begin(), c.end(), c_.begin());
  round_to(dtype_, h_);
  std::fill(fresh_.begin(), fresh_.end(), true);
  set_interrupted(false);
}

void SessionState::get(int entry, std::span<float> h, std::span<float> c) const {
  check_entry(entry);
  check_sizes(h.size(), c.size(), 1);
  check_complete(entry, entry + 1);
  const DefaultFloatEnvironment environment;
  for (std::size_t d = 0; d < directions_; ++d) {
    std::copy_n(h_.begin() + static_cast<std::ptrdiff_t>(h_at(d, entry)), state_size_,
                h.subspan(d * state_size_).begin());
    std::copy_n(c_.begin() + static_cast<std::ptrdiff_t>(c_at(d, entry)), cell_size_,
                c.subspan(d * cell_size_).begin());
  }
  round_to(dtype_, c);
}

void SessionState::set(int entry, std::span<const float> h, std::span<const float> c) {
  check_entry(entry);
  check_sizes(h.size(), c.size(), 1);
  const DefaultFloatEnvironment environment;
  for (std::size_t d = 0; d < directions_; ++d) {
    const std::span<float> to(h_.data() + h_at(d, entry), state_size_);
    std::copy_n(h.subspan(d * state_size_).begin(), state_size_, to.begin());
    round_to(dtype_, to);
    std::copy_n(c.subspan(d * cell_size_).begin(), cell_size_,
                c_.begin() + static_cast<std::ptrdiff_t>(c_at(d, entry)));
  }
  fresh_[static_cast<std::size_t>(entry)] = true;
  interrupted_[static_cast<std::size_t>(entry)] = false;
}

void SessionState::reset() {
  std::fill(h_.begin(), h_.end(), 0.0F);
  std::fill(c_.begin(), c_.end(), 0.0F);
  std::fill(fresh_.begin(), fresh_.end(), true);
  set_interrupted(false);
}

void SessionState::reset(int entry) {
  check_entry(entry);
  const std::vector<float> zeros(directions_ * std::max(state_size_, cell_size_));
  const std::span<const float> all(zeros);
  set(entry, all.first(directions_ * state_size_), all.first(directions_ * cell_size_));
}

void SessionState::set_interrupted(bool interrupted) {
  std::fill(interrupted_.begin(), interrupted_.end(), interrupted);
}

void SessionState::begin_run(bool with_state) {
  if (!with_state) check_complete(0, batch_);
  if (!streamable_ && !with_state && std::find(fresh_.begin(), fresh_.end(), false) != fresh_.end()) {
    throw Error(
        ErrorCode::unsupported,
        "this model has a reverse direction, so a sequence cannot come in chunks: give it whole, after "
        "reset() or set_state()");
  }
  std::fill(fresh_.begin(), fresh_.end(), false);
}

}  // namespace sprnn
