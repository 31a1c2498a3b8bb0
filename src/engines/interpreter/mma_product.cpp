#include "engines/interpreter/mma_product.hpp"

#include <algorithm>

namespace sprnn::interpreter {

using std::size_t;

MmaProduct::MmaProduct(const mma::View& view, DType dtype, int group_batch)
    : view_(view), dtype_(dtype), group_batch_(static_cast<size_t>(group_batch)) {
  const mma::MatrixLayout& layout = view_.layout.w_hh;
  sums_.resize(static_cast<size_t>(layout.ctas) * static_cast<size_t>(layout.tiles) * mma::tile_rows *
               group_batch_);
  warp_sums_.resize(mma::tile_rows * group_batch_);
  if (view_.rest) {
    rest_.emplace(*view_.rest, dtype, group_batch);
    staged_.emplace(view_.rest->layout.image, dtype);
  }
}

float* MmaProduct::tile_sums(int cta, int tile) {
  const auto index =
      static_cast<size_t>(cta) * static_cast<size_t>(view_.layout.w_hh.tiles) + static_cast<size_t>(tile);
  return sums_.data() + index * mma::tile_rows * group_batch_;
}

const float* MmaProduct::sums(int cta, int local_row) const {
  const mma::MatrixLayout& layout = view_.layout.w_hh;
  return const_cast<MmaProduct*>(this)->tile_sums(cta, local_row / layout.rows_a_tile) +
         static_cast<size_t>(local_row % layout.rows_a_tile) * group_batch_;
}

void MmaProduct::run(const StateImage& state, int entries, bool bounded) {
  const mma::MatrixLayout& layout = view_.layout.w_hh;
  const gpu::Image& image = layout.image;
  std::fill(sums_.begin(), sums_.end(), 0.0F);
  view_.for_each_fragment([&](mma::Fragment at) {
    // A fragment's products go to the sum together; a weight that is not stored multiplies nothing,
    // whatever the state holds there.
    for (int r = 0; r < mma::tile_rows; ++r) {
      for (int b = 0; b < entries; ++b) {
        float& sum = warp_sums_[static_cast<size_t>(r) * group_batch_ + static_cast<size_t>(b)];
        if (at.step == 0) sum = 0.0F;
        double products = 0.0;
        for (int k = 0; k < layout.step_columns(); ++k) {
          const std::uint16_t bits = view_.weight(at, r, k);
          if (bits == 0) continue;
          const std::int64_t address = view_.position(at, k) * image.word_bytes;
          products += static_cast<double>(from_bits(dtype_, bits)) *
                      static_cast<double>(state.word(b / image.entries, address)[b % image.entries]);
        }
        sum = static_cast<float>(static_cast<double>(sum) + products);
      }
    }
    if (at.step + 1 < layout.steps.total()) return;
    float* const to = tile_sums(at.cta, at.tile);
    for (size_t i = 0; i < warp_sums_.size(); ++i) to[i] += warp_sums_[i];
  });
  if (!rest_) return;
  const std::vector<std::int32_t>& columns = *view_.staged;
  for (size_t position = 0; position < columns.size(); ++position) {
    if (columns[position] < 0) continue;
    for (int b = 0; b < entries; ++b)
      staged_->at(static_cast<std::int64_t>(position), b) =
          state.word(b / image.entries, columns[position] * image.word_bytes)[b % image.entries];
  }
  rest_->run(*staged_, entries, bounded);
  for (int cta = 0; cta < layout.ctas; ++cta) {
    for (int row = 0; row < view_.layout.rows_a_cta(); ++row) {
      auto* const sum = const_cast<float*>(sums(cta, row));
      for (int b = 0; b < entries; ++b) sum[b] += rest_->sums(cta, row)[b];
    }
  }
}

}  // namespace sprnn::interpreter
