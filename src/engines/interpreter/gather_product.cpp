#include "engines/interpreter/gather_product.hpp"

#include <algorithm>
#include <cmath>

#include "engines/interpreter/half.hpp"

namespace sprnn::interpreter {

GatherProduct::GatherProduct(const gather::MatrixView& matrix, DType dtype, int group_batch)
    : matrix_(matrix),
      dtype_(dtype),
      group_batch_(static_cast<std::size_t>(group_batch)),
      lane_sums_(static_cast<std::size_t>(matrix.layout.lanes) * group_batch_),
      exchanged_(lane_sums_.size()),
      halves_(group_batch_),
      sums_(static_cast<std::size_t>(matrix.layout.ctas) *
            static_cast<std::size_t>(matrix.layout.rows_a_cta()) * group_batch_),
      begun_(static_cast<std::size_t>(matrix.layout.rows_a_cta())) {}

void GatherProduct::run(const StateImage& state, int entries, bool bounded) {
  const gather::MatrixLayout& layout = matrix_.layout;
  half_sums_ = layout.half_sums && bounded;
  for (int cta = 0; cta < layout.ctas; ++cta) {
    std::fill(begun_.begin(), begun_.end(), false);
    for (int pass = 0; pass < static_cast<int>(layout.passes.size()); ++pass) {
      for (int group = 0; group < layout.row_groups(); ++group) {
        const std::int32_t row = matrix_.local_row(cta, pass, group);
        if (row < 0) continue;
        for (int lane = 0; lane < layout.lanes; ++lane) {
          sum_lane(cta, pass, group * layout.lanes + lane, state, entries,
                   lane_sums_.data() + static_cast<std::size_t>(lane) * group_batch_);
        }
        reduce_lanes(entries);
        float* const sum = const_cast<float*>(sums(cta, row));
        const bool more = begun_[static_cast<std::size_t>(row)];  // a further part of the row
        begun_[static_cast<std::size_t>(row)] = true;
        for (int b = 0; b < entries; ++b) {
          const float part = lane_sums_[static_cast<std::size_t>(b)];
          sum[b] = more ? sum[b] + part : part;
        }
      }
    }
  }
}

void GatherProduct::sum_lane(int cta, int pass, int thread, const StateImage& state, int entries,
                             float* sum) {
  const gather::MatrixLayout& layout = matrix_.layout;
  const gather::Image& image = state.image();
  std::fill_n(sum, entries, 0.0F);
  const int slots = layout.passes[static_cast<std::size_t>(pass)].slots();
  for (int s = 0; s < slots; ++s) {
    const gather::Pair pair = matrix_.load(cta, layout.slot(pass, s), thread);
    const float value = from_bits(dtype_, pair.value);
    const std::int64_t address = matrix_.address(pair);
    for (int first = 0; first < entries; first += image.entries) {
      const float* word = state.word(first / image.entries, address);
      for (int b = first; b < std::min(first + image.entries, entries); ++b) {
        if (half_sums_) {
          float& half = halves_[static_cast<std::size_t>(b)];
          half = half_fma(value, word[b - first], s % gather::quad == 0 ? 0.0F : half);
        } else {
          sum[b] = std::fma(value, word[b - first], sum[b]);
        }
      }
    }
    if (half_sums_ && (s % gather::quad == gather::quad - 1 || s == slots - 1)) {
      for (int b = 0; b < entries; ++b) sum[b] += halves_[static_cast<std::size_t>(b)];
    }
  }
}

// As shfl.bfly does: every lane ends with the same sum.
void GatherProduct::reduce_lanes(int entries) {
  const auto lanes = static_cast<std::size_t>(matrix_.layout.lanes);
  for (std::size_t offset = lanes / 2; offset > 0; offset /= 2) {
    exchanged_ = lane_sums_;
    for (std::size_t lane = 0; lane < lanes; ++lane) {
      for (std::size_t b = 0; b < static_cast<std::size_t>(entries); ++b) {
        lane_sums_[lane * group_batch_ + b] += exchanged_[(lane ^ offset) * group_batch_ + b];
      }
    }
  }
}

}  // namespace sprnn::interpreter
