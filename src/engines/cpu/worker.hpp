// What one worker of a team does for one direction of one layer: the time loop.
#pragma once

#include <cstdint>

#include "engines/cpu/session.hpp"

namespace sprnn::cpu {

class Worker {
 public:
  Worker(CpuSession& session, const DirectionData& data, const Shares& shares, const DirectionRun& run,
         int worker);
  void run() noexcept;

 private:
  // What others have published, and whether it holds infinities or NaNs.
  struct Published {
    const Exchange* values = nullptr;
    std::int64_t width = 0;
    std::int64_t samples = 0;
    bool strict = false;
  };

  void load_state();
  void store_state();
  // x of the timesteps from `first` on, rounded, each worker some of its columns.
  void stage(std::int64_t first, std::int64_t steps);
  void project(std::int64_t steps);
  void step(std::int64_t first, std::int64_t step);
  void write_output(std::int64_t step);

  void update(std::int64_t step);
  void update_with_reset(std::int64_t step, float* pre);
  void update_projected(std::int64_t step);
  [[nodiscard]] UpdateArgs update_args(std::int64_t step) const;

  // out = W of one gate times what is published, plus add, for this worker's units.
  void multiply(const MatrixView& matrix, const Published& x, std::int64_t group_begin,
                std::int64_t group_end, const float* add, std::int64_t add_stride, float* out,
                std::int64_t out_stride) const;
  // Own values [begin, end) of `values`, which are there by rows, also by columns if `reader` wants them so.
  void finish(Exchange& values, const MatrixView& reader, std::int64_t width, std::int64_t samples,
              std::int64_t begin, std::int64_t end) const;
  // From one value to the next in arrays by columns.
  [[nodiscard]] std::int64_t column_stride(std::int64_t samples) const {
    return round_up(samples, kernels_.lanes);
  }
  void arrive(bool strict);
  bool wait();

  // The time of entry b at this run's step: reversed runs go from each sequence's last step to its first.
  // Beyond an entry's length, the padded time itself.
  [[nodiscard]] std::int64_t time_of(std::int64_t step, std::int64_t b) const;
  [[nodiscard]] bool active(std::int64_t step, std::int64_t b) const {
    return run_.lengths == nullptr || step < run_.lengths[b];
  }

  CpuSession& session_;
  const Kernels& kernels_;
  const DirectionData& data_;
  const DirectionRun& run_;
  const int workers_, worker_;
  const std::int64_t batch_;
  const std::int64_t padded_;                   // units rounded up to 16: from one gate to the next
  const std::int64_t pre_stride_;               // from one sample to the next
  const std::int64_t begin_, end_;              // own unit groups
  const std::int64_t state_begin_, state_end_;  // own groups of the state
  Published x_, h_;
  float* pre_ = nullptr;  // of the current step
  int parity_ = 0;        // h_[parity_] is the newest
  bool pending_ = false;  // arrived, but did not wait yet
};

}  // namespace sprnn::cpu
