// The arithmetic of the engine, compiled for several instruction sets (kernels.cpp), and its scalar parts
// for what is rare: non-finite input and the cells that only ONNX has (rare_path.cpp).
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "pack/cpu_layout.hpp"
#include "sprnn/cell.hpp"
#include "sprnn/dtype.hpp"

namespace sprnn::cpu {

// out = W x + add for the groups [group_begin, group_end) and each sample (a timestep's batch entry).
struct ProductArgs {
  const MatrixView* matrix = nullptr;
  std::int64_t group_begin = 0, group_end = 0;
  // By rows: value i of sample s is x[s * x_stride + i], readable and finite up to the number of columns
  // rounded up to 16, plus 16. By columns (`row` layout only): x[i * x_stride + s], 64-byte aligned, readable
  // up to the samples rounded up to the kernels' lanes.
  const float* x = nullptr;
  std::int64_t x_stride = 0;
  bool x_by_columns = false;
  std::int64_t samples = 0;
  // Lane l of group g and sample s: [s * stride + (g - group_begin) * 16 + l]. A null add is +0.0.
  const float* add = nullptr;
  std::int64_t add_stride = 0;
  float* out = nullptr;
  std::int64_t out_stride = 0;
};

// One step of the cell for the unit groups [begin, end), each of 16 units, and each batch entry. Value of
// unit u and entry b: h[b * h_stride + u], c[b * c_stride + u], pre[b * pre_stride + gate * gate_stride + u].
// For a gru, pre has four gates: r, z, n without and n with the recurrent product.
struct UpdateArgs {
  const Cell* cell = nullptr;
  const float* peephole = nullptr;  // [3][units] or null
  std::int64_t units = 0;
  std::int64_t begin = 0, end = 0;
  std::int64_t batch = 0;
  const float* pre = nullptr;
  std::int64_t pre_stride = 0, gate_stride = 0;
  const float* h_in = nullptr;
  float* h_out = nullptr;
  std::int64_t h_stride = 0;
  float* c = nullptr;
  std::int64_t c_stride = 0;
  DType dtype = DType::fp32;  // that h is rounded to
  // Entry b takes part if lengths is null or step < lengths[b]; of the others, h and c stay.
  const std::int64_t* lengths = nullptr;
  std::int64_t step = 0;
  [[nodiscard]] bool active(std::int64_t b) const { return lengths == nullptr || step < lengths[b]; }
};

struct Kernels {
  std::string_view isa;
  int lanes = 0;  // of a vector of floats, at most 16
  void (*multiply)(const ProductArgs&) noexcept;
  // The cells of PyTorch. True if an h is not finite.
  bool (*update)(const UpdateArgs&) noexcept;
  // out[i] = in[i] rounded. True if a value is not finite.
  bool (*round)(const float* in, float* out, std::int64_t count, DType dtype) noexcept;
  // out[i * out_stride + s] = in[s * in_stride + i] for s < samples, i < count.
  void (*transpose)(const float* in, std::int64_t in_stride, std::int64_t samples, std::int64_t count,
                    float* out, std::int64_t out_stride) noexcept;
};

// For each instruction set of this processor, the best first.
[[nodiscard]] const std::vector<const Kernels*>& all_kernels();

// The same product where x may hold infinities and NaNs: values that are +0.0 (pruned, or padding) are
// skipped. For finite x the result is the same, bit for bit.
void multiply_strictly(const ProductArgs& args) noexcept;

// update() for any cell. With reset_before_product, pre holds r's product when reset() is called, which
// writes r * h to h_out; then n's product of that when update_any() is called.
bool update_any(const UpdateArgs& args) noexcept;
bool reset_hidden(const UpdateArgs& args) noexcept;

}  // namespace sprnn::cpu
