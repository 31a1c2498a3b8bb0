// A rival on the GPU, in each of its configurations: the best one counts.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "bench/contestant.hpp"
#include "bench/peers/gpu/cuda.hpp"
#include "bench/peers/peer.hpp"

namespace sprnn::bench {

// The layer and its input on the GPU, in fp16 and in fp32 (the same numbers), for all peers of a case.
struct GpuJob {
  GpuJob(const Model& model, const Workload& workload, bool whole_layer);

  const Model& model;
  const Workload& workload;
  bool whole_layer;  // else W_ih is one identity a gate, and the product with it is left out
  DeviceArray w_hh_half, w_hh_float, w_ih_half, w_ih_float;  // [G*H, H]; w_ih for whole layers only
  DeviceArray x_half, x_float;                               // [T + sets - 1, B, H]

  [[nodiscard]] const Direction& direction() const { return model.layers.front().directions.front(); }
  [[nodiscard]] std::int64_t hidden() const { return model.hidden_size; }
  [[nodiscard]] std::int64_t gates() const { return direction().cell.gates(); }
};

class GpuPeer {
 public:
  GpuPeer() = default;
  virtual ~GpuPeer() = default;
  GpuPeer(const GpuPeer&) = delete;
  GpuPeer& operator=(const GpuPeer&) = delete;

  // All steps of the length, from zero states, in pieces that follow each other: a graph of thousands of
  // launches runs slower than a few of hundreds.
  [[nodiscard]] virtual std::size_t pieces(std::size_t) const { return 1; }
  // Makes nothing that a graph could not capture.
  virtual void enqueue(std::size_t length, std::size_t input_set, std::size_t piece, cudaStream_t stream) = 0;
  // [T, B, H] of the last run, which was of this length.
  [[nodiscard]] virtual std::vector<float> output(std::size_t length) = 0;
  // What it found by searching, if it searches.
  [[nodiscard]] virtual std::string found() const { return {}; }
};

enum class Launch { eager, graph };

struct GpuConfiguration {
  std::string name;  // "PERSIST_STATIC fp16, batch padded to 8"
  std::vector<Launch> launches;
  std::function<std::shared_ptr<GpuPeer>()> make;  // throws Error: the peer refuses
};

struct GpuPeerKind {
  std::string name;  // "cuDNN"
  std::string version;
  std::vector<GpuConfiguration> configurations;
};

// `job` must outlive what they make.
[[nodiscard]] GpuPeerKind cudnn_peer(const GpuJob& job);
[[nodiscard]] GpuPeerKind dense_gemm_peer(const GpuJob& job);
[[nodiscard]] GpuPeerKind sparse_matrix_peer(const GpuJob& job);

// A peer launched in one way and timed by the GPU's clock.
class GpuPeerContestant final : public Contestant {
 public:
  GpuPeerContestant(std::shared_ptr<GpuPeer> peer, Launch launch, const Workload& workload);
  ~GpuPeerContestant() override;

  double run(std::size_t length, std::size_t input_set) override;
  std::vector<float> output() override { return peer_->output(last_length_); }
  void wake() override {}
  void sleep() override {}  // run() has waited for the GPU
  [[nodiscard]] const GpuPeer& peer() const noexcept { return *peer_; }

 private:
  using Graphs = std::vector<cudaGraphExec_t>;  // one a piece
  [[nodiscard]] const Graphs& captured(std::size_t length, std::size_t input_set);
  [[nodiscard]] cudaGraphExec_t capture(std::size_t length, std::size_t input_set, std::size_t piece);

  std::shared_ptr<GpuPeer> peer_;
  Launch launch_;
  std::size_t input_sets_, last_length_ = 0;
  std::vector<Graphs> graphs_;  // [length][input set], made when first wanted
  cudaStream_t stream_ = nullptr;
  cudaEvent_t begin_ = nullptr, end_ = nullptr;
};

// The batches that a library might like better: as it is, and padded to 8 and to 16.
[[nodiscard]] std::vector<int> padded_batches(int batch);
// [steps, padded, H] in fp16 or fp32 on the GPU -> the first `batch` entries of each step.
[[nodiscard]] std::vector<float> download_steps(const DeviceArray& y, bool half, std::int64_t steps,
                                                int padded, int batch, std::int64_t hidden);
// The input with each step's batch padded by zeros.
[[nodiscard]] DeviceArray padded_input(const GpuJob& job, bool half, int padded);

}  // namespace sprnn::bench
