// Packing: plan + weights -> the bytes that an engine reads, and back, bit for bit.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "sprnn/model.hpp"
#include "sprnn/plan.hpp"

namespace sprnn {

// A named run of bytes, 64-byte aligned, little-endian.
class Section {
 public:
  Section() = default;
  Section(std::string name, std::size_t bytes);  // zero-filled
  Section(const Section& other);
  Section& operator=(const Section& other);
  Section(Section&&) noexcept = default;
  Section& operator=(Section&&) noexcept = default;
  ~Section() = default;

  [[nodiscard]] const std::string& name() const noexcept { return name_; }
  [[nodiscard]] std::size_t size() const noexcept { return size_; }
  [[nodiscard]] std::byte* data() noexcept { return data_.get(); }
  [[nodiscard]] const std::byte* data() const noexcept { return data_.get(); }
  // The bytes as an array of T; size() must be a multiple of sizeof(T).
  template <class T>
  [[nodiscard]] T* as() noexcept {
    return reinterpret_cast<T*>(data_.get());
  }
  template <class T>
  [[nodiscard]] const T* as() const noexcept {
    return reinterpret_cast<const T*>(data_.get());
  }
  template <class T>
  [[nodiscard]] std::size_t count() const noexcept {
    return size_ / sizeof(T);
  }

 private:
  struct Free {
    void operator()(std::byte* p) const noexcept;
  };
  std::string name_;
  std::size_t size_ = 0;
  std::unique_ptr<std::byte[], Free> data_;
};

// The packed weights of one direction of one layer. The matrices are in `sections`, whose names and
// meaning belong to the strategy (docs/format.md); what is not worth packing is kept as it is.
struct PackedDirection {
  std::vector<Section> sections;
  std::vector<float> b_ih, b_hh;                                      // [G*H] or empty
  std::vector<float> peephole;                                        // [3*H] or empty
  [[nodiscard]] const Section& section(std::string_view name) const;  // throws Error(internal)
  [[nodiscard]] Section& section(std::string_view name);
};

// A number that says how well packing went, e.g. {"w_hh wavefronts a load, after ordering", 2.1}.
struct PackFigure {
  std::string name;
  double value = 0.0;
  std::string unit;
};

// A model ready for an engine. Immutable once made; one serves any number of sessions at once.
struct Packed {
  Plan plan;
  std::vector<PackedDirection> directions;            // as in plan.directions
  [[nodiscard]] std::int64_t bytes() const noexcept;  // of all sections
};

// The plan may be another model's, of the same shapes. Throws Error(invalid_argument) for a model that is
// invalid, has other shapes or more non-zeros than the plan has room for, Error(format) for a plan whose
// fields do not agree, or which sums in half precision what these weights (fp16, above 8192) would overflow.
[[nodiscard]] Packed pack(const Model& model, const Plan& plan);
// unpack(pack(m, p)) == m, bit for bit. `packed` must be valid, as what pack and load_packed return is.
[[nodiscard]] Model unpack(const Packed& packed);
// Throws Error(format) unless every offset is in its window, every slot in range, every row map a
// permutation: what the engines rely on instead of checking.
void validate(const Packed& packed);
// `direction` is an index of packed.directions, else Error(invalid_argument).
[[nodiscard]] std::vector<PackFigure> pack_report(const Packed& packed, std::size_t direction);

// .sprnn files (docs/format.md): data only, never machine code. Saving writes to a temporary name and
// renames; it throws Error(io).
void save_packed(const Packed& packed, const std::filesystem::path& path);
// Validated. Throws Error(io), Error(format), and Error(out_of_memory) for a file larger than this machine's
// memory.
[[nodiscard]] Packed load_packed(const std::filesystem::path& path);
// The same of a file's bytes; `name` is what errors call them.
[[nodiscard]] Packed parse_packed(const std::vector<std::byte>& bytes, const std::string& name);
// True when the file begins with the magic of a .sprnn file; Error(io) if there is none or it cannot be read.
[[nodiscard]] bool is_packed_file(const std::filesystem::path& path);

}  // namespace sprnn
