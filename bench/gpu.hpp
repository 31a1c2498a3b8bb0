// The cuda engine's side of a race: x and y stay on the GPU, and the GPU's clock takes the time.
#pragma once

#include <memory>
#include <vector>

#include "bench/bench.hpp"
#include "bench/contestant.hpp"
#include "bench/peers/peer.hpp"
#include "engines/cuda/gpu.hpp"
#include "sprnn/cuda.hpp"

namespace sprnn::bench {

class GpuContestant final : public Contestant {
 public:
  // A session on GPU `device`. `workload` must outlive it.
  GpuContestant(std::unique_ptr<Session> session, int device, const Workload& workload);
  ~GpuContestant() override;

  // The state is set to zero before the clock starts: that goes through the host.
  double run(std::size_t length, std::size_t input_set) override;
  std::vector<float> output() override;
  void wake() override {}
  void sleep() override {}  // run() has waited for the GPU, and no thread of ours is left

  [[nodiscard]] CudaSession& session() noexcept { return *session_; }
  [[nodiscard]] const std::string& gpu_name() const noexcept { return gpu_->name(); }

 private:
  [[nodiscard]] std::size_t output_values() const;  // of all steps

  std::unique_ptr<CudaSession> session_;
  std::shared_ptr<const cuda::Gpu> gpu_;
  const Workload& workload_;
  cuda::Buffer x_, y_;
  std::size_t written_ = 0;  // values of y
  cuda::Stream stream_ = nullptr;
  cuda::Event begin_ = nullptr, end_ = nullptr;
};

// What only a GPU has; `layer` is what the race took.
[[nodiscard]] GpuResult measure_gpu(GpuContestant& contestant, const Plan& plan, const Timing& layer,
                                    double first_call_us, std::int64_t steps);

}  // namespace sprnn::bench
