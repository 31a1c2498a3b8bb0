// The kernel behind a matrix product in a hand-written recurrence: adds input and bias, updates the cell and
// writes h, all in one, one thread an entry.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

namespace sprnn::bench {

enum class CellUpdate { tanh, relu, gru, lstm };

struct CellStep {
  const void* product = nullptr;  // W_hh h: fp16 or fp32, an entry at unit * .. + batch * ..
  bool product_is_float = false;
  std::int64_t product_unit = 0, product_batch = 0;
  const void* x = nullptr;  // fp16, [B][..], gate g at g * x_gate
  std::int64_t x_batch = 0, x_gate = 0;
  const float* bias = nullptr;     // [G*H], b_ih + b_hh, but b_ih alone for the n of a GRU
  const float* bias_n = nullptr;   // [H], b_hh of that n
  float* c = nullptr;              // [B][H], lstm
  const void* h_before = nullptr;  // fp16, as h
  void* h = nullptr;
  std::int64_t h_unit = 0, h_batch = 0;
  int hidden = 0, batch = 0;
  bool first = false;  // c is zero, whatever it holds
};

// Launching it while the product still runs (programmatic dependent launch) was tried on an H100: the
// libraries' products do not trigger it, and a timestep took 0.1 to 0.5 us longer.
void launch_cell(CellUpdate cell, const CellStep& step, cudaStream_t stream);

void transpose_half(const void* from, int rows, int columns, void* to);
void to_half(const float* from, std::size_t count, void* to);
void to_float(const void* from, std::size_t count, float* to);

}  // namespace sprnn::bench
