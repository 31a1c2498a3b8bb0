// Random numbers that are the same on every machine (the standard's distributions are not).
#pragma once

#include <random>

namespace sprnn::bench {

// U(-1, 1) on a grid of odd multiples of 2^-23: never zero.
[[nodiscard]] inline float uniform(std::mt19937_64& random) {
  const auto bits = static_cast<std::int32_t>(random() >> 41U);  // 23 bits
  return static_cast<float>(2 * bits + 1 - (1 << 23)) * 0x1p-23F;
}

}  // namespace sprnn::bench
