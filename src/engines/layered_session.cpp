#include "engines/layered_session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/float_environment.hpp"
#include "plan/problem_check.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::invalid_argument, message); }

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

void check_same_plan(const Plan& a, const Plan& b) {
  if (same_plan(a, b)) return;
  refuse(
      "set_weights: the model was packed under another plan; pack it with the plan of this session's "
      "model");
}

void check_sequence(const Sequence& sequence, const Problem& problem, int batch) {
  if (sequence.steps < 1) refuse(fmt::format("sequence of {} timesteps, expected 1 or more", sequence.steps));
  const std::int64_t directions = std::ssize(problem.directions) / (problem.directions.back().layer + 1);
  const std::int64_t width = std::max(problem.input_size, directions * problem.directions.front().w_hh.cols);
  // Engine reference holds x and y as doubles.
  const std::int64_t most =
      std::numeric_limits<std::int64_t>::max() / static_cast<std::int64_t>(sizeof(double)) / batch / width;
  if (sequence.steps > most) {
    refuse(fmt::format(
        "sequence of {} timesteps, expected at most {}: with batch {} and up to {} values a step and "
        "entry, no memory holds more",
        sequence.steps, most, batch, width));
  }
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
  constexpr int most_threads = 1024;
  if (options.threads < 0 || options.threads > most_threads) {
    refuse(
        fmt::format("threads {}, expected 1 to {}, or 0 for as many as affinity and the cgroup quota allow",
                    options.threads, most_threads));
  }
}

LayeredSession::LayeredSession(std::shared_ptr<const Packed> packed, int batch, std::int64_t tile_steps)
    : Session(packed->plan.problem, batch),
      packed_(std::move(packed)),
      state_(problem_, batch),
      tile_steps_(tile_steps),
      lengths_(static_cast<std::size_t>(batch)) {
  if (state_.streamable()) reserve(tile_steps_);
}

void LayeredSession::reserve(std::int64_t steps) {
  if (steps <= reserved_steps_) return;
  const std::size_t layers = problem_.directions.size() / state_.directions_a_layer();
  const std::size_t floats = static_cast<std::size_t>(steps) * static_cast<std::size_t>(batch_) *
                             state_.directions_a_layer() * state_.width();
  // Layer l writes buffer l % 2 and reads the other; the last layer writes to the caller.
  for (std::size_t i = 0; i < 2 && i + 1 < layers; ++i) between_[i].resize(floats);
  reserved_steps_ = steps;
}

void LayeredSession::run(const Sequence& sequence) {
  check_sequence(sequence, problem_, batch_);
  const DefaultFloatEnvironment environment;
  state_.begin_run();
  const std::int64_t in = problem_.input_size;
  const auto out = static_cast<std::int64_t>(state_.directions_a_layer() * state_.width());
  DirectionRun whole;
  whole.x_time = sequence.batch_first ? in : batch_ * in;
  whole.x_batch = sequence.batch_first ? sequence.steps * in : in;
  whole.y_time = sequence.batch_first ? out : batch_ * out;
  whole.y_batch = sequence.batch_first ? sequence.steps * out : out;

  // Only models of several layers need tiles here: they bound the buffers between layers.
  const bool one_layer = problem_.directions.size() == state_.directions_a_layer();
  const std::int64_t tile_steps = state_.streamable() && !one_layer ? tile_steps_ : sequence.steps;
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
    run_tile(tile, sequence);
  }
}

void LayeredSession::run_tile(const DirectionRun& tile, const Sequence& sequence) {
  const auto width = static_cast<std::int64_t>(state_.directions_a_layer() * state_.width());
  const std::size_t layers = problem_.directions.size() / state_.directions_a_layer();
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
    for (std::size_t i = 0; i < state_.directions_a_layer(); ++i) {
      const std::size_t d = l * state_.directions_a_layer() + i;
      DirectionRun run = layer;
      run.y += i * state_.width();
      run.h = state_.h_of(d);
      run.c = state_.c_of(d);
      run_parts(d, run, sequence);
    }
  }
}

void LayeredSession::run_parts(std::size_t direction, DirectionRun run, const Sequence& sequence) {
  using Clock = std::chrono::steady_clock;
  if (!sequence.keep_going) {
    run.end = run.steps;
    return run_direction(direction, run);
  }
  constexpr std::chrono::milliseconds patience{100};
  std::int64_t most = 64;  // timesteps a part
  while (run.end < run.steps) {
    state_.set_interrupted(true);  // also if keep_going throws
    if (!sequence.keep_going()) {
      throw Error(ErrorCode::interrupted,
                  "the run was interrupted: set or reset the state before the next one");
    }
    state_.set_interrupted(false);
    const Clock::time_point start = Clock::now();
    run.begin = run.end;
    run.end = std::min(run.begin + most, run.steps);
    run_direction(direction, run);
    if (Clock::now() - start < patience / 2) most *= 2;
  }
}

void LayeredSession::get_state(std::span<float> h, std::span<float> c) const { state_.get(h, c); }

void LayeredSession::set_state(std::span<const float> h, std::span<const float> c) { state_.set(h, c); }

void LayeredSession::get_state(int entry, std::span<float> h, std::span<float> c) const {
  state_.get(entry, h, c);
}

void LayeredSession::set_state(int entry, std::span<const float> h, std::span<const float> c) {
  state_.set(entry, h, c);
}

void LayeredSession::reset() { state_.reset(); }

void LayeredSession::reset(int entry) { state_.reset(entry); }

void LayeredSession::set_weights(std::shared_ptr<const Packed> packed) {
  if (packed == nullptr) refuse("set_weights: null, expected a packed model");
  check_same_plan(packed_->plan, packed->plan);
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
