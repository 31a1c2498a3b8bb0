// What the host passes to the kernel (src/engines/cuda/arguments.hpp is the same on its side).
#pragma once

#include "types.cuh"
#include "wait.cuh"

struct MatrixArrays {
  const u32* registers;  // [CTA] blocks, as the strategy's MatrixLayout lays them out
  const u32* shared;
  const u32* l2;
  // Of pairs alone:
  const int* sum_of_group;  // [CTA][pass][row group]: the place of its sum, -1 for none
  const u32* sums_of_row;   // [CTA][row]: the first place << 8 | places
};

// Words of `control`, zero at the start.
struct Control {
  static constexpr int claims = 0;   // CTAs that have come, of each side of the L2
  static constexpr int surplus = 2;  // of them, those that found their side's roles taken
  static constexpr int arrived = 3;  // at the rendezvous
  static constexpr int barriers = 4;  // of each group's exchange of h, then of each group's exchange of the unprojected output
};

struct Arguments {
  MatrixArrays hh, hr;
  MatrixArrays rest;        // of hh, what is gathered beside sparse tensor cores
  const int* unit_map;      // [CTA][unit]: whose cells a CTA updates
  const int* output_map;    // the same of h; the unit map unless there is a projection
  const int* position;      // of each output: its index in output_map
  const float* projection;  // [time][batch][CTA][unit][gate]: W_ih x and the biases
  const float* n_bias;      // [H]: b_hh of a gru's n
  const i64* lengths;       // [batch] of the whole sequence, or null
  float* h;                 // [batch][outputs] in and out
  float* c;                 // [batch][hidden] in and out
  void* y;
  i64 y_time, y_batch;  // in elements
  u64* ring;            // zero at the start
  u32* control;
  const u8* side_of_sm;  // [SM], or null: all are side 0
  Status* status;
  const u32* unbounded;         // null, or: the launch does nothing unless this word is its `for_unbounded`
  i64 limit, rendezvous_limit;  // nanoseconds of one wait
  i64 time_begin;               // of this launch within the sequence
  int roles, near_roles;  // CTAs that work, a multiple of CTAS; of them on side 0
  int poll_wait;          // cycles between a thread's own store and its first poll
  int steps, batch, first_entry, reverse, hidden, outputs, for_unbounded;
};
