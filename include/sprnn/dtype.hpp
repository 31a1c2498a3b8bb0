// Element types of weights and states. Values are held as float everywhere on the host; a DType says
// to which grid they have been rounded, so every fp16 or bf16 bit pattern survives a round trip.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace sprnn {

enum class DType : std::uint8_t { fp32, fp16, bf16 };

[[nodiscard]] std::string_view to_string(DType dtype) noexcept;  // "fp32", "fp16", "bf16"
[[nodiscard]] DType parse_dtype(std::string_view text);          // throws Error(invalid_argument)
[[nodiscard]] std::size_t size_of(DType dtype) noexcept;         // bytes an element: 4, 2, 2

// Rounds to nearest, ties to even; overflow gives infinity, as the hardware conversions do.
[[nodiscard]] float round_to(DType dtype, float value) noexcept;
void round_to(DType dtype, std::span<float> values) noexcept;

// The bit patterns, low half of the word for 16-bit types. from_bits(to_bits(x)) == x for every x on
// the grid of the type, NaN payloads and -0.0 included.
[[nodiscard]] std::uint32_t to_bits(DType dtype, float value) noexcept;
[[nodiscard]] float from_bits(DType dtype, std::uint32_t bits) noexcept;

// A non-zero is any stored bit pattern but +0.0: -0.0 and subnormals are kept through every round trip.
[[nodiscard]] bool is_nonzero(float value) noexcept;

}  // namespace sprnn
