// A zeroed array of floats, aligned to cache lines.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>

namespace sprnn::cpu {

class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(std::int64_t floats)
      : data_(static_cast<float*>(
            ::operator new (static_cast<std::size_t>(floats) * sizeof(float), std::align_val_t{64}))) {
    std::fill_n(data_.get(), floats, 0.0F);
  }
  [[nodiscard]] float* data() noexcept { return data_.get(); }
  [[nodiscard]] const float* data() const noexcept { return data_.get(); }

 private:
  struct Free {
    void operator()(float* p) const noexcept { ::operator delete (p, std::align_val_t{64}); }
  };
  std::unique_ptr<float, Free> data_;
};

}  // namespace sprnn::cpu
