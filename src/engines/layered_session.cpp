#include "engines/layered_session.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "plan/problem_check.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::invalid_argument, message); }

std::size_t directions_a_layer(const Problem& problem) {
  return problem.directions.size() > 1 && problem.directions[1].layer == 0 ? 2 : 1;
}

bool any_reverse(const Problem& problem) {
  return std::any_of(problem.directions.begin(), problem.directions.end(),
                     [](const DirectionProblem& direction) { return direction.reverse; });
}

// Other weights fit a session when every direction is laid out by the same plan for the same cell.
bool same_plan(const Plan& a, const Plan& b) {
  if (a.problem.dtype != b.problem.dtype || a.directions.size() != b.directions.size()) return false;
  for (std::size_t i = 0; i < a.directions.size(); ++i) {
    const DirectionProblem& p = a.problem.directions[i];
    const DirectionProblem& q = b.problem.directions[i];
    if (a.directions[i].choice != b.directions[i].choice || p.cell != q.cell || p.reverse != q.reverse ||
        p.bias != q.bias || p.peephole != q.peephole || p.w_ih.rows != q.w_ih.rows ||
        p.w_ih.cols != q.w_ih.cols || p.w_hh.cols != q.w_hh.cols || p.w_hr.rows != q.w_hr.rows) {
      return false;
    }
  }
  return true;
}

}  // namespace

void check_sequence(const Sequence& sequence, int batch) {
  if (sequence.steps < 1) refuse(fmt::format("sequence of {} timesteps, expected 1 or more", sequence.steps));
  if (sequence.x == nullptr) refuse("x is null, expected the input of the sequence");
  if (sequence.y == nullptr) refuse("y is null, expected room for the output of the sequence");
  if (sequence.lengths == nullptr) return;
  for (int b = 0; b < batch; ++b) {
    if (sequence.lengths[b] < 1 || sequence.lengths[b] > sequence.steps) {
      refuse(fmt::format("lengths[{}] is {}, expected 1 to {}, the timesteps of the sequence", b,
                         sequence.lengths[b], sequence.steps));
    }
  }
}

void check_options(const SessionOptions& options) {
  if (options.batch < 1 || options.batch > max_batch) {
    refuse(fmt::format("batch {}, expected 1 to {}", options.batch, max_batch));
  }
  if (options.threads < 0)
    refuse(fmt::format("threads {}, expected 1 or more, or 0 to choose", options.threads));
}

LayeredSession::LayeredSession(std::shared_ptr<const Packed> packed, int batch, std::int64_t tile_steps)
    : Session(packed->plan.problem, batch),
      packed_(std::move(packed)),
      state_size_(static_cast<std::size_t>(problem_.directions.front().w_hh.cols)),
      cell_size_(problem_.directions.front().cell.kind == CellKind::lstm
                     ? static_cast<std::size_t>(problem_.hidden_size)
                     : 0),
      per_layer_(directions_a_layer(problem_)),
      streamable_(!any_reverse(problem_)),
      fresh_(static_cast<std::size_t>(batch), true),
      tile_steps_(tile_steps),
      h_(problem_.directions.size() * static_cast<std::size_t>(batch) * state_size_),
      c_(problem_.directions.size() * static_cast<std::size_t>(batch) * cell_size_),
      lengths_(static_cast<std::size_t>(batch)) {
  if (streamable_) reserve(tile_steps_);
}

void LayeredSession::reserve(std::int64_t steps) {
  if (steps <= reserved_steps_) return;
  const std::size_t layers = problem_.directions.size() / per_layer_;
  const std::size_t floats =
      static_cast<std::size_t>(steps) * static_cast<std::size_t>(batch_) * per_layer_ * state_size_;
  // Layer l writes buffer l % 2 and reads the other; the last layer writes to the caller.
  for (std::size_t i = 0; i < 2 && i + 1 < layers; ++i) between_[i].resize(floats);
  reserved_steps_ = steps;
}

void LayeredSession::run(const Sequence& sequence) {
  check_sequence(sequence, batch_);
  if (!streamable_ && std::find(fresh_.begin(), fresh_.end(), false) != fresh_.end()) {
    throw Error(
        ErrorCode::unsupported,
        "this model has a reverse direction, so a sequence cannot come in chunks: give it whole, after "
        "reset() or set_state()");
  }
  const std::int64_t in = problem_.input_size;
  const auto out = static_cast<std::int64_t>(per_layer_ * state_size_);
  DirectionRun whole;
  whole.x_time = sequence.batch_first ? in : batch_ * in;
  whole.x_batch = sequence.batch_first ? sequence.steps * in : in;
  whole.y_time = sequence.batch_first ? out : batch_ * out;
  whole.y_batch = sequence.batch_first ? sequence.steps * out : out;

  std::fill(fresh_.begin(), fresh_.end(), false);
  // Only models of several layers need tiles here: they bound the buffers between layers.
  const bool one_layer = problem_.directions.size() == per_layer_;
  const std::int64_t tile_steps = streamable_ && !one_layer ? tile_steps_ : sequence.steps;
  if (!one_layer) reserve(std::min(tile_steps, sequence.steps));
  for (std::int64_t begin = 0; begin < sequence.steps; begin += tile_steps) {
    DirectionRun tile = whole;
    tile.steps = std::min(tile_steps, sequence.steps - begin);
    tile.x = sequence.x + begin * whole.x_time;
    tile.y = sequence.y + begin * whole.y_time;
    if (sequence.lengths != nullptr) {
      for (std::size_t b = 0; b < lengths_.size(); ++b) {
        lengths_[b] = std::clamp<std::int64_t>(sequence.lengths[b] - begin, 0, tile.steps);
      }
      tile.lengths = lengths_.data();
    }
    run_tile(tile);
  }
}

void LayeredSession::run_tile(const DirectionRun& tile) {
  const auto width = static_cast<std::int64_t>(per_layer_ * state_size_);
  const std::size_t layers = problem_.directions.size() / per_layer_;
  DirectionRun layer = tile;
  for (std::size_t l = 0; l < layers; ++l) {
    if (l > 0) {
      layer.x = between_[(l - 1) % 2].data();
      layer.x_time = batch_ * width;
      layer.x_batch = width;
    }
    const bool last = l + 1 == layers;
    layer.y = last ? tile.y : between_[l % 2].data();
    layer.y_time = last ? tile.y_time : batch_ * width;
    layer.y_batch = last ? tile.y_batch : width;
    for (std::size_t i = 0; i < per_layer_; ++i) {
      const std::size_t d = l * per_layer_ + i;
      DirectionRun run = layer;
      run.y += i * state_size_;
      run.h = h_.data() + h_at(d, 0);
      run.c = cell_size_ > 0 ? c_.data() + c_at(d, 0) : nullptr;
      run_direction(d, run);
    }
  }
}

std::size_t LayeredSession::h_at(std::size_t direction, int entry) const noexcept {
  return (direction * static_cast<std::size_t>(batch_) + static_cast<std::size_t>(entry)) * state_size_;
}

std::size_t LayeredSession::c_at(std::size_t direction, int entry) const noexcept {
  return (direction * static_cast<std::size_t>(batch_) + static_cast<std::size_t>(entry)) * cell_size_;
}

void LayeredSession::check_state(std::size_t h, std::size_t c, std::size_t entries) const {
  const std::size_t directions = problem_.directions.size();
  const std::size_t h_wanted = directions * entries * state_size_;
  const std::size_t c_wanted = directions * entries * cell_size_;
  if (h != h_wanted) {
    refuse(fmt::format("state h: {} values, expected {} (layers x directions {}, batch {}, width {})", h,
                       h_wanted, directions, entries, state_size_));
  }
  if (c != c_wanted) {
    refuse(fmt::format("state c: {} values, expected {} ({})", c, c_wanted,
                       cell_size_ == 0 ? "only an lstm has a c"
                                       : fmt::format("layers x directions {}, batch {}, width {}", directions,
                                                     entries, cell_size_)));
  }
}

void LayeredSession::get_state(std::span<float> h, std::span<float> c) const {
  check_state(h.size(), c.size(), static_cast<std::size_t>(batch_));
  std::copy(h_.begin(), h_.end(), h.begin());
  std::copy(c_.begin(), c_.end(), c.begin());
  round_to(problem_.dtype, c);
}

void LayeredSession::set_state(std::span<const float> h, std::span<const float> c) {
  check_state(h.size(), c.size(), static_cast<std::size_t>(batch_));
  std::copy(h.begin(), h.end(), h_.begin());
  std::copy(c.begin(), c.end(), c_.begin());
  round_to(problem_.dtype, h_);
  std::fill(fresh_.begin(), fresh_.end(), true);
}

void LayeredSession::get_state(int entry, std::span<float> h, std::span<float> c) const {
  if (entry < 0 || entry >= batch_)
    refuse(fmt::format("batch entry {}, expected 0 to {}", entry, batch_ - 1));
  check_state(h.size(), c.size(), 1);
  for (std::size_t d = 0; d < problem_.directions.size(); ++d) {
    std::copy_n(h_.begin() + static_cast<std::ptrdiff_t>(h_at(d, entry)), state_size_,
                h.subspan(d * state_size_).begin());
    std::copy_n(c_.begin() + static_cast<std::ptrdiff_t>(c_at(d, entry)), cell_size_,
                c.subspan(d * cell_size_).begin());
  }
  round_to(problem_.dtype, c);
}

void LayeredSession::set_state(int entry, std::span<const float> h, std::span<const float> c) {
  if (entry < 0 || entry >= batch_)
    refuse(fmt::format("batch entry {}, expected 0 to {}", entry, batch_ - 1));
  check_state(h.size(), c.size(), 1);
  for (std::size_t d = 0; d < problem_.directions.size(); ++d) {
    const std::span<float> to(h_.data() + h_at(d, entry), state_size_);
    std::copy_n(h.subspan(d * state_size_).begin(), state_size_, to.begin());
    round_to(problem_.dtype, to);
    std::copy_n(c.subspan(d * cell_size_).begin(), cell_size_,
                c_.begin() + static_cast<std::ptrdiff_t>(c_at(d, entry)));
  }
  fresh_[static_cast<std::size_t>(entry)] = true;
}

void LayeredSession::reset() {
  std::fill(h_.begin(), h_.end(), 0.0F);
  std::fill(c_.begin(), c_.end(), 0.0F);
  std::fill(fresh_.begin(), fresh_.end(), true);
}

void LayeredSession::reset(int entry) {
  const std::vector<float> zeros(problem_.directions.size() * std::max(state_size_, cell_size_));
  const std::span<const float> all(zeros);
  set_state(entry, all.first(problem_.directions.size() * state_size_),
            all.first(problem_.directions.size() * cell_size_));
}

void LayeredSession::set_weights(std::shared_ptr<const Packed> packed) {
  if (packed == nullptr) refuse("set_weights: null, expected a packed model");
  if (!same_plan(packed_->plan, packed->plan)) {
    refuse(
        "set_weights: the model was packed under another plan; pack it with the plan of this session's "
        "model");
  }
  Problem problem = packed->plan.problem;
  std::swap(packed_, packed);
  try {
    weights_changed();
  } catch (...) {
    std::swap(packed_, packed);
    throw;
  }
  problem_ = std::move(problem);
}

}  // namespace sprnn
