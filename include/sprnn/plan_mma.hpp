// The GPU strategies dense-mma, sparse-mma and vector-mma: weights as fragments of tensor-core products
// (mma.m16n8k16), on chip as far as they fit; the hidden state of vector-mma in shared memory, that of the
// others in the registers of the warps that multiply it, but beside a rest (below) in shared memory too.
//
// Each CTA owns some units. Their rows, unit after unit, form tiles of 16; in vector-mma each those of the
// units that share columns, and empty rows up to 16. The columns of a tile go by steps of 16, shared out
// evenly to the warps; a fragment is a tile's 16 x 16 weights of one step, four registers a lane. A step
// costs the same for 1 to 8 batch entries.
//
// sparse-mma is dense-mma of rows of which 2 non-zeros in each 4 neighbouring columns are multiplied by
// sparse tensor cores: steps have 32 columns, of which a fragment holds 16 weights a row and where they
// belong (mma.sp.m16n8k32). Pattern 2:4 has no others; of any other mask the rest, non-zeros beyond two of
// four, is gathered as pairs, and both products read the state from shared memory.
//
// Many tiles or batch entries have too many sums for the registers of a warp: then the tiles are shared out
// too, to `row_parts` parts of the warps, each of which reads the whole state. With as many parts as warps a
// warp has whole rows, of whole units: it needs no other warp of its CTA for a timestep.
#pragma once

#include <bit>
#include <optional>

#include "sprnn/plan_gather.hpp"
#include "sprnn/plan_gpu.hpp"

namespace sprnn {

// Steps of a warp by where their fragments live; summed in this order.
struct MmaSteps {
  int registers = 0;
  int shared = 0;
  int l2 = 0;  // or memory, if the device's L2 has no room for those of all CTAs
  [[nodiscard]] int total() const noexcept { return registers + shared + l2; }
  bool operator==(const MmaSteps&) const = default;
};

struct MmaPlan : GpuPlan {
  bool gathered = false;  // vector-mma: each tile has columns of its own; else all columns
  bool sparse = false;    // sparse-mma: 2 of 4 of them
  int units_a_cta = 0;    // a multiple of those that share columns in vector-mma, else of 4
  // Not vector-mma: of the warps, 1, 2 or as many as there are; 2: the first half has the first half of the
  // tiles
  int row_parts = 1;
  MmaSteps steps;
  int kept_steps = 0;  // of the l2 ones, which the L2 is asked to keep where it has no room for all
  // Not vector-mma: a warp asks for the state of a step shortly before its product also where the weights are
  // on chip; else for that of all those at once.
  bool asks_late = false;
  std::optional<GatherMatrix> rest;  // sparse-mma, where it was planned for a mask that is not 2:4
  [[nodiscard]] GpuStrategy strategy() const noexcept {
    return gathered ? GpuStrategy::vector_mma : sparse ? GpuStrategy::sparse_mma : GpuStrategy::dense_mma;
  }
  bool operator==(const MmaPlan&) const = default;
};

inline constexpr int mma_tile_rows = 16;
// Of a step: what one product takes, mma.m16n8k16 or mma.sp.m16n8k32.
[[nodiscard]] constexpr int mma_step_columns(bool sparse) noexcept { return sparse ? 32 : 16; }
// Consecutive units, from a multiple of their number on, whose rows share a list of columns in vector-mma.
[[nodiscard]] constexpr int mma_sharing_units(int gates) noexcept {
  return static_cast<int>(std::bit_floor(static_cast<unsigned>(mma_tile_rows / gates)));
}

}  // namespace sprnn
