#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "engines/cpu/buffer.hpp"
#include "engines/cpu/crowding.hpp"
#include "engines/cpu/direction.hpp"
#include "engines/cpu/kernels.hpp"
#include "engines/cpu/team.hpp"
#include "engines/layered_session.hpp"

namespace sprnn::cpu {

// Vectors of all samples that workers hand to each other: by rows [sample][value], and by columns
// [value][sample] where a matrix of layout `row` reads them.
struct Exchange {
  Exchange() = default;
  Exchange(std::int64_t samples, std::int64_t values);
  Buffer rows, columns;
};

class CpuSession final : public LayeredSession {
 public:
  CpuSession(const std::shared_ptr<const Packed>& packed, const SessionOptions& options,
             const Kernels& kernels);

  [[nodiscard]] std::string_view engine() const noexcept override { return "cpu"; }
  [[nodiscard]] std::string_view isa() const noexcept override { return kernels_.isa; }
  [[nodiscard]] int threads() const noexcept override { return team_.size(); }
  [[nodiscard]] int threads_at_work() const noexcept override;

 protected:
  void run_direction(std::size_t direction, const DirectionRun& run) override;
  void weights_changed() override;

 private:
  friend class Worker;
  struct Task {
    CpuSession* session;
    const DirectionData* data;
    const Shares* shares;
    const DirectionRun* run;
  };
  void run_part(std::size_t direction, const DirectionRun& run);
  static void work(void* task, int worker) noexcept;

  const Kernels& kernels_;
  CpuDescription cpu_;           // what runs this session: its threads, its instruction set
  bool all_work_;                // the caller chose how many threads
  std::int64_t tile_steps_ = 0;  // timesteps whose input projection is computed together
  std::vector<DirectionData> directions_;
  Exchange x_;      // a tile of the input
  Exchange h_[2];   // of even and odd steps
  Exchange inner_;  // o * tanh(c) before the projection, or r * h before n's product
  Buffer pre_;      // [sample of the tile][block][unit]: the input projection, then the gates
  Buffer c_;        // [B][unit]
  std::vector<std::vector<const float*>> sources_;  // a worker's scratch: where each sample's x is
  Team team_;
  Crowding crowding_;
};

}  // namespace sprnn::cpu
