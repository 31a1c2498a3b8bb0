// Checkpoint files (safetensors) and the recurrent modules inside them, under PyTorch's names.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sprnn/model.hpp"

namespace sprnn {

// One tensor as the file has it: nothing is converted.
struct StoredTensor {
  std::string name;
  std::string dtype;  // safetensors' names: "F32", "F16", "BF16", "I64", ...
  std::vector<std::int64_t> shape;
  std::vector<std::byte> data;  // little-endian, row-major
  bool operator==(const StoredTensor&) const = default;
};

struct Checkpoint {
  std::vector<StoredTensor> tensors;            // in the order of their data in the file
  std::map<std::string, std::string> metadata;  // the file's __metadata__

  [[nodiscard]] const StoredTensor* find(std::string_view name) const noexcept;  // nullptr: not there
};

// Throws Error(format) for a file that is not a well-formed safetensors file (truncated, trailing or
// overlapping data, lengths that lie, duplicate names, a pickle: the message then says how to convert
// it), Error(io) if it cannot be read.
[[nodiscard]] Checkpoint load_checkpoint(const std::filesystem::path& path);
[[nodiscard]] Checkpoint parse_checkpoint(const std::vector<std::byte>& bytes, const std::string& name);

// Writes to a temporary name beside `path` and renames, so `path` is either its old self or complete.
void save_checkpoint(const Checkpoint& checkpoint, const std::filesystem::path& path);

// A recurrent module found in a checkpoint, e.g. prefix "encoder.rnn." with weight_ih_l0, ...; the prefix
// holds its final dot, and is empty for a module at the root.
struct ModuleInfo {
  std::string prefix;
  Cell cell;  // inferred from the shapes; an rnn is taken as tanh (relu cannot be told from it)
  DType dtype = DType::fp32;
  std::int64_t input_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t projection_size = 0;
  std::int64_t num_layers = 0;
  bool bidirectional = false;
  bool bias = false;
  std::string problem;  // empty, or why the module cannot be read (a missing or ill-shaped tensor)
};

[[nodiscard]] std::vector<ModuleInfo> find_modules(const Checkpoint& checkpoint);

// The module with this prefix (whose last dot may be left out), or the only one; Error(invalid_argument)
// lists them where that is none, Error(format) says that there are none at all.
[[nodiscard]] ModuleInfo find_module(const Checkpoint& checkpoint, const std::optional<std::string>& prefix);

struct ReadOptions {
  std::optional<std::string> prefix;  // which module, as for find_module
  std::optional<Cell> cell;           // e.g. relu_cell(); must fit the shapes
  std::optional<DType> dtype;         // default: the checkpoint's
};

// Also understands torch.nn.RNNCell/GRUCell/LSTMCell names (weight_ih, ...) and the `_orig`/`_mask` pairs
// of torch.nn.utils.prune.
[[nodiscard]] Model read_model(const Checkpoint& checkpoint, const ReadOptions& options = {});

// Replaces the module's weights by the model's, in the file's own names and dtypes; everything else
// stays bit for bit. `_orig`/`_mask` pairs become the one plain tensor that they stand for.
void write_model(Checkpoint& checkpoint, const std::string& prefix, const Model& model);

}  // namespace sprnn
