// What kernels/arguments.cuh says, on the host's side.
#pragma once

#include <cstdint>

#include "engines/cuda/driver.hpp"

namespace sprnn::cuda {

struct MatrixArrays {
  DevicePointer registers = 0, shared = 0, l2 = 0, sum_of_group = 0, sums_of_row = 0;
};

struct Arguments {
  MatrixArrays hh, hr, rest;
  DevicePointer unit_map = 0, output_map = 0, position = 0, projection = 0, n_bias = 0, lengths = 0, h = 0,
                c = 0, y = 0;
  std::int64_t y_time = 0, y_batch = 0;
  DevicePointer ring = 0, control = 0, side_of_sm = 0, status = 0, unbounded = 0;
  std::int64_t limit = 0, rendezvous_limit = 0;
  std::int64_t time_begin = 0;
  std::int32_t roles = 0, near_roles = 0, poll_wait = 0;
  std::int32_t steps = 0, batch = 0, first_entry = 0, reverse = 0, hidden = 0, outputs = 0, for_unbounded = 0;
};

// Words of `control` before the barriers, two a group.
inline constexpr std::size_t control_words = 4;

struct Status {
  std::uint32_t aborted = 0, timestep = 0, cta = 0, word = 0;
  DevicePointer on_host = 0;
};
inline constexpr std::uint32_t abort_rendezvous = 2, no_word = ~0U;  // it waited for all words together

}  // namespace sprnn::cuda
