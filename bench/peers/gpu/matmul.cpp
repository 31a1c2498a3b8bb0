#include "bench/peers/gpu/matmul.hpp"

#include <algorithm>
#include <array>
#include <limits>

namespace sprnn::bench {
namespace {

constexpr std::size_t workspace_bytes = std::size_t{32} << 20;

void expect(cublasStatus_t status, const char* call) {
  if (status != CUBLAS_STATUS_SUCCESS)
    throw Error(ErrorCode::unsupported, fmt::format("{}: {}", call, cublasLtGetStatusName(status)));
}

}  // namespace

LtMatmul::LtMatmul(const LtShape& shape, const void* x, const void* weights, void* out)
    : swapped_(shape.transposed_out), workspace_(workspace_bytes) {
  expect(cublasLtCreate(&handle_), "cublasLtCreate");
  expect(cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
  // It counts columns first: what is [rows][columns] here is `columns` by `rows` there, and the first operand
  // has the columns of what comes out.
  const cublasOperation_t weights_as = shape.transposed_weights == swapped_ ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t x_as = swapped_ ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t first = swapped_ ? x_as : weights_as, second = swapped_ ? weights_as : x_as;
  expect(cublasLtMatmulDescSetAttribute(description_, CUBLASLT_MATMUL_DESC_TRANSA, &first, sizeof first),
         "cublasLtMatmulDescSetAttribute");
  expect(cublasLtMatmulDescSetAttribute(description_, CUBLASLT_MATMUL_DESC_TRANSB, &second, sizeof second),
         "cublasLtMatmulDescSetAttribute");
  const auto describe = [](cublasLtMatrixLayout_t& layout, cudaDataType_t type, std::int64_t r,
                           std::int64_t c) {
    expect(cublasLtMatrixLayoutCreate(&layout, type, static_cast<std::uint64_t>(c),
                                      static_cast<std::uint64_t>(r), c),
           "cublasLtMatrixLayoutCreate");
  };
  const bool t = shape.transposed_weights;
  describe(weights_, CUDA_R_16F, t ? shape.inputs : shape.outputs, t ? shape.outputs : shape.inputs);
  describe(x_, CUDA_R_16F, shape.rows, shape.inputs);
  describe(out_, shape.float_out ? CUDA_R_32F : CUDA_R_16F, swapped_ ? shape.outputs : shape.rows,
           swapped_ ? shape.rows : shape.outputs);

  cublasLtMatmulPreference_t preference = nullptr;
  expect(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace_bytes,
                                       sizeof workspace_bytes);
  std::array<cublasLtMatmulHeuristicResult_t, 32> proposed{};
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(
      handle_, description_, swapped_ ? x_ : weights_, swapped_ ? weights_ : x_, out_, out_, preference,
      static_cast<int>(proposed.size()), proposed.data(), &tried_);
  cublasLtMatmulPreferenceDestroy(preference);
  expect(status, "cublasLtMatmulAlgoGetHeuristic");
  microseconds_ = std::numeric_limits<double>::infinity();
  for (int i = 0; i < tried_; ++i) {
    const auto& candidate = proposed[static_cast<std::size_t>(i)];
    const double time = time_of(candidate.algo, x, weights, out);
    if (time >= microseconds_) continue;
    microseconds_ = time;
    algorithm_ = candidate.algo;
  }
  if (microseconds_ == std::numeric_limits<double>::infinity())
    throw Error(ErrorCode::unsupported,
                fmt::format("none of the {} algorithms that cuBLASLt proposes runs", tried_));
}

LtMatmul::~LtMatmul() {
  for (const cublasLtMatrixLayout_t layout : {weights_, x_, out_}) cublasLtMatrixLayoutDestroy(layout);
  cublasLtMatmulDescDestroy(description_);
  cublasLtDestroy(handle_);
}

cublasStatus_t LtMatmul::launch(const cublasLtMatmulAlgo_t& algorithm, const void* x, const void* weights,
                                void* out, cudaStream_t stream) const {
  const float one = 1.0F, zero = 0.0F;
  return cublasLtMatmul(handle_, description_, &one, swapped_ ? x : weights, swapped_ ? x_ : weights_,
                        swapped_ ? weights : x, swapped_ ? weights_ : x_, &zero, out, out_, out, out_,
                        &algorithm, workspace_.get(), workspace_bytes, stream);
}

// As it will run: one after the other in a graph, the weights as warm in L2 as they can be. Infinite if the
// algorithm fails.
double LtMatmul::time_of(const cublasLtMatmulAlgo_t& algorithm, const void* x, const void* weights,
                         void* out) const {
  constexpr int products = 8, repeats = 3;
  constexpr double never = std::numeric_limits<double>::infinity();
  cudaStream_t stream = nullptr;
  bench::expect(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags");
  cudaEvent_t begin = nullptr, end = nullptr;
  cudaEventCreate(&begin);
  cudaEventCreate(&end);
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t ready = nullptr;
  bool works = true;
  cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed);
  for (int i = 0; i < products && works; ++i)
    works = launch(algorithm, x, weights, out, stream) == CUBLAS_STATUS_SUCCESS;
  works = cudaStreamEndCapture(stream, &graph) == cudaSuccess && works;
  works = works && cudaGraphInstantiate(&ready, graph, 0) == cudaSuccess;
  double best = never;
  for (int i = 0; i <= repeats && works; ++i) {
    cudaEventRecord(begin, stream);
    cudaGraphLaunch(ready, stream);
    cudaEventRecord(end, stream);
    works = cudaStreamSynchronize(stream) == cudaSuccess;
    float milliseconds = 0.0F;
    cudaEventElapsedTime(&milliseconds, begin, end);
    if (i > 0) best = std::min(best, 1e3 * static_cast<double>(milliseconds) / products);
  }
  if (ready != nullptr) cudaGraphExecDestroy(ready);
  if (graph != nullptr) cudaGraphDestroy(graph);
  cudaEventDestroy(begin);
  cudaEventDestroy(end);
  cudaStreamDestroy(stream);
  (void)cudaGetLastError();
  return works ? best : never;
}

void LtMatmul::run(const void* x, const void* weights, void* out, cudaStream_t stream) const {
  expect(launch(algorithm_, x, weights, out, stream), "cublasLtMatmul");
}

std::string LtMatmul::found() const {
  const auto get = [&](cublasLtMatmulAlgoConfigAttributes_t attribute) {
    std::uint32_t value = 0;
    std::size_t written = 0;
    cublasLtMatmulAlgoConfigGetAttribute(&algorithm_, attribute, &value, sizeof value, &written);
    return value;
  };
  return fmt::format("algorithm {} tile {} split-k {}, {:.2f} us alone, the best of {}",
                     get(CUBLASLT_ALGO_CONFIG_ID), get(CUBLASLT_ALGO_CONFIG_TILE_ID),
                     get(CUBLASLT_ALGO_CONFIG_SPLITK_NUM), microseconds_, tried_);
}

}  // namespace sprnn::bench
