// The recurrent product of one timestep from packed fragments: each warp its steps in order, then the warps
// in order, then the rest that is gathered. Where the kernel unrolls late steps it adds them in another order
// (kernels/late_order.cuh), so the last bits of sums may differ there.
#pragma once

#include <optional>
#include <vector>

#include "engines/interpreter/gather_product.hpp"
#include "pack/mma_view.hpp"

namespace sprnn::interpreter {

class MmaProduct final : public RecurrentProduct {
 public:
  MmaProduct(const mma::View& view, DType dtype, int group_batch);

  // Sums are in fp32, whatever the state.
  void run(const StateImage& state, int entries, bool bounded) override;
  [[nodiscard]] const float* sums(int cta, int local_row) const override;

 private:
  [[nodiscard]] float* tile_sums(int cta, int tile);  // [row][entry]

  mma::View view_;
  std::optional<GatherProduct> rest_;
  std::optional<StateImage> staged_;  // as the rest reads it
  DType dtype_;
  std::size_t group_batch_;
  std::vector<float> sums_;       // [cta][tile][row][entry]
  std::vector<float> warp_sums_;  // [row][entry]
};

}  // namespace sprnn::interpreter
