#include "engines/cuda/session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdlib>

#include "engines/cuda/code_directory.hpp"
#include "engines/cuda/compiler.hpp"
#include "engines/cuda/tuning.hpp"
#include "engines/layered_session.hpp"
#include "plan/gpu_cost.hpp"
#include "sprnn/error.hpp"

namespace sprnn::cuda {

namespace {

constexpr double default_deadline_seconds = 2.0;
// A grid may have to wait for the SMs that other work holds; once all of it runs, a wait is short or for
// ever.
constexpr std::int64_t rendezvous_deadlines = 10;

std::int64_t deadline_of(const SessionOptions& options) {
  double seconds = options.deadline_seconds;
  if (seconds == 0.0) {
    seconds = default_deadline_seconds;
    if (const char* text = std::getenv("SPRNN_DEADLINE"); text != nullptr && *text != '\0') {
      char* end = nullptr;
      seconds = std::strtod(text, &end);
      if (*end != '\0' || !(seconds > 0.0)) {
        throw Error(ErrorCode::invalid_argument,
                    fmt::format("SPRNN_DEADLINE is \"{}\", expected seconds, more than 0", text));
      }
    }
  }
  if (!(seconds > 0.0 && seconds <= 1e6)) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("deadline {} s, expected more than 0, at most 1e6", seconds));
  }
  return static_cast<std::int64_t>(seconds * 1e9);
}

Buffer zeros(std::size_t bytes) {
  Buffer buffer(bytes);
  check(driver().set_bytes(buffer.get(), 0, std::max<std::size_t>(bytes, 16), nullptr), "cuMemsetD8Async");
  return buffer;
}

void grow(Buffer& buffer, std::size_t bytes) {
  if (buffer.bytes() < bytes) buffer = Buffer(bytes);
}

}  // namespace

GpuSession::GpuSession(std::shared_ptr<const Packed> packed, const SessionOptions& options)
    : CudaSession(packed->plan.problem, options.batch),
      packed_(std::move(packed)),
      gpu_(gpu(options.device)),
      code_(options.code_dir.empty() ? CodeSource(compile_cached) : code_directory(options.code_dir)),
      state_(problem_, options.batch),
      limit_(deadline_of(options)),
      range_(problem_.directions.size(), StateRange::stampable) {
  const Current current(*gpu_);
  const WhileCapturing capturing;
  sides_ = l2_sides(*gpu_, code_);
  std::size_t projection = 0, ring = 0;
  std::int64_t pitch = 0, tile_pitch = 0;
  tile_steps_ = std::int64_t{1} << 30;
  for (std::size_t d = 0; d < problem_.directions.size(); ++d) {
    directions_.push_back(std::make_unique<GpuDirection>(*packed_, d, *gpu_, code_, batch_));
    projection = std::max(projection, directions_[d]->projection_bytes());
    ring = std::max(ring, directions_[d]->ring_bytes());
    const std::int64_t width = input_pitch(problem_.directions[d].w_ih.cols, problem_.dtype);
    pitch = std::max(pitch, width);
    if (packed_->plan.directions[d].gpu().w_ih == InputStorage::csr &&
        gpu::input_tile_fits(width, problem_.dtype, gpu_->description()))
      tile_pitch = std::max(tile_pitch, width);
    tile_steps_ = std::min<std::int64_t>(tile_steps_, directions_[d]->tile_steps());
  }
  kernels_.emplace(problem_.dtype, tile_pitch, gpu_->description().compute_capability, code_);
  const auto rows = static_cast<std::size_t>(tile_steps_ * batch_);
  h_ = zeros(state_.h().size_bytes());
  c_ = zeros(state_.c().size_bytes());
  rows_ = Buffer(rows * static_cast<std::size_t>(pitch) * size_of(problem_.dtype));
  nonfinite_ = Buffer(rows * sizeof(std::uint32_t));
  projection_ = zeros(projection);  // what is timed before the first run is no NaN
  ring_ = Buffer(ring);
  unbounded_ = zeros(range_.size() * sizeof(std::uint32_t));
  failed_.emplace();
  Status status;
  status.on_host = failed_->on_device();
  status_ = upload(&status, sizeof status);
  lengths_ = Buffer(sizeof(std::int64_t) * static_cast<std::size_t>(batch_));
  if (state_.streamable()) reserve_between(tile_steps_);
  stream_.emplace();
  last_.emplace();
  cuda::check(driver().synchronize(nullptr), "cuStreamSynchronize");
  tune();
}

GpuSession::~GpuSession() {
  free_in(gpu_->context(), [&] { last_->settle(); });
}

void GpuSession::reserve_between(std::int64_t steps) {
  if (steps <= between_steps_) return;
  const std::size_t layers = problem_.directions.size() / state_.directions_a_layer();
  const std::size_t bytes = static_cast<std::size_t>(steps * batch_) * state_.directions_a_layer() *
                            state_.width() * size_of(problem_.dtype);
  // Layer l writes buffer l % 2 and reads the other; the last layer writes to the caller.
  for (std::size_t i = 0; i < 2 && i + 1 < layers; ++i) {
    Buffer larger(bytes);
    if (between_captured_) outgrown_.push_back(std::move(between_[i]));
    between_[i] = std::move(larger);
  }
  between_captured_ = false;
  between_steps_ = steps;
}

TileRun GpuSession::state_of(std::size_t direction) const noexcept {
  const std::size_t entries = direction * static_cast<std::size_t>(batch_) * sizeof(float);
  TileRun run;
  run.h = h_.get() + entries * state_.width();
  run.c = c_.get() + entries * state_.cell_width();
  return run;
}

LaunchContext GpuSession::context(Stream stream) const noexcept {
  return {batch_, projection_.get(), ring_.get(), status_.get(), limit_, rendezvous_deadlines * limit_,
          stream, sides_.get()};
}

void GpuSession::run_direction(std::size_t direction, const Tile& whole, Stream stream) {
  const GpuDirection& engine = *directions_[direction];
  const DirectionProblem& problem = problem_.directions[direction];
  const auto element = static_cast<DevicePointer>(size_of(problem_.dtype));
  const auto columns = static_cast<std::int32_t>(problem.w_ih.cols);
  const auto pitch = static_cast<std::int32_t>(input_pitch(problem.w_ih.cols, problem_.dtype));
  for (std::int64_t done = 0; done < whole.steps;) {
    TileRun tile = state_of(direction);
    tile.steps = std::min(tile_steps_, whole.steps - done);
    const std::int64_t begin = problem.reverse ? whole.steps - done - tile.steps : done;
    done += tile.steps;
    tile.time_begin = whole.time_begin + begin;
    tile.x = rows_.get();
    tile.nonfinite = nonfinite_.get();
    tile.y = whole.y + static_cast<DevicePointer>(begin * whole.y_time) * element;
    tile.y_time = whole.y_time;
    tile.y_batch = whole.y_batch;
    tile.lengths = whole.lengths;
    const DevicePointer x =
        whole.x + static_cast<DevicePointer>(begin * whole.x_time) * (whole.x_is_fp32 ? 4 : element);
    kernels_->gather_input.launch(stream, static_cast<unsigned>(tile.steps * batch_), 128U, x,
                                  std::int32_t{whole.x_is_fp32}, whole.x_time, whole.x_batch,
                                  std::int32_t{batch_}, columns, pitch, rows_.get(), nonfinite_.get());
    engine.project(*kernels_, tile, context(stream));
    engine.run(tile, context(stream), range_[direction],
               unbounded_.get() + direction * sizeof(std::uint32_t));
  }
}

void GpuSession::run_layers(const Tile& tile, Stream stream) {
  const std::size_t per_layer = state_.directions_a_layer();
  const auto width = static_cast<std::int64_t>(per_layer * state_.width());
  const std::size_t layers = problem_.directions.size() / per_layer;
  Tile layer = tile;
  for (std::size_t l = 0; l < layers; ++l) {
    if (l > 0) {
      layer.x = between_[(l - 1) % 2].get();
      layer.x_is_fp32 = problem_.dtype == DType::fp32;
      layer.x_time = batch_ * width;
      layer.x_batch = width;
    }
    const bool last = l + 1 == layers;
    layer.y = last ? tile.y : between_[l % 2].get();
    layer.y_time = last ? tile.y_time : batch_ * width;
    layer.y_batch = last ? tile.y_batch : width;
    for (std::size_t i = 0; i < per_layer; ++i) {
      Tile direction = layer;
      direction.y += i * state_.width() * size_of(problem_.dtype);
      run_direction(l * per_layer + i, direction, stream);
    }
  }
}

void GpuSession::enqueue(const Tile& whole, Stream stream) {
  const bool one_layer = problem_.directions.size() == state_.directions_a_layer();
  const std::int64_t steps = state_.streamable() && !one_layer ? tile_steps_ : whole.steps;
  if (!one_layer) reserve_between(std::min(steps, whole.steps));
  const auto element = static_cast<DevicePointer>(size_of(problem_.dtype));
  for (std::int64_t begin = 0; begin < whole.steps; begin += steps) {
    Tile tile = whole;
    tile.time_begin += begin;
    tile.steps = std::min(steps, whole.steps - begin);
    tile.x += static_cast<DevicePointer>(begin * whole.x_time) * (whole.x_is_fp32 ? 4 : element);
    tile.y += static_cast<DevicePointer>(begin * whole.y_time) * element;
    run_layers(tile, stream);
  }
  if (whole.lengths != 0) return;
  // Every step was valid: whatever the state was, it is now one that the cells have made.
  for (std::size_t d = 0; d < range_.size(); ++d) {
    if (problem_.directions[d].cell.kind != CellKind::gru) range_[d] = StateRange::stampable;
  }
}

void GpuSession::run(const DeviceSequence& sequence) {
  if (sequence.steps < 1 || sequence.x == nullptr || sequence.y == nullptr) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format(
            "sequence of {} timesteps, x {}, y {}: expected 1 step or more and device memory for both",
            sequence.steps, sequence.x, sequence.y));
  }
  const bool is_lstm = state_.cell_width() > 0;
  if ((sequence.c0 != nullptr) != (is_lstm && sequence.h0 != nullptr) ||
      (sequence.cn != nullptr && !is_lstm) || (sequence.from_zero && sequence.h0 != nullptr)) {
    throw Error(
        ErrorCode::invalid_argument,
        fmt::format("state of {}: h0 {}, c0 {}, cn {}, from_zero {}: expected h0 and c0 together for an "
                    "lstm, no c0 and cn for another cell, no h0 with from_zero",
                    is_lstm ? "an lstm" : "no lstm", sequence.h0, sequence.c0, sequence.cn,
                    sequence.from_zero));
  }
  const auto stream = static_cast<Stream>(sequence.stream);
  const Current current(*gpu_);
  const WhileCapturing capturing;
  const bool with_state = sequence.from_zero || sequence.h0 != nullptr;
  state_.begin_run(with_state);
  const std::int64_t in = problem_.input_size;
  const auto out = static_cast<std::int64_t>(state_.directions_a_layer() * state_.width());
  Tile whole;
  whole.steps = sequence.steps;
  whole.x = reinterpret_cast<DevicePointer>(sequence.x);
  whole.x_is_fp32 = problem_.dtype == DType::fp32;
  whole.x_time = sequence.batch_first ? in : batch_ * in;
  whole.x_batch = sequence.batch_first ? sequence.steps * in : in;
  whole.y = reinterpret_cast<DevicePointer>(sequence.y);
  whole.y_time = sequence.batch_first ? out : batch_ * out;
  whole.y_batch = sequence.batch_first ? sequence.steps * out : out;
  whole.lengths = reinterpret_cast<DevicePointer>(sequence.lengths);
  last_->precede(stream);
  take_state(sequence, stream);
  enqueue(whole, stream);
  if (is_capturing(stream)) {
    between_captured_ = weights_captured_ = true;
  } else if (with_state) {
    state_.set_interrupted(false);
  }
  give_state(sequence, stream);
  last_->is_in(stream);
}

void GpuSession::run(const Sequence& sequence) {
  check_sequence(sequence, problem_, batch_);
  const Current current(*gpu_);
  state_.begin_run();
  last_->precede(*stream_);
  if (sequence.lengths != nullptr) {
    cuda::check(driver().to_device(lengths_.get(), sequence.lengths,
                                   sizeof(std::int64_t) * static_cast<std::size_t>(batch_), *stream_),
                "cuMemcpyHtoDAsync");
  }
  const std::int64_t tile = state_.streamable() ? tile_steps_ : sequence.steps;
  for (std::int64_t begin = 0; begin < sequence.steps; begin += tile) {
    run_host_tile(sequence, begin, std::min(tile, sequence.steps - begin));
  }
  last_->is_in(*stream_);
  throw_if_aborted();
}

// In, run, out. On the device a tile is as the sequence is: [steps, B, I] or [B, steps, I].
void GpuSession::run_host_tile(const Sequence& sequence, std::int64_t begin, std::int64_t steps) {
  const std::int64_t in = problem_.input_size;
  const auto out = static_cast<std::int64_t>(state_.directions_a_layer() * state_.width());
  const auto element = static_cast<std::int64_t>(size_of(problem_.dtype));
  constexpr std::int64_t wide = sizeof(float);
  const std::int64_t values = steps * batch_ * out;
  grow(host_x_, static_cast<std::size_t>(steps * batch_ * in * wide));
  grow(host_y_, static_cast<std::size_t>(values * element));
  if (problem_.dtype != DType::fp32) grow(wide_y_, static_cast<std::size_t>(values * wide));

  // One run of the caller's memory, or one for each batch entry.
  const int copies = sequence.batch_first ? batch_ : 1;
  const std::int64_t x_run = steps * batch_ * in / copies, y_run = values / copies;
  for (std::int64_t i = 0; i < copies; ++i) {
    const float* from = sequence.x + (copies > 1 ? (i * sequence.steps + begin) * in : begin * batch_ * in);
    cuda::check(driver().to_device(host_x_.get() + static_cast<DevicePointer>(i * x_run * wide), from,
                                   static_cast<std::size_t>(x_run * wide), *stream_),
                "cuMemcpyHtoDAsync");
  }
  Tile whole;
  whole.time_begin = begin;
  whole.steps = steps;
  whole.x = host_x_.get();
  whole.x_is_fp32 = true;
  whole.x_time = sequence.batch_first ? in : batch_ * in;
  whole.x_batch = sequence.batch_first ? steps * in : in;
  whole.y = host_y_.get();
  whole.y_time = sequence.batch_first ? out : batch_ * out;
  whole.y_batch = sequence.batch_first ? steps * out : out;
  whole.lengths = sequence.lengths == nullptr ? 0 : lengths_.get();
  enqueue(whole, *stream_);
  DevicePointer y = host_y_.get();
  if (problem_.dtype != DType::fp32) {
    kernels_->widen_output.launch(*stream_, static_cast<unsigned>((values + 255) / 256), 256U, y, values,
                                  wide_y_.get());
    y = wide_y_.get();
  }
  for (std::int64_t i = 0; i < copies; ++i) {
    float* to = sequence.y + (copies > 1 ? (i * sequence.steps + begin) * out : begin * batch_ * out);
    cuda::check(driver().to_host(to, y + static_cast<DevicePointer>(i * y_run * wide),
                                 static_cast<std::size_t>(y_run * wide), *stream_),
                "cuMemcpyDtoHAsync");
  }
  cuda::check(driver().synchronize(*stream_), "cuStreamSynchronize");
}

void GpuSession::check() {
  const Current current(*gpu_);
  throw_if_aborted();
}

void GpuSession::check_now() {
  if (failed_->read() != 0) check();
}

void GpuSession::throw_if_aborted() const {
  last_->wait();
  if (failed_->read() == 0) return;
  Status status;
  cuda::check(driver().to_host(&status, status_.get(), sizeof status, *stream_), "cuMemcpyDtoHAsync");
  cuda::check(driver().synchronize(*stream_), "cuStreamSynchronize");
  cuda::check(driver().set_bytes(status_.get(), 0, offsetof(Status, on_host), *stream_), "cuMemsetD8Async");
  cuda::check(driver().synchronize(*stream_), "cuStreamSynchronize");
  failed_->clear();
  state_.set_interrupted(true);  // CTAs that had come to the end have stored theirs, the others have not
  const double seconds = static_cast<double>(limit_) * 1e-9;
  if (status.aborted == abort_rendezvous) {
    throw Error(
        ErrorCode::deadline,
        fmt::format(
            "the kernel was given up: not all of its CTAs started within {:g} s (CTA {} waited); is other "
            "work holding the GPU? Reset or set the state before the next run; a longer deadline "
            "(SessionOptions::deadline_seconds, SPRNN_DEADLINE) waits longer",
            seconds * rendezvous_deadlines, status.cta));
  }
  throw Error(
      ErrorCode::deadline,
      fmt::format(
          "the run was given up at timestep {}: CTA {} waited {:g} s for {} of the exchange; the rest of "
          "the output is NaN. Reset or set the state before the next run; a longer deadline "
          "(SessionOptions::deadline_seconds, SPRNN_DEADLINE) helps where a debugger or sanitizer slows "
          "the GPU",
          status.timestep, status.cta, seconds,
          status.word == no_word ? "the words" : fmt::format("word {}", status.word)));
}

double GpuSession::time_directions(std::size_t begin, std::size_t end, std::int64_t steps) {
  const std::size_t width = state_.width();
  grow(host_y_,
       static_cast<std::size_t>(std::min(tile_steps_, steps) * batch_) * width * size_of(problem_.dtype));
  const Moment before(*stream_);
  for (std::size_t d = begin; d < end; ++d) {
    for (std::int64_t done = 0; done < steps; done += tile_steps_) {
      TileRun tile = state_of(d);
      tile.steps = std::min(tile_steps_, steps - done);
      tile.y = host_y_.get();
      tile.y_time = static_cast<std::int64_t>(width) * batch_;
      tile.y_batch = static_cast<std::int64_t>(width);
      directions_[d]->run(tile, context(*stream_));
    }
  }
  const Moment after(*stream_);
  last_->is_in(*stream_);
  throw_if_aborted();
  return after.microseconds_since(before);
}

double GpuSession::time_recurrent(std::int64_t steps) {
  if (steps < 1)
    throw Error(ErrorCode::invalid_argument, fmt::format("{} timesteps, expected 1 or more", steps));
  reset();
  const Current current(*gpu_);
  const double microseconds = time_directions(0, directions_.size(), steps);
  reset();
  return microseconds;
}

// On zeros: what is computed does not change how long it takes.
void GpuSession::tune() {
  bool measured = false, busy = false;
  for (std::size_t d = 0; d < directions_.size(); ++d) {
    if (!directions_[d]->wants_tuning()) continue;
    int best = middling_wait;
    try {
      const auto time = [&](int wait, std::int64_t steps) {
        if (busy) throw Error(ErrorCode::deadline, "other work holds the GPU");
        measured = true;
        directions_[d]->set_poll_wait(wait);
        return time_directions(d, d + 1, steps);
      };
      best = tuned_wait(directions_[d]->tuning_key(), time);
    } catch (const Error& error) {
      if (error.code() != ErrorCode::deadline) throw;
      busy = true;  // other work holds the GPU; the next direction would wait as long
    }
    directions_[d]->set_poll_wait(best);
  }
  if (!measured) return;
  state_.set_interrupted(false);
  for (const Buffer* state : {&h_, &c_}) {
    if (state->bytes() > 0)
      cuda::check(driver().set_bytes(state->get(), 0, state->bytes(), *stream_), "cuMemsetD8Async");
  }
  cuda::check(driver().synchronize(*stream_), "cuStreamSynchronize");
}

void GpuSession::set_weights(std::shared_ptr<const Packed> packed) {
  if (packed == nullptr)
    throw Error(ErrorCode::invalid_argument, "set_weights: null, expected a packed model");
  check_same_plan(packed_->plan, packed->plan);
  const Current current(*gpu_);
  last_->wait();
  std::vector<std::unique_ptr<GpuDirection>> directions;
  for (std::size_t d = 0; d < directions_.size(); ++d) {
    directions.push_back(std::make_unique<GpuDirection>(*packed, d, *gpu_, code_, batch_));
    directions[d]->set_poll_wait(directions_[d]->poll_wait());
    if (range_[d] != StateRange::stampable) directions[d]->prepare_unbounded();
  }
  directions_.swap(directions);
  if (weights_captured_) std::move(directions.begin(), directions.end(), std::back_inserter(replaced_));
  weights_captured_ = false;
  problem_ = packed->plan.problem;
  packed_ = std::move(packed);
}

}  // namespace sprnn::cuda
