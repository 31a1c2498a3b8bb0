#include <cuda_fp16.h>

#include "bench/peers/gpu/cell.hpp"
#include "bench/peers/gpu/cuda.hpp"

namespace sprnn::bench {
namespace {

// One instruction, as our own kernels have it.
__device__ float fast_tanh(float x) {
  float y;
  asm("tanh.approx.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
__device__ float sigmoid(float x) { return fmaf(0.5F, fast_tanh(0.5F * x), 0.5F); }

template <class Product, CellUpdate cell>
__global__ void update_cell(CellStep step) {
  constexpr int gates = cell == CellUpdate::lstm ? 4 : cell == CellUpdate::gru ? 3 : 1;
  const int index = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (index >= step.hidden * step.batch) return;
  // Neighbouring threads follow the order of the product in memory.
  const bool units_first = step.product_unit == 1;
  const int unit = units_first ? index % step.hidden : index / step.batch;
  const int entry = units_first ? index / step.hidden : index % step.batch;
  const std::int64_t at_h = unit * step.h_unit + entry * step.h_batch;
  float a[gates], u[gates];
  float c = 0.0F;
  const auto* x = static_cast<const __half*>(step.x) + entry * step.x_batch + unit;
  for (int g = 0; g < gates; ++g) {
    a[g] = __half2float(x[g * step.x_gate]) + step.bias[g * step.hidden + unit];
    u[g] = cell == CellUpdate::gru && g == 2 ? step.bias_n[unit] : 0.0F;
  }
  if (cell == CellUpdate::lstm && !step.first) c = step.c[entry * step.hidden + unit];
  const auto* product = static_cast<const Product*>(step.product) + entry * step.product_batch;
  for (int g = 0; g < gates; ++g) {
    u[g] +=
        static_cast<float>(product[(static_cast<std::int64_t>(g) * step.hidden + unit) * step.product_unit]);
  }
  float h;
  if constexpr (cell == CellUpdate::tanh) {
    h = fast_tanh(a[0] + u[0]);
  } else if constexpr (cell == CellUpdate::relu) {
    h = fmaxf(a[0] + u[0], 0.0F);
  } else if constexpr (cell == CellUpdate::gru) {
    const float r = sigmoid(a[0] + u[0]), z = sigmoid(a[1] + u[1]), n = fast_tanh(a[2] + r * u[2]);
    h = n + z * (__half2float(static_cast<const __half*>(step.h_before)[at_h]) - n);
  } else {
    c = sigmoid(a[1] + u[1]) * c + sigmoid(a[0] + u[0]) * fast_tanh(a[2] + u[2]);
    step.c[entry * step.hidden + unit] = c;
    h = sigmoid(a[3] + u[3]) * fast_tanh(c);
  }
  static_cast<__half*>(step.h)[at_h] = __float2half_rn(h);
}

template <class Product>
auto kernel_of(CellUpdate cell) {
  switch (cell) {
    case CellUpdate::tanh:
      return update_cell<Product, CellUpdate::tanh>;
    case CellUpdate::relu:
      return update_cell<Product, CellUpdate::relu>;
    case CellUpdate::gru:
      return update_cell<Product, CellUpdate::gru>;
    case CellUpdate::lstm:
      break;
  }
  return update_cell<Product, CellUpdate::lstm>;
}

template <class From, class To>
__global__ void convert(const From* from, std::size_t count, To* to) {
  const std::size_t stride = static_cast<std::size_t>(gridDim.x) * blockDim.x;
  for (std::size_t i = static_cast<std::size_t>(blockIdx.x) * blockDim.x + threadIdx.x; i < count;
       i += stride) {
    to[i] = static_cast<To>(from[i]);
  }
}

__global__ void transpose(const __half* from, int rows, int columns, __half* to) {
  __shared__ __half tile[32][33];
  const int column = static_cast<int>(blockIdx.x * 32 + threadIdx.x);
  const int row = static_cast<int>(blockIdx.y * 32);
  for (int i = static_cast<int>(threadIdx.y); i < 32 && row + i < rows; i += 8) {
    if (column < columns) tile[i][threadIdx.x] = from[static_cast<std::size_t>(row + i) * columns + column];
  }
  __syncthreads();
  const int to_column = row + static_cast<int>(threadIdx.x);
  for (int i = static_cast<int>(threadIdx.y); i < 32; i += 8) {
    const int to_row = static_cast<int>(blockIdx.x * 32) + i;
    if (to_row < columns && to_column < rows)
      to[static_cast<std::size_t>(to_row) * rows + to_column] = tile[threadIdx.x][i];
  }
}

}  // namespace

void launch_cell(CellUpdate cell, const CellStep& step, cudaStream_t stream) {
  constexpr int threads = 128;
  const auto kernel = step.product_is_float ? kernel_of<float>(cell) : kernel_of<__half>(cell);
  kernel<<<static_cast<unsigned>((step.hidden * step.batch + threads - 1) / threads), threads, 0, stream>>>(
      step);
  expect(cudaGetLastError(), "launch_cell");
}

void transpose_half(const void* from, int rows, int columns, void* to) {
  const dim3 threads(32, 8);
  const dim3 blocks(static_cast<unsigned>((columns + 31) / 32), static_cast<unsigned>((rows + 31) / 32));
  transpose<<<blocks, threads>>>(static_cast<const __half*>(from), rows, columns, static_cast<__half*>(to));
  expect(cudaGetLastError(), "transpose_half");
}

void to_half(const float* from, std::size_t count, void* to) {
  convert<<<1024, 256>>>(from, count, static_cast<__half*>(to));
  expect(cudaGetLastError(), "to_half");
}

void to_float(const void* from, std::size_t count, float* to) {
  convert<<<1024, 256>>>(static_cast<const __half*>(from), count, to);
  expect(cudaGetLastError(), "to_float");
}

}  // namespace sprnn::bench
