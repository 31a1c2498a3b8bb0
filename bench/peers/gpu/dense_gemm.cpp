// The pruned weights as a dense matrix: cuBLASLt's product and a fused cell kernel a timestep.
#include "bench/peers/gpu/stepwise.hpp"

namespace sprnn::bench {
namespace {

// How the matrices lie in memory; a library may like one way better than another.
struct Form {
  const char* name;
  bool transposed_weights, transposed_product;
};
constexpr Form forms[] = {{"W h", false, false},
                          {"W h, W by columns", true, false},
                          {"h W", false, true},
                          {"h W, W by columns", true, true}};

class DenseGemm final : public StepwisePeer {
 public:
  DenseGemm(const GpuJob& job, int padded, bool float_product, const Form& form)
      : StepwisePeer(job, padded, StateOrder::batch_outer,
                     form.transposed_product ? StateOrder::batch_inner : StateOrder::batch_outer,
                     float_product) {
    const std::int64_t hidden = job.hidden(), rows = job.gates() * hidden;
    if (form.transposed_weights) {
      transposed_ = DeviceArray(static_cast<std::size_t>(rows * hidden) * 2);
      transpose_half(job.w_hh_half.get(), static_cast<int>(rows), static_cast<int>(hidden),
                     transposed_.get());
      expect(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    }
    weights_ = form.transposed_weights ? transposed_.get() : job.w_hh_half.get();
    matmul_ = std::make_unique<LtMatmul>(
        LtShape{padded, hidden, rows, float_product, form.transposed_weights, form.transposed_product},
        zero_state(), weights_, product());
  }

  [[nodiscard]] std::string found() const override { return matmul_->found(); }

 private:
  void multiply(const void* h, cudaStream_t stream) override { matmul_->run(h, weights_, product(), stream); }

  DeviceArray transposed_;
  const void* weights_ = nullptr;
  std::unique_ptr<LtMatmul> matmul_;
};

}  // namespace

GpuPeerKind dense_gemm_peer(const GpuJob& job) {
  GpuPeerKind kind{"cuBLASLt + cell kernel", fmt::format("cuBLASLt {}", cublasLtGetVersion()), {}};
  for (const int padded : padded_batches(job.workload.batch)) {
    for (const bool float_product : {false, true}) {
      for (const Form& form : forms) {
        const std::string name =
            fmt::format("{}, product in {}{}", form.name, float_product ? "fp32" : "fp16",
                        padded > job.workload.batch ? fmt::format(", batch padded to {}", padded) : "");
        kind.configurations.push_back({name, {Launch::graph}, [&job, padded, float_product, &form] {
                                         return std::make_shared<DenseGemm>(job, padded, float_product, form);
                                       }});
      }
    }
  }
  return kind;
}

}  // namespace sprnn::bench
