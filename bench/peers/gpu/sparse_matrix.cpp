// The pruned weights as a sparse matrix: cuSPARSE's product and a fused cell kernel a timestep.
#include <cusparse.h>

#include <array>

#include "bench/peers/gpu/stepwise.hpp"

namespace sprnn::bench {
namespace {

void expect(cusparseStatus_t status, const char* call) {
  if (status != CUSPARSE_STATUS_SUCCESS)
    throw Error(ErrorCode::unsupported, fmt::format("{}: {}", call, cusparseGetErrorString(status)));
}

constexpr cusparseOperation_t plain = CUSPARSE_OPERATION_NON_TRANSPOSE;
constexpr float one = 1.0F, zero = 0.0F;

// W_hh in CSR and COO at once: they share columns and values.
class SparseWeights {
 public:
  explicit SparseWeights(const GpuJob& job) : rows_(job.gates() * job.hidden()), cols_(job.hidden()) {
    const Matrix& w = job.direction().w_hh;
    std::vector<std::int32_t> row_begin{0}, row, col;
    std::vector<float> value;
    for (std::int64_t r = 0; r < w.rows; ++r) {
      for (std::int64_t c = 0; c < w.cols; ++c) {
        if (w.row(r)[c] == 0.0F) continue;
        row.push_back(static_cast<std::int32_t>(r));
        col.push_back(static_cast<std::int32_t>(c));
        value.push_back(w.row(r)[c]);
      }
      row_begin.push_back(static_cast<std::int32_t>(col.size()));
    }
    count_ = static_cast<std::int64_t>(value.size());
    row_begin_ = upload(row_begin.data(), row_begin.size());
    row_ = upload(row.data(), row.size());
    col_ = upload(col.data(), col.size());
    const DeviceArray floats = upload(value.data(), value.size());
    value_ = DeviceArray(value.size() * 2);
    to_half(floats.get<float>(), value.size(), value_.get());
    bench::expect(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }

  [[nodiscard]] cusparseSpMatDescr_t describe(bool coo) const {
    cusparseSpMatDescr_t matrix = nullptr;
    expect(
        coo ? cusparseCreateCoo(&matrix, rows_, cols_, count_, row_.get(), col_.get(), value_.get(),
                                CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO, CUDA_R_16F)
            : cusparseCreateCsr(&matrix, rows_, cols_, count_, row_begin_.get(), col_.get(), value_.get(),
                                CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO, CUDA_R_16F),
        "cusparseCreate");
    return matrix;
  }

 private:
  std::int64_t rows_, cols_, count_ = 0;
  DeviceArray row_begin_, row_, col_, value_;
};

// Frees cuSPARSE's descriptions when it goes.
class SparsePeer : public StepwisePeer {
 protected:
  SparsePeer(const GpuJob& job, std::shared_ptr<const SparseWeights> weights, bool coo, StateOrder order,
             bool float_product)
      : StepwisePeer(job, job.workload.batch, order, order, float_product), weights_(std::move(weights)) {
    expect(cusparseCreate(&handle_), "cusparseCreate");
    matrix_ = weights_->describe(coo);
  }
  ~SparsePeer() override {
    cusparseDestroySpMat(matrix_);
    cusparseDestroy(handle_);
  }

  cusparseHandle_t handle_ = nullptr;
  cusparseSpMatDescr_t matrix_ = nullptr;
  DeviceArray buffer_;

 private:
  std::shared_ptr<const SparseWeights> weights_;
};

class SpMM final : public SparsePeer {
 public:
  SpMM(const GpuJob& job, std::shared_ptr<const SparseWeights> weights, cusparseSpMMAlg_t algorithm, bool coo,
       StateOrder order, bool float_product)
      : SparsePeer(job, std::move(weights), coo, order, float_product), algorithm_(algorithm) {
    const std::int64_t hidden = job.hidden(), rows = job.gates() * hidden, batch = job.workload.batch;
    const cusparseOrder_t layout = order == StateOrder::batch_outer ? CUSPARSE_ORDER_COL : CUSPARSE_ORDER_ROW;
    const bool columns = layout == CUSPARSE_ORDER_COL;
    expect(
        cusparseCreateDnMat(&h_, hidden, batch, columns ? hidden : batch, zero_state(), CUDA_R_16F, layout),
        "cusparseCreateDnMat");
    expect(cusparseCreateDnMat(&out_, rows, batch, columns ? rows : batch, product(),
                               float_product ? CUDA_R_32F : CUDA_R_16F, layout),
           "cusparseCreateDnMat");
    std::size_t bytes = 0;
    expect(cusparseSpMM_bufferSize(handle_, plain, plain, &one, matrix_, h_, &zero, out_, CUDA_R_32F,
                                   algorithm_, &bytes),
           "cusparseSpMM_bufferSize");
    buffer_ = DeviceArray(bytes);
    if (!coo) {
      expect(cusparseSpMM_preprocess(handle_, plain, plain, &one, matrix_, h_, &zero, out_, CUDA_R_32F,
                                     algorithm_, buffer_.get()),
             "cusparseSpMM_preprocess");
    }
  }
  ~SpMM() override {
    cusparseDestroyDnMat(h_);
    cusparseDestroyDnMat(out_);
  }

 private:
  void multiply(const void* h, cudaStream_t stream) override {
    expect(cusparseSetStream(handle_, stream), "cusparseSetStream");
    expect(cusparseDnMatSetValues(h_, const_cast<void*>(h)), "cusparseDnMatSetValues");
    expect(cusparseSpMM(handle_, plain, plain, &one, matrix_, h_, &zero, out_, CUDA_R_32F, algorithm_,
                        buffer_.get()),
           "cusparseSpMM");
  }

  cusparseSpMMAlg_t algorithm_;
  cusparseDnMatDescr_t h_ = nullptr, out_ = nullptr;
};

class SpMV final : public SparsePeer {
 public:
  SpMV(const GpuJob& job, std::shared_ptr<const SparseWeights> weights, cusparseSpMVAlg_t algorithm, bool coo,
       bool float_product)
      : SparsePeer(job, std::move(weights), coo, StateOrder::batch_outer, float_product),
        algorithm_(algorithm) {
    const std::int64_t hidden = job.hidden(), rows = job.gates() * hidden;
    expect(cusparseCreateDnVec(&h_, hidden, zero_state(), CUDA_R_16F), "cusparseCreateDnVec");
    expect(cusparseCreateDnVec(&out_, rows, product(), float_product ? CUDA_R_32F : CUDA_R_16F),
           "cusparseCreateDnVec");
    std::size_t bytes = 0;
    expect(cusparseSpMV_bufferSize(handle_, plain, &one, matrix_, h_, &zero, out_, CUDA_R_32F, algorithm_,
                                   &bytes),
           "cusparseSpMV_bufferSize");
    buffer_ = DeviceArray(bytes);
    if (!coo) {
      expect(cusparseSpMV_preprocess(handle_, plain, &one, matrix_, h_, &zero, out_, CUDA_R_32F, algorithm_,
                                     buffer_.get()),
             "cusparseSpMV_preprocess");
    }
  }
  ~SpMV() override {
    cusparseDestroyDnVec(h_);
    cusparseDestroyDnVec(out_);
  }

 private:
  void multiply(const void* h, cudaStream_t stream) override {
    expect(cusparseSetStream(handle_, stream), "cusparseSetStream");
    expect(cusparseDnVecSetValues(h_, const_cast<void*>(h)), "cusparseDnVecSetValues");
    expect(
        cusparseSpMV(handle_, plain, &one, matrix_, h_, &zero, out_, CUDA_R_32F, algorithm_, buffer_.get()),
        "cusparseSpMV");
  }

  cusparseSpMVAlg_t algorithm_;
  cusparseDnVecDescr_t h_ = nullptr, out_ = nullptr;
};

template <class Algorithm>
struct Named {
  const char* name;
  Algorithm algorithm;
  bool coo;
};

constexpr std::array<Named<cusparseSpMMAlg_t>, 7> matrix_algorithms{{
    {"SpMM CSR_ALG1", CUSPARSE_SPMM_CSR_ALG1, false},
    {"SpMM CSR_ALG2", CUSPARSE_SPMM_CSR_ALG2, false},
    {"SpMM CSR_ALG3", CUSPARSE_SPMM_CSR_ALG3, false},
    {"SpMM COO_ALG1", CUSPARSE_SPMM_COO_ALG1, true},
    {"SpMM COO_ALG2", CUSPARSE_SPMM_COO_ALG2, true},
    {"SpMM COO_ALG3", CUSPARSE_SPMM_COO_ALG3, true},
    {"SpMM COO_ALG4", CUSPARSE_SPMM_COO_ALG4, true},
}};
constexpr std::array<Named<cusparseSpMVAlg_t>, 4> vector_algorithms{{
    {"SpMV CSR_ALG1", CUSPARSE_SPMV_CSR_ALG1, false},
    {"SpMV CSR_ALG2", CUSPARSE_SPMV_CSR_ALG2, false},
    {"SpMV COO_ALG1", CUSPARSE_SPMV_COO_ALG1, true},
    {"SpMV COO_ALG2", CUSPARSE_SPMV_COO_ALG2, true},
}};

}  // namespace

GpuPeerKind sparse_matrix_peer(const GpuJob& job) {
  int version = 0;
  cusparseHandle_t handle = nullptr;
  expect(cusparseCreate(&handle), "cusparseCreate");
  cusparseGetVersion(handle, &version);
  cusparseDestroy(handle);
  GpuPeerKind kind{"cuSPARSE + cell kernel", fmt::format("cuSPARSE {}", version), {}};
  const auto weights = std::make_shared<const SparseWeights>(job);
  const auto add = [&](const std::string& name, auto make) {
    kind.configurations.push_back({name, {Launch::graph}, make});
  };
  for (const bool float_product : {false, true}) {
    const std::string tail = fmt::format(", product in {}", float_product ? "fp32" : "fp16");
    for (const auto& [name, algorithm, coo] : matrix_algorithms) {
      for (const StateOrder order : {StateOrder::batch_outer, StateOrder::batch_inner}) {
        const char* layout = order == StateOrder::batch_outer ? ", columns" : ", rows";
        if (order == StateOrder::batch_inner && job.workload.batch == 1) continue;  // the same memory
        const cusparseSpMMAlg_t chosen = algorithm;
        const bool as_coo = coo;
        add(name + std::string(layout) + tail, [&job, weights, chosen, as_coo, order, float_product] {
          return std::make_shared<SpMM>(job, weights, chosen, as_coo, order, float_product);
        });
      }
    }
    if (job.workload.batch > 1) continue;
    for (const auto& [name, algorithm, coo] : vector_algorithms) {
      const cusparseSpMVAlg_t chosen = algorithm;
      const bool as_coo = coo;
      add(name + tail, [&job, weights, chosen, as_coo, float_product] {
        return std::make_shared<SpMV>(job, weights, chosen, as_coo, float_product);
      });
    }
  }
  return kind;
}

}  // namespace sprnn::bench
