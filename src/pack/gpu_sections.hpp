// The sections that all strategies of a GPU have: unit maps and W_ih. Packed, unpacked and checked here.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "plan/gpu_layout.hpp"
#include "sprnn/error.hpp"
#include "sprnn/pack.hpp"

namespace sprnn::gpu {

// The problem of a planned direction.
[[nodiscard]] const DirectionProblem& problem_of(const DirectionPlan& plan, const Problem& problem);

[[nodiscard]] std::vector<Section> make_sections(const std::vector<SectionSize>& sizes);
// Throw Error(format) if there is none.
[[nodiscard]] const Section& find_section(const std::vector<Section>& sections, std::string_view name);
[[nodiscard]] Section& section(std::vector<Section>& sections, std::string_view name);

// Which unit lies where, -1 for none.
struct UnitMaps {
  const std::int32_t* units = nullptr;    // [ctas * units_a_cta]
  const std::int32_t* outputs = nullptr;  // [ctas * outputs_a_cta]; the units unless projected
};
[[nodiscard]] UnitMaps view_maps(const std::vector<Section>& sections, const Frame& frame);
void write_map(std::vector<Section>& sections, std::string_view name, const std::vector<std::int32_t>& map);
// Where each unit lies: the inverse of a map of units.
[[nodiscard]] std::vector<std::int64_t> positions_of(std::span<const std::int32_t> map, std::int64_t units);

void pack_input(const Matrix& w_ih, InputStorage storage, DType dtype, std::vector<Section>& sections);
void unpack_input(const std::vector<Section>& sections, InputStorage storage, DType dtype, Matrix& w_ih);

// Checks throw Error(format).
template <class... Args>
[[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(ErrorCode::format, fmt::format(format, std::forward<Args>(args)...));
}
[[nodiscard]] bool is_finite_bits(DType dtype, std::uint32_t bits) noexcept;
// Greater for a greater magnitude.
[[nodiscard]] constexpr std::uint32_t magnitude_bits(DType dtype, std::uint32_t bits) noexcept {
  return bits & (dtype == DType::fp32 ? 0x7FFFFFFFU : 0x7FFFU);
}
// Whether the matrix has large weights, given the bits of its largest magnitude, is what the problem says.
void check_large(std::string_view name, const MatrixSummary& summary, DType dtype, std::uint32_t largest);
void check_sizes(const std::vector<Section>& sections, const std::vector<SectionSize>& expected);
// Every unit once, and -1 in the other places.
void check_maps(const std::vector<Section>& sections, const Frame& frame);
void check_input(const std::vector<Section>& sections, InputStorage storage,
                 const DirectionProblem& direction, DType dtype);

}  // namespace sprnn::gpu
