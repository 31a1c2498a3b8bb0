// The numbers in a stored tensor.
#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "sprnn/checkpoint.hpp"

namespace sprnn {

// "F32", "F16" and "BF16"; nullopt for what weights cannot have.
[[nodiscard]] std::optional<DType> weight_dtype(std::string_view stored) noexcept;

// Throws Error(format) naming tensor and index of a value that is not finite. Where `kept` is given, the
// others are +0.0 whatever is stored there.
[[nodiscard]] std::vector<float> decode(const StoredTensor& tensor, const std::vector<bool>* kept = nullptr);

// Overwrites the tensor's data. Throws Error(invalid_argument) naming a value that its dtype cannot hold.
void encode(std::span<const float> values, StoredTensor& tensor);

[[nodiscard]] bool is_mask_dtype(std::string_view stored) noexcept;
// Which entries a mask of ones and zeros keeps; throws Error(format) naming any other value.
[[nodiscard]] std::vector<bool> decode_mask(const StoredTensor& tensor);

}  // namespace sprnn
