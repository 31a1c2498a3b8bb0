#include "engines/reference/engine.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/float_environment.hpp"
#include "engines/layered_session.hpp"
#include "engines/reference/reference.hpp"
#include "sprnn/error.hpp"

namespace sprnn {
namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::invalid_argument, message); }

// What two models must share to take each other's place in a session.
bool same_shapes(const Model& a, const Model& b) {
  const auto same_direction = [](const Direction& p, const Direction& q) {
    return p.cell == q.cell && p.reverse == q.reverse && p.b_ih.size() == q.b_ih.size() &&
           p.peephole.size() == q.peephole.size();
  };
  const auto same_layer = [&](const Layer& p, const Layer& q) {
    return std::ranges::equal(p.directions, q.directions, same_direction);
  };
  return a.dtype == b.dtype && a.input_size == b.input_size && a.hidden_size == b.hidden_size &&
         a.projection_size == b.projection_size && std::ranges::equal(a.layers, b.layers, same_layer);
}

// The state is held in double, so chunks of a sequence give the very bits of the whole one.
class ReferenceSession final : public Session {
 public:
  ReferenceSession(const Packed& packed, int batch, int threads)
      : Session(packed.plan.problem, batch),
        model_(unpack(packed)),
        threads_(threads),
        h_size_(static_cast<std::size_t>(model_.state_size())),
        c_size_(model_.has_cell_state() ? static_cast<std::size_t>(model_.hidden_size) : 0),
        states_(static_cast<std::size_t>(model_.num_layers() * model_.num_directions())),
        entries_(static_cast<std::size_t>(batch)),
        started_(entries_, false) {
    state_.h.resize(states_ * entries_ * h_size_);
    state_.c.resize(states_ * entries_ * c_size_);
  }

  [[nodiscard]] std::string_view engine() const noexcept override { return "reference"; }
  [[nodiscard]] int threads() const noexcept override { return threads_; }

  void run(const Sequence& sequence) override {
    check_sequence(sequence, problem_, batch_);
    const DefaultFloatEnvironment environment;  // of the threads that it starts, too
    if (!model_.is_streamable() && std::ranges::find(started_, true) != started_.end()) {
      throw Error(
          ErrorCode::unsupported,
          "a model with a reverse direction takes whole sequences only, since a chunk cannot know what comes "
          "after it: call reset() or set_state() for every batch entry before the next run");
    }
    std::vector<double> x(static_cast<std::size_t>(sequence.steps * batch_ * model_.input_size));
    copy_steps(sequence, model_.input_size,
               [&](auto own, auto callers) { x[own] = round_to(model_.dtype, sequence.x[callers]); });
    reference::Output out =
        reference::run(model_, sequence.steps, batch_, x.data(), sequence.lengths, state_, threads_);
    copy_steps(sequence, model_.output_size(),
               [&](auto own, auto callers) { sequence.y[callers] = static_cast<float>(out.y[own]); });
    state_ = std::move(out.final);
    std::fill(started_.begin(), started_.end(), true);
  }

  void get_state(std::span<float> h, std::span<float> c) const override {
    check_sizes(h.size(), c.size(), entries_);
    const DefaultFloatEnvironment environment;
    std::ranges::transform(state_.h, h.begin(), [this](double value) { return exported(value); });
    std::ranges::transform(state_.c, c.begin(), [this](double value) { return exported(value); });
  }

  void set_state(std::span<const float> h, std::span<const float> c) override {
    check_sizes(h.size(), c.size(), entries_);
    const DefaultFloatEnvironment environment;
    std::ranges::transform(h, state_.h.begin(),
                           [this](float value) { return round_to(model_.dtype, value); });
    std::ranges::copy(c, state_.c.begin());
    std::fill(started_.begin(), started_.end(), false);
  }

  void get_state(int entry, std::span<float> h, std::span<float> c) const override {
    const std::size_t b = checked(entry);
    check_sizes(h.size(), c.size(), 1);
    const DefaultFloatEnvironment environment;
    for (std::size_t s = 0; s < states_; ++s) {
      for (std::size_t i = 0; i < h_size_; ++i) h[s * h_size_ + i] = exported(state_.h[h_at(s, b) + i]);
      for (std::size_t i = 0; i < c_size_; ++i) c[s * c_size_ + i] = exported(state_.c[c_at(s, b) + i]);
    }
  }

  void set_state(int entry, std::span<const float> h, std::span<const float> c) override {
    const std::size_t b = checked(entry);
    check_sizes(h.size(), c.size(), 1);
    const DefaultFloatEnvironment environment;
    for (std::size_t s = 0; s < states_; ++s) {
      for (std::size_t i = 0; i < h_size_; ++i) {
        state_.h[h_at(s, b) + i] = round_to(model_.dtype, h[s * h_size_ + i]);
      }
      for (std::size_t i = 0; i < c_size_; ++i) state_.c[c_at(s, b) + i] = c[s * c_size_ + i];
    }
    started_[b] = false;
  }

  void reset() override {
    std::ranges::fill(state_.h, 0.0);
    std::ranges::fill(state_.c, 0.0);
    std::fill(started_.begin(), started_.end(), false);
  }

  void reset(int entry) override {
    set_state(entry, std::vector<float>(states_ * h_size_), std::vector<float>(states_ * c_size_));
  }

  void set_weights(std::shared_ptr<const Packed> packed) override {
    if (packed == nullptr) refuse("set_weights: null, expected a packed model");
    Model model = unpack(*packed);
    if (!same_shapes(model, model_)) {
      refuse(
          "set_weights: the other model differs in dtype, cell, sizes, layers, directions, biases or "
          "peepholes; "
          "open a session of its own for it");
    }
    model_ = std::move(model);
    problem_ = packed->plan.problem;
  }

 private:
  [[nodiscard]] std::size_t checked(int entry) const {
    if (entry < 0 || entry >= batch_)
      refuse(fmt::format("batch entry {}, expected 0 to {}", entry, batch_ - 1));
    return static_cast<std::size_t>(entry);
  }

  void check_sizes(std::size_t h, std::size_t c, std::size_t entries) const {
    if (h != states_ * entries * h_size_) {
      refuse(fmt::format("state h: {} values, expected {}", h, states_ * entries * h_size_));
    }
    if (c != states_ * entries * c_size_) {
      refuse(fmt::format("state c: {} values, expected {}{}", c, states_ * entries * c_size_,
                         c_size_ == 0 ? ": only an lstm has a c" : ""));
    }
  }

  // Calls copy(index in [T, B, width], index in the caller's array) for every element.
  template <class Copy>
  void copy_steps(const Sequence& sequence, std::int64_t width, Copy copy) const {
    for (std::int64_t t = 0; t < sequence.steps; ++t) {
      for (std::int64_t b = 0; b < batch_; ++b) {
        const std::int64_t own = t * batch_ + b;
        const std::int64_t callers = sequence.batch_first ? b * sequence.steps + t : own;
        for (std::int64_t i = 0; i < width; ++i) {
          copy(static_cast<std::size_t>(own * width + i), static_cast<std::size_t>(callers * width + i));
        }
      }
    }
  }

  [[nodiscard]] float exported(double value) const {
    return round_to(model_.dtype, static_cast<float>(value));
  }
  [[nodiscard]] std::size_t h_at(std::size_t state, std::size_t b) const {
    return (state * entries_ + b) * h_size_;
  }
  [[nodiscard]] std::size_t c_at(std::size_t state, std::size_t b) const {
    return (state * entries_ + b) * c_size_;
  }

  Model model_;
  int threads_;
  std::size_t h_size_, c_size_;  // of one entry of one state: R, and H for an lstm, else 0
  std::size_t states_;           // layers * directions
  std::size_t entries_;          // B
  reference::State state_;
  std::vector<bool> started_;  // [B]: has run since its state was last set
};

class ReferenceEngine final : public Engine {
 public:
  [[nodiscard]] std::string_view name() const noexcept override { return "reference"; }
  [[nodiscard]] std::string refusal(const Plan& /*plan*/) const override { return ""; }

  [[nodiscard]] std::unique_ptr<Session> session(std::shared_ptr<const Packed> packed,
                                                 const SessionOptions& options) const override {
    if (packed == nullptr) refuse("session: null, expected a packed model");
    if (options.batch < 1 || options.batch > max_batch) {
      refuse(fmt::format("batch: {}, expected 1 to {}", options.batch, max_batch));
    }
    if (options.threads < 0) refuse(fmt::format("threads: {}, expected 0 (all) or more", options.threads));
    return std::make_unique<ReferenceSession>(
        *packed, options.batch, options.threads == 0 ? this_cpu().cpu().threads : options.threads);
  }
};

}  // namespace

const Engine& reference_engine() {
  static const ReferenceEngine engine;
  return engine;
}

}  // namespace sprnn
