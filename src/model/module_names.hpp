// Finds the recurrent modules of a checkpoint by the names of their tensors.
//
// A parameter is `prefix` + weight_ih | weight_hh | bias_ih | bias_hh | weight_hr + suffix, where the prefix
// is empty or ends with a dot and the suffix is `_l{layer}`, `_l{layer}_reverse` or, in torch.nn's *Cell
// classes, nothing. torch.nn.utils.prune stores a pruned one as two tensors, named `..._orig` and `..._mask`.
#pragma once

#include <compare>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sprnn/checkpoint.hpp"

namespace sprnn {

enum class ParameterKind { weight_ih, weight_hh, bias_ih, bias_hh, weight_hr };

struct ParameterKey {
  int layer = 0;
  bool reverse = false;
  ParameterKind kind = ParameterKind::weight_ih;
  auto operator<=>(const ParameterKey&) const = default;
};

// Indices into Checkpoint::tensors.
struct StoredParameter {
  std::optional<std::size_t> plain;
  std::optional<std::size_t> original;  // `_orig`
  std::optional<std::size_t> mask;      // `_mask`
  // The tensor with the values; there is one unless only a mask was found.
  [[nodiscard]] std::optional<std::size_t> values() const noexcept { return plain ? plain : original; }
};

struct StoredModule {
  std::string prefix;
  std::map<ParameterKey, StoredParameter> parameters;
  bool has_cell_names = false;   // weight_ih, ...
  bool has_layer_names = false;  // weight_ih_l0, ...

  // The full name of a parameter, in this module's style.
  [[nodiscard]] std::string name(const ParameterKey& key) const;
};

// In the order of their first tensors.
[[nodiscard]] std::vector<StoredModule> collect_modules(const Checkpoint& checkpoint);

}  // namespace sprnn
