#include "engines/cuda/matmul.hpp"

#include <fmt/format.h>

#include "engines/cuda/cublaslt.hpp"
#include "sprnn/error.hpp"

namespace sprnn::cuda {

namespace {

constexpr std::size_t workspace_bytes = std::size_t{4} << 20;

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
