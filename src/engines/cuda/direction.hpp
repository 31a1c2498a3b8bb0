// One direction of one layer on the GPU: its weights, and the kernel that was compiled for its plan.
#pragma once

#include <memory>
#include <optional>

#include "engines/cuda/arguments.hpp"
#include "engines/cuda/input_projection.hpp"
#include "engines/cuda/placement.hpp"

namespace sprnn::cuda {

// A tile of timesteps of one direction, in device memory.
struct TileRun {
  std::int64_t time_begin = 0;  // of the tile within the sequence
  std::int64_t steps = 0;
  DevicePointer x = 0, nonfinite = 0;  // [steps * batch][input_pitch], from gather_input
  DevicePointer y = 0;
  std::int64_t y_time = 0, y_batch = 0;  // in elements
  DevicePointer lengths = 0;             // of the whole sequence, or 0
  DevicePointer h = 0, c = 0;            // [batch][outputs], [batch][hidden], fp32
};

// What the kernel must be able to exchange, besides what the cells make themselves.
enum class StateRange {
  stampable,  // by the kernel of the plan
  any,        // by the one for states that no stamp can carry
  on_device,  // which of them: a word in device memory says, and both are launched
};

// What a session gives every launch.
struct LaunchContext {
  int batch = 1;
  DevicePointer projection = 0, ring = 0, status = 0;
  std::int64_t limit = 0, rendezvous_limit = 0;  // nanoseconds
  Stream stream = nullptr;
  const L2Sides* sides = nullptr;
};

class GpuDirection {
 public:
  // `packed` need not outlive it; `gpu` and `code` must.
  GpuDirection(const Packed& packed, std::size_t direction, const Gpu& gpu, const CodeSource& code,
               int batch);

  [[nodiscard]] int tile_steps() const noexcept { return shape_.plan.tile_steps; }
  [[nodiscard]] std::size_t projection_bytes() const noexcept;  // of a tile
  [[nodiscard]] std::size_t ring_bytes() const noexcept;        // control words included
  // Whether the kernel of the plan exchanges a state of any value; else StateRange::any is needed for those
  // that is_stampable refuses.
  [[nodiscard]] bool takes_any_state() const noexcept {
    return shape_.h_word == ExchangeWord::tag || is_counted(shape_);
  }
  // Else each CTA loads all of it for itself.
  [[nodiscard]] bool exchanges_initial_state() const noexcept;
  [[nodiscard]] bool is_relu() const noexcept;
  [[nodiscard]] bool is_stampable(float h) const noexcept;
  // Compiles the kernel for states that no stamp can carry, if there is none yet.
  void prepare_unbounded();

  // The wait before the first poll; what the plan says is that of a session that is not tuned.
  [[nodiscard]] bool wants_tuning() const noexcept {
    return shape_.plan.stamps && !is_counted(shape_) && shape_.plan.poll_wait_cycles == tuned_poll_wait;
  }
  [[nodiscard]] std::string tuning_key() const;  // equal for directions that run alike
  [[nodiscard]] int poll_wait() const noexcept { return poll_wait_; }
  void set_poll_wait(int cycles) noexcept { poll_wait_ = cycles; }

  void project(const InputKernels& kernels, const TileRun& tile, const LaunchContext& context) const;
  // `unbounded`: for StateRange::on_device, the word that is 1 if the state has a value that no stamp
  // carries.
  void run(const TileRun& tile, const LaunchContext& context, StateRange range = StateRange::stampable,
           DevicePointer unbounded = 0) const;

 private:
  void launch(const KernelShape& shape, const Kernel& kernel, Arguments arguments,
              const LaunchContext& context) const;
  [[nodiscard]] Kernel make_kernel(const KernelShape& shape) const;
  [[nodiscard]] std::size_t ring_bytes_of(const KernelShape& shape, int groups) const noexcept;
  // Where the GPU has no room for as many clusters as planned, passes take turns; where it has none for one,
  // the exchange goes through L2.
  void make_room_for_clusters();
  [[nodiscard]] int groups_of_pass(int first_entry) const noexcept;

  const Gpu& gpu_;
  const CodeSource& code_;
  int batch_;
  bool reverse_;
  int poll_wait_;
  KernelShape shape_;
  std::optional<KernelShape> unbounded_shape_;
  struct Matrix {
    Buffer registers, shared, l2, sum_of_group, sums_of_row;
    [[nodiscard]] MatrixArrays arrays() const noexcept {
      return {registers.get(), shared.get(), l2.get(), sum_of_group.get(), sums_of_row.get()};
    }
  };
  Matrix hh_, hr_, rest_;
  Buffer unit_map_, output_map_, position_, n_bias_;
  InputProjection input_;
  Kernel kernel_;
  int groups_;  // side by side
  std::optional<Kernel> unbounded_kernel_;
};

}  // namespace sprnn::cuda
