// W_ih x of one timestep, in fp32, the columns in ascending order whatever the storage.
#pragma once

#include <vector>

#include "pack/gpu_sections.hpp"

namespace sprnn::interpreter {

class InputProjection {
 public:
  InputProjection(const std::vector<Section>& sections, const GpuPlan& plan, const Problem& problem,
                  const DirectionProblem& direction);

  // x[entry * x_stride + column], rounded to the dtype on reading.
  void run(const float* x, std::int64_t x_stride, int entries);
  [[nodiscard]] float at(std::int64_t row, int entry) const {
    return results_[static_cast<std::size_t>(row) * group_batch_ + static_cast<std::size_t>(entry)];
  }

 private:
  [[nodiscard]] float weight(std::int64_t index) const;

  DType dtype_;
  std::int64_t rows_, columns_;
  std::size_t group_batch_;
  const Section* values_;
  const std::int64_t* row_begin_ = nullptr;  // csr
  const std::int32_t* column_ = nullptr;     // csr
  std::vector<float> x_;                     // [entry][column]
  std::vector<float> results_;               // [row][entry]
};

}  // namespace sprnn::interpreter
