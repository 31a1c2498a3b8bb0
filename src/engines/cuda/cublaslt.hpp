// The part of cuBLASLt that sprnn uses, declared here so that building needs no toolkit. tests/cuda checks
// these declarations against cublasLt.h where there is one.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "engines/cuda/driver.hpp"
#include "sprnn/error.hpp"

namespace sprnn::cuda {

inline constexpr int compute_32f = 68;
inline constexpr int real_32f = 0, real_16f = 2, real_16bf = 14;
inline constexpr int operation_t = 1;
inline constexpr int desc_transa = 3, desc_epilogue = 7, desc_bias_pointer = 8, desc_bias_type = 26;
inline constexpr int epilogue_bias = 4;
inline constexpr int preference_workspace = 1, preference_reduction_mask = 3;

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

}  // namespace sprnn::cuda
