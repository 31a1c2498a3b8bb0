// The recurrent product of one timestep from packed pairs: each lane its slots in order, then the lanes of
// a row group by butterfly, then the parts of a row in order.
#pragma once

#include <vector>

#include "engines/interpreter/recurrent_product.hpp"
#include "pack/gather_view.hpp"

namespace sprnn::interpreter {

class GatherProduct final : public RecurrentProduct {
 public:
  GatherProduct(const gather::MatrixView& matrix, DType dtype, int group_batch);

  // Not `bounded`: four products may be more than fp16 has.
  void run(const StateImage& state, int entries, bool bounded) override;
  [[nodiscard]] const float* sums(int cta, int local_row) const override {
    return sums_.data() +
           (static_cast<std::size_t>(cta) * static_cast<std::size_t>(matrix_.layout.rows_a_cta()) +
            static_cast<std::size_t>(local_row)) *
               group_batch_;
  }

 private:
  void sum_lane(int cta, int pass, int thread, const StateImage& state, int entries, float* sum);
  void reduce_lanes(int entries);

  gather::MatrixView matrix_;
  DType dtype_;
  std::size_t group_batch_;
  bool half_sums_ = false;        // of this run
  std::vector<float> lane_sums_;  // [lane][entry]
  std::vector<float> exchanged_;  // what a lane's neighbour holds
  std::vector<float> halves_;     // [entry]: up to 4 products
  std::vector<float> sums_;       // [cta][row][entry]
  std::vector<bool> begun_;       // [row] of the CTA: a part of it has been summed
};

}  // namespace sprnn::interpreter
