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

  // In `tensors`, so valid until that changes; nullptr: not there.
  [[nodiscard]] const StoredTensor* find(std::string_view name) const noexcept;
};

// Throws Error(format) for a file that is not a well-formed safetensors file (truncated, trailing or
// overlapping data, lengths that lie, duplicate names, a pickle: the message then says how to convert
// it), Error(io) if it cannot be read, Error(out_of_memory) if it is larger than this machine's memory.
[[nodiscard]] Checkpoint load_checkpoint(const std::filesystem::path& path);
// The same of a file's bytes; `name` is what errors call them, for instance the file's.
[[nodiscard]] Checkpoint parse_checkpoint(const std::vector<std::byte>& bytes, const std::string& name);

// Writes to a temporary name beside `path` and renames, so `path` is either its old self or complete. Throws
// Error(io), or Error(invalid_argument) for a name that is there twice or is not UTF-8, and for a tensor
// whose shape and data do not agree.
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

// All of them, in the order of their first tensors, those that cannot be read with their `problem`. None is
// no error.
[[nodiscard]] std::vector<ModuleInfo> find_modules(const Checkpoint& checkpoint);

// The module with this prefix (whose last dot may be left out), or the only one; Error(invalid_argument)
// lists them where that is none, Error(format) says that there are none at all. One with a `problem` is
// found.
[[nodiscard]] ModuleInfo find_module(const Checkpoint& checkpoint, const std::optional<std::string>& prefix);

struct ReadOptions {
  std::optional<std::string> prefix;  // which module, as for find_module
  std::optional<Cell> cell;           // e.g. relu_cell(); must fit the shapes
  std::optional<DType> dtype;         // default: the checkpoint's
};

// Also understands torch.nn.RNNCell/GRUCell/LSTMCell names (weight_ih, ...) and the `_orig`/`_mask` pairs
// of torch.nn.utils.prune. The model is valid (model.hpp). Throws as find_module, and Error(format) for a
// module with a `problem`, a weight that is not finite or a mask that is not of zeros and ones,
// Error(invalid_argument) for a cell that does not fit the shapes and a weight that overflows `dtype`.
[[nodiscard]] Model read_model(const Checkpoint& checkpoint, const ReadOptions& options = {});

// Replaces the module's weights by the model's, in the file's own names and dtypes; everything else
// stays bit for bit. `_orig`/`_mask` pairs become the one plain tensor that they stand for. Throws as
// find_module and read_model, and Error(invalid_argument) for a model that is invalid, has not the module's
// shapes or has a weight that the file's dtype cannot hold; the checkpoint then stays as it was.
void write_model(Checkpoint& checkpoint, const std::string& prefix, const Model& model);

}  // namespace sprnn
