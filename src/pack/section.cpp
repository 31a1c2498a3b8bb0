#include <algorithm>
#include <cstring>
#include <new>

#include "sprnn/pack.hpp"

namespace sprnn {

namespace {
// A cache line, and the widest vector that reads a section.
constexpr std::align_val_t alignment{64};
}  // namespace

void Section::Free::operator()(std::byte* p) const noexcept { ::operator delete[](p, alignment); }

Section::Section(std::string name, std::size_t bytes)
    : name_(std::move(name)),
      size_(bytes),
      data_(static_cast<std::byte*>(::operator new[](bytes, alignment))) {
  std::fill_n(data_.get(), bytes, std::byte{0});
}

Section::Section(const Section& other) : Section(other.name_, other.size_) {
  std::copy_n(other.data(), size_, data());
}

Section& Section::operator=(const Section& other) {
  if (this != &other) *this = Section(other);
  return *this;
}

}  // namespace sprnn
