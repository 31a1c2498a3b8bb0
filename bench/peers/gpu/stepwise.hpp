// A recurrence written by hand around a library's matrix product: one product and one kernel for the cell a
// timestep, to be captured in a graph.
#pragma once

#include "bench/peers/gpu/cell.hpp"
#include "bench/peers/gpu/matmul.hpp"
#include "bench/peers/gpu/peer.hpp"

namespace sprnn::bench {

// How h and the product lie in memory.
enum class StateOrder { batch_outer /* [B][H] */, batch_inner /* [H][B] */ };

class StepwisePeer : public GpuPeer {
 public:
  [[nodiscard]] std::size_t pieces(std::size_t length) const final;
  void enqueue(std::size_t length, std::size_t input_set, std::size_t piece, cudaStream_t stream) final;
  std::vector<float> output(std::size_t length) final;

 protected:
  StepwisePeer(const GpuJob& job, int padded, StateOrder h, StateOrder product, bool float_product);
  // product() = W_hh h, h as ordered; captured in a graph.
  virtual void multiply(const void* h, cudaStream_t stream) = 0;

  [[nodiscard]] void* product() const noexcept { return product_.get(); }
  [[nodiscard]] void* zero_state() const noexcept { return h_.get(); }
  [[nodiscard]] const GpuJob& job() const noexcept { return job_; }
  [[nodiscard]] int padded() const noexcept { return padded_; }

 private:
  const GpuJob& job_;
  int padded_;
  StateOrder order_;                                              // of h
  CellStep step_;                                                 // what is the same in all timesteps
  DeviceArray h_, product_, c_, x_, projection_, bias_, bias_n_;  // h_ [T + 1], the first of zeros
  std::vector<std::unique_ptr<LtMatmul>> project_;                // whole layers: one a length
};

}  // namespace sprnn::bench
