// A model being run on one GPU: device copies of the state, buffers between layers, tile after tile of
// timesteps.
#pragma once

#include <memory>
#include <vector>

#include "engines/cuda/direction.hpp"
#include "engines/session_state.hpp"
#include "sprnn/cuda.hpp"

namespace sprnn::cuda {

class GpuSession final : public CudaSession {
 public:
  GpuSession(std::shared_ptr<const Packed> packed, const SessionOptions& options);
  ~GpuSession() override;

  [[nodiscard]] std::string_view engine() const noexcept override { return "cuda"; }
  void run(const Sequence& sequence) override;
  void run(const DeviceSequence& sequence) override;
  void check() override;
  void check_now() override;
  double time_recurrent(std::int64_t steps) override;

  using Session::get_state;
  using Session::reset;
  using Session::set_state;
  void get_state(std::span<float> h, std::span<float> c) const override;
  void set_state(std::span<const float> h, std::span<const float> c) override;
  void get_state(int entry, std::span<float> h, std::span<float> c) const override;
  void set_state(int entry, std::span<const float> h, std::span<const float> c) override;
  void reset() override;
  void reset(int entry) override;
  void set_weights(std::shared_ptr<const Packed> packed) override;

 private:
  // Where a sequence, or a tile of it, lies on the device.
  struct Tile {
    std::int64_t time_begin = 0, steps = 0;
    DevicePointer x = 0;
    bool x_is_fp32 = false;
    std::int64_t x_time = 0, x_batch = 0;  // in elements
    DevicePointer y = 0;
    std::int64_t y_time = 0, y_batch = 0;
    DevicePointer lengths = 0;
  };
  void take_state(const DeviceSequence& sequence, Stream stream);
  void give_state(const DeviceSequence& sequence, Stream stream) const;
  void enqueue(const Tile& whole, Stream stream);
  void run_layers(const Tile& tile, Stream stream);
  void run_direction(std::size_t direction, const Tile& whole, Stream stream);
  [[nodiscard]] TileRun state_of(std::size_t direction) const noexcept;
  [[nodiscard]] LaunchContext context(Stream stream) const noexcept;
  void reserve_between(std::int64_t steps);
  void run_host_tile(const Sequence& sequence, std::int64_t begin, std::int64_t steps);
  void download_state() const;
  void upload_state();
  // Microseconds of some timesteps of directions `begin` to `end`, which change their state.
  double time_directions(std::size_t begin, std::size_t end, std::int64_t steps);
  void tune();
  void throw_if_aborted() const;

  std::shared_ptr<const Packed> packed_;
  std::shared_ptr<const Gpu> gpu_;
  CodeSource code_;
  mutable SessionState state_;  // as of the last transfer; the device has the truth
  std::int64_t tile_steps_ = 1;
  std::int64_t limit_;  // nanoseconds of one wait
  std::shared_ptr<const L2Sides> sides_;
  std::optional<InputKernels> kernels_;
  std::vector<std::unique_ptr<GpuDirection>> directions_;
  Buffer h_, c_;             // [L*D][B][R], [L*D][B][H]: fp32
  Buffer rows_, nonfinite_;  // of x, a tile
  Buffer projection_, ring_, status_, lengths_;
  std::optional<HostWord> failed_;  // 1: status_ says that a run was given up
  Buffer between_[2];               // outputs of intermediate layers [steps][B][D*R], in the model's dtype
  std::int64_t between_steps_ = 0;
  // A graph that was captured goes on using what it was captured with: kept once something else takes its
  // place.
  bool between_captured_ = false, weights_captured_ = false;
  std::vector<Buffer> outgrown_;
  std::vector<std::unique_ptr<GpuDirection>> replaced_;
  Buffer host_x_, host_y_, wide_y_;  // staging of runs on host memory: made by the first one
  std::vector<StateRange> range_;    // [L*D] of the state
  Buffer unbounded_;                 // [L*D] the words that say it where the host does not know
  std::optional<OwnStream> stream_;  // of runs on host memory
  std::optional<LastWork> last_;
};

}  // namespace sprnn::cuda
