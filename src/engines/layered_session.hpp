// What every engine's session shares: checking the call, the state, and walking through layers,
// directions and time tiles. An engine only has to run one direction of one layer.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "engines/session_state.hpp"
#include "sprnn/engine.hpp"

namespace sprnn {

// One direction of one layer over `steps` timesteps. Element (t, b, i) of x is
// x[t * x_time + b * x_batch + i], of y likewise. Values of x may be off the model's dtype grid only in
// the first layer: the engine rounds what it reads.
struct DirectionRun {
  std::int64_t steps = 0;
  // Those to run now, in the direction's own order; h and c are the state before and after them.
  std::int64_t begin = 0, end = 0;
  const float* x = nullptr;
  std::int64_t x_time = 0, x_batch = 0;
  float* y = nullptr;
  std::int64_t y_time = 0, y_batch = 0;
  // Valid steps of each batch entry counted from this run's first step, 0 to `steps`, or null: all of
  // them. At an invalid step y is zero and the state stays.
  const std::int64_t* lengths = nullptr;
  float* h = nullptr;  // [B, R] in and out, on the dtype's grid
  float* c = nullptr;  // [B, H] in and out, fp32; null unless lstm
};

class LayeredSession : public Session {
 public:
  void run(const Sequence& sequence) final;
  using Session::get_state;
  using Session::reset;
  using Session::set_state;
  void get_state(std::span<float> h, std::span<float> c) const final;
  void set_state(std::span<const float> h, std::span<const float> c) final;
  void get_state(int entry, std::span<float> h, std::span<float> c) const final;
  void set_state(int entry, std::span<const float> h, std::span<const float> c) final;
  void reset() final;
  void reset(int entry) final;
  void set_weights(std::shared_ptr<const Packed> packed) final;

 protected:
  // `tile_steps`: how many timesteps of an intermediate layer's output are held at a time.
  LayeredSession(std::shared_ptr<const Packed> packed, int batch, std::int64_t tile_steps);

  virtual void run_direction(std::size_t direction, const DirectionRun& run) = 0;
  // Called by set_weights after packed_ has changed; if it throws, the session must be as before.
  virtual void weights_changed() {}

  std::shared_ptr<const Packed> packed_;

 private:
  void run_tile(const DirectionRun& tile, const Sequence& sequence);
  void run_parts(std::size_t direction, DirectionRun run, const Sequence& sequence);
  void reserve(std::int64_t steps);

  SessionState state_;
  std::int64_t tile_steps_;
  std::vector<float> between_[2];  // outputs of intermediate layers, [steps, B, D*R]
  std::int64_t reserved_steps_ = 0;
  std::vector<std::int64_t> lengths_;  // of the tile being run
};

// Throws Error(invalid_argument) that names what is wrong with the call.
void check_sequence(const Sequence& sequence, const Problem& problem, int batch);
// Whether weights packed under plan `b` fit a session of plan `a`: every direction is laid out alike, for the
// same cell. Throws Error(invalid_argument) if not.
void check_same_plan(const Plan& a, const Plan& b);
// Throws Error(invalid_argument) unless 1 <= batch <= 4096 and 0 <= threads <= 1024.
void check_options(const SessionOptions& options);

}  // namespace sprnn
