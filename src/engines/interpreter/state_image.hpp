// A state vector as it lies in shared memory, values for bytes: [plane][position][batch entries of a word].
#pragma once

#include <algorithm>
#include <vector>

#include "plan/gpu_layout.hpp"

namespace sprnn::interpreter {

class StateImage {
 public:
  StateImage(const gpu::Image& image, DType dtype)
      : image_(image), element_(static_cast<std::int64_t>(size_of(dtype))) {
    values_.resize(static_cast<std::size_t>(image.bytes() / element_));
  }

  void clear() { std::fill(values_.begin(), values_.end(), 0.0F); }
  // The batch entries of the word at `address` of a plane.
  [[nodiscard]] const float* word(std::int64_t plane, std::int64_t address) const {
    return values_.data() + (plane * image_.plane_bytes + address) / element_;
  }
  [[nodiscard]] float& at(std::int64_t position, int entry) {
    const std::int64_t plane = entry / image_.entries;
    const std::int64_t address = plane * image_.plane_bytes + position * image_.word_bytes;
    return values_[static_cast<std::size_t>(address / element_ + entry % image_.entries)];
  }
  [[nodiscard]] const gpu::Image& image() const { return image_; }

 private:
  gpu::Image image_;
  std::int64_t element_;
  std::vector<float> values_;
};

}  // namespace sprnn::interpreter
