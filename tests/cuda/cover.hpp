// The plans that the kernel is compiled for without a GPU: some 240 whose problems and switches meet in every
// pair, and cell, type, batch and density in every three, and 320 draws for tensor cores.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sprnn/plan.hpp"
#include "support/random_model.hpp"

namespace sprnn::test {

struct CoverCase {
  ModelSpec spec;
  int batch = 1;
  std::string device;    // "a100", "h100"
  int architecture = 0;  // 0: sm_80, 1: sm_90, 2: the newest that NVRTC knows
  GpuWishes wishes;
  bool tagged = false;  // compiled for a state that no stamp can carry
};
[[nodiscard]] std::string to_string(const CoverCase& c);

// For one architecture each; the same on every machine.
[[nodiscard]] std::vector<CoverCase> cover();
// Draws for the strategies on tensor cores, which have fewer choices.
[[nodiscard]] std::vector<CoverCase> mma_cover();
// Every cell, type, batch, density and size with each other, for all architectures; the switches by turns.
[[nodiscard]] std::vector<CoverCase> full_matrix();

}  // namespace sprnn::test
