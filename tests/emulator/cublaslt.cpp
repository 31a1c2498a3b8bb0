// cuBLASLt's matrix product, as sprnn calls it: out = W^T x + bias, columns first, sums in fp32 or better.
#include <array>
#include <cstdint>
#include <cstring>

#include "emulator/float16.hpp"
#include "emulator/gpu.hpp"

using namespace sprnn::emulator;

namespace {

struct Description {
  const float* bias = nullptr;
};
struct Layout {
  int type = 0;
  std::uint64_t rows = 0, columns = 0;
  std::int64_t pitch = 0;
};
struct Heuristic {
  std::array<std::uint64_t, 8> algorithm;
  std::size_t workspace;
  int state;
  float waves;
  std::array<int, 4> reserved;
};
constexpr int bias_pointer = 8, real_16f = 2, real_16bf = 14;

double element(const void* array, int type, std::int64_t index) {
  if (type == real_16f)
    return static_cast<double>(from_fp16(static_cast<const std::uint16_t*>(array)[index]));
  if (type == real_16bf)
    return static_cast<double>(from_bf16(static_cast<const std::uint16_t*>(array)[index]));
  return static_cast<double>(static_cast<const float*>(array)[index]);
}

}  // namespace

extern "C" {

int cublasLtCreate(void** handle) {
  *handle = &gpu();
  return 0;
}
int cublasLtMatmulDescCreate(Description** description, int, int) {
  *description = new Description;
  return 0;
}
int cublasLtMatmulDescDestroy(Description* description) {
  delete description;
  return 0;
}
int cublasLtMatmulDescSetAttribute(Description* description, int attribute, const void* value, std::size_t) {
  if (attribute == bias_pointer) std::memcpy(&description->bias, value, sizeof description->bias);
  return 0;
}
int cublasLtMatrixLayoutCreate(Layout** layout, int type, std::uint64_t rows, std::uint64_t columns,
                               std::int64_t pitch) {
  *layout = new Layout{type, rows, columns, pitch};
  return 0;
}
int cublasLtMatrixLayoutDestroy(Layout* layout) {
  delete layout;
  return 0;
}
int cublasLtMatmulPreferenceCreate(void** preference) {
  *preference = &gpu();
  return 0;
}
int cublasLtMatmulPreferenceDestroy(void*) { return 0; }
int cublasLtMatmulPreferenceSetAttribute(void*, int, const void*, std::size_t) { return 0; }
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void*, int, Heuristic* best,
                                   int* found) {
  *best = Heuristic{};
  *found = 1;
  return 0;
}
int cublasLtMatmul(void*, const Description* description, const void*, const void* weights,
                   const Layout* weights_layout, const void* x, const Layout* x_layout, const void*,
                   const void*, const Layout*, void* out, const Layout* out_layout, const void*, void*,
                   std::size_t, Stream* stream) {
  enqueue(stream, [=, bias = description->bias, w = *weights_layout, in = *x_layout, to = *out_layout] {
    for (std::int64_t row = 0; row < static_cast<std::int64_t>(to.columns); ++row) {
      for (std::int64_t n = 0; n < static_cast<std::int64_t>(to.rows); ++n) {
        double sum = static_cast<double>(bias[n]);
        for (std::int64_t k = 0; k < static_cast<std::int64_t>(w.rows); ++k)
          sum += element(weights, w.type, n * w.pitch + k) * element(x, in.type, row * in.pitch + k);
        static_cast<float*>(out)[row * to.pitch + n] = static_cast<float>(sum);
      }
    }
  });
  return 0;
}

}  // extern "C"
