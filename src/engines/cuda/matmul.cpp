#include "engines/cuda/matmul.hpp"

#include <fmt/format.h>

#include "engines/cuda/library.hpp"
#include "sprnn/error.hpp"

namespace sprnn::cuda {

namespace {

// cublasLt.h, cublas_api.h and library_types.h, the part that is used.
constexpr int compute_32f = 68;
constexpr int real_32f = 0, real_16f = 2, real_16bf = 14;
constexpr int operation_t = 1;
constexpr int desc_transa = 3, desc_epilogue = 7, desc_bias_pointer = 8, desc_bias_type = 26;
constexpr int epilogue_bias = 4;
constexpr int preference_workspace = 1, preference_reduction_mask = 3;

constexpr std::size_t workspace_bytes = std::size_t{4} << 20;

struct Heuristic {  // cublasLtMatmulHeuristicResult_t
  std::array<std::uint64_t, 8> algorithm{};
  std::size_t workspace = 0;
  int state = 0;
  float waves = 0;
  std::array<int, 4> reserved{};
};

struct CublasLt {
  Library library{{"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"},
                  "cuBLASLt, which projects the input,"};
  int (*create)(void** handle) = nullptr;
  int (*desc_create)(void** desc, int compute, int scale_type) = nullptr;
  int (*desc_destroy)(void* desc) = nullptr;
  int (*desc_set)(void* desc, int attribute, const void* value, std::size_t size) = nullptr;
  int (*layout_create)(void** layout, int type, std::uint64_t rows, std::uint64_t cols,
                       std::int64_t ld) = nullptr;
  int (*layout_destroy)(void* layout) = nullptr;
  int (*preference_create)(void** preference) = nullptr;
  int (*preference_destroy)(void* preference) = nullptr;
  int (*preference_set)(void* preference, int attribute, const void* value, std::size_t size) = nullptr;
  int (*heuristic)(void* handle, void* desc, void* a, void* b, void* c, void* d, void* preference, int wanted,
                   Heuristic*, int* found) = nullptr;
  int (*matmul)(void* handle, void* desc, const void* alpha, const void* a, void* a_layout, const void* b,
                void* b_layout, const void* beta, const void* c, void* c_layout, void* d, void* d_layout,
                const void* algorithm, void* workspace, std::size_t workspace_size, Stream) = nullptr;
  void* handle = nullptr;  // serves any context and thread

  CublasLt() {
    library.find(create, "cublasLtCreate");
    library.find(desc_create, "cublasLtMatmulDescCreate");
    library.find(desc_destroy, "cublasLtMatmulDescDestroy");
    library.find(desc_set, "cublasLtMatmulDescSetAttribute");
    library.find(layout_create, "cublasLtMatrixLayoutCreate");
    library.find(layout_destroy, "cublasLtMatrixLayoutDestroy");
    library.find(preference_create, "cublasLtMatmulPreferenceCreate");
    library.find(preference_destroy, "cublasLtMatmulPreferenceDestroy");
    library.find(preference_set, "cublasLtMatmulPreferenceSetAttribute");
    library.find(heuristic, "cublasLtMatmulAlgoGetHeuristic");
    library.find(matmul, "cublasLtMatmul");
    if (create(&handle) != 0)
      throw Error(ErrorCode::device, "cublasLtCreate failed: cuBLASLt and the driver do not match");
  }
};

const CublasLt& blas() {
  static const CublasLt loaded;
  return loaded;
}

void expect_success(int status, const char* call) {
  if (status != 0) throw Error(ErrorCode::device, fmt::format("{}: cublasStatus {}", call, status));
}

// cuBLASLt counts columns first: what is [rows][columns] here is `columns` by `rows` there.
class MatrixShape {
 public:
  MatrixShape(int type, std::int64_t rows, std::int64_t columns) {
    expect_success(blas().layout_create(&layout_, type, static_cast<std::uint64_t>(columns),
                                        static_cast<std::uint64_t>(rows), columns),
                   "cublasLtMatrixLayoutCreate");
  }
  MatrixShape(const MatrixShape&) = delete;
  MatrixShape& operator=(const MatrixShape&) = delete;
  ~MatrixShape() { blas().layout_destroy(layout_); }
  [[nodiscard]] void* get() const { return layout_; }

 private:
  void* layout_ = nullptr;
};

const void* pointer(DevicePointer p) { return reinterpret_cast<const void*>(p); }

}  // namespace

Matmul::Matmul(DType dtype, std::int64_t inputs, std::int64_t outputs, std::int64_t most_rows,
               DevicePointer bias)
    : type_(dtype == DType::fp16   ? real_16f
            : dtype == DType::bf16 ? real_16bf
                                   : real_32f),
      inputs_(inputs),
      outputs_(outputs),
      workspace_(workspace_bytes) {
  const CublasLt& lt = blas();
  expect_success(lt.desc_create(&description_, compute_32f, real_32f), "cublasLtMatmulDescCreate");
  const auto set = [&](int attribute, const auto& value) {
    expect_success(lt.desc_set(description_, attribute, &value, sizeof value),
                   "cublasLtMatmulDescSetAttribute");
  };
  set(desc_transa, operation_t);
  set(desc_epilogue, epilogue_bias);
  set(desc_bias_pointer, bias);
  set(desc_bias_type, real_32f);

  const MatrixShape weights(type_, outputs, inputs), x(type_, most_rows, inputs),
      out(real_32f, most_rows, outputs);
  void* preference = nullptr;
  expect_success(lt.preference_create(&preference), "cublasLtMatmulPreferenceCreate");
  const std::uint32_t no_split_k = 0;  // CUBLASLT_REDUCTION_SCHEME_NONE alone
  lt.preference_set(preference, preference_workspace, &workspace_bytes, sizeof workspace_bytes);
  lt.preference_set(preference, preference_reduction_mask, &no_split_k, sizeof no_split_k);
  Heuristic best;
  int found = 0;
  const int status = lt.heuristic(lt.handle, description_, weights.get(), x.get(), out.get(), out.get(),
                                  preference, 1, &best, &found);
  lt.preference_destroy(preference);
  if (status != 0 || found == 0) {
    lt.desc_destroy(description_);
    throw Error(ErrorCode::device,
                fmt::format("cuBLASLt has no {} matrix product of {} by {} (cublasStatus {})",
                            to_string(dtype), outputs, inputs, status));
  }
  algorithm_ = best.algorithm;
}

Matmul::~Matmul() { blas().desc_destroy(description_); }

void Matmul::run(DevicePointer x, std::int64_t rows, DevicePointer weights, DevicePointer out,
                 Stream stream) const {
  const MatrixShape weights_shape(type_, outputs_, inputs_), x_shape(type_, rows, inputs_),
      out_shape(real_32f, rows, outputs_);
  const float one = 1.0F, zero = 0.0F;
  expect_success(blas().matmul(blas().handle, description_, &one, pointer(weights), weights_shape.get(),
                               pointer(x), x_shape.get(), &zero, pointer(out), out_shape.get(),
                               reinterpret_cast<void*>(out), out_shape.get(), &algorithm_,
                               reinterpret_cast<void*>(workspace_.get()), workspace_bytes, stream),
                 "cublasLtMatmul");
}

}  // namespace sprnn::cuda
