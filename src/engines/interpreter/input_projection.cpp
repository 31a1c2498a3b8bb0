#include "engines/interpreter/input_projection.hpp"

#include <cmath>

namespace sprnn::interpreter {

InputProjection::InputProjection(const std::vector<Section>& sections, const GpuPlan& plan,
                                 const Problem& problem, const DirectionProblem& direction)
    : dtype_(problem.dtype),
      rows_(direction.w_ih.rows),
      columns_(direction.w_ih.cols),
      group_batch_(static_cast<std::size_t>(plan.group_batch)),
      x_(group_batch_ * static_cast<std::size_t>(columns_)),
      results_(group_batch_ * static_cast<std::size_t>(rows_)) {
  if (plan.w_ih == InputStorage::dense) {
    values_ = &gpu::find_section(sections, "w_ih.dense");
  } else {
    values_ = &gpu::find_section(sections, "w_ih.values");
    row_begin_ = gpu::find_section(sections, "w_ih.row_begin").as<std::int64_t>();
    column_ = gpu::find_section(sections, "w_ih.columns").as<std::int32_t>();
  }
}

float InputProjection::weight(std::int64_t index) const {
  return from_bits(dtype_, dtype_ == DType::fp32 ? values_->as<std::uint32_t>()[index]
                                                 : std::uint32_t{values_->as<std::uint16_t>()[index]});
}

void InputProjection::run(const float* x, std::int64_t x_stride, int entries) {
  for (int b = 0; b < entries; ++b) {
    for (std::int64_t i = 0; i < columns_; ++i) {
      x_[static_cast<std::size_t>(b * columns_ + i)] = round_to(dtype_, x[b * x_stride + i]);
    }
  }
  for (std::int64_t row = 0; row < rows_; ++row) {
    float* sum = results_.data() + static_cast<std::size_t>(row) * group_batch_;
    std::fill_n(sum, entries, 0.0F);
    const std::int64_t begin = row_begin_ == nullptr ? row * columns_ : row_begin_[row];
    const std::int64_t end = row_begin_ == nullptr ? begin + columns_ : row_begin_[row + 1];
    for (std::int64_t i = begin; i < end; ++i) {
      const float value = weight(i);
      if (!is_nonzero(value)) continue;  // a pruned weight never meets a NaN of x
      const std::int64_t column = column_ == nullptr ? i - begin : column_[i];
      for (int b = 0; b < entries; ++b) {
        sum[b] = std::fma(value, x_[static_cast<std::size_t>(b * columns_ + column)], sum[b]);
      }
    }
  }
}

}  // namespace sprnn::interpreter
