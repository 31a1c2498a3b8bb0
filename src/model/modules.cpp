// Reading a recurrent module out of a checkpoint, and writing it back.
#include <fmt/format.h>

#include <utility>

#include "base/quote.hpp"
#include "model/module_info.hpp"
#include "model/module_names.hpp"
#include "model/tensor_values.hpp"
#include "sprnn/checkpoint.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

[[noreturn]] void refuse(const std::string& message) { throw Error(ErrorCode::invalid_argument, message); }

std::string list(const Checkpoint& checkpoint, const std::vector<StoredModule>& modules) {
  constexpr std::size_t shown = 50;
  std::string text;
  for (std::size_t i = 0; i < modules.size() && i < shown; ++i) {
    text += (i == 0 ? " " : "; ") + to_text(describe(checkpoint, modules[i]));
  }
  if (modules.size() > shown) text += fmt::format("; and {} more", modules.size() - shown);
  return text;
}

StoredModule choose(const Checkpoint& checkpoint, const std::optional<std::string>& prefix) {
  std::vector<StoredModule> modules = collect_modules(checkpoint);
  if (modules.empty()) {
    throw Error(ErrorCode::format,
                fmt::format("no recurrent module among the {} tensors; expected PyTorch's names, such as "
                            "weight_ih_l0 and weight_hh_l0, with any prefix that ends in a dot",
                            checkpoint.tensors.size()));
  }
  if (!prefix) {
    if (modules.size() == 1) return std::move(modules.front());
    refuse(fmt::format("there are {} recurrent modules; choose one by its prefix:{}", modules.size(),
                       list(checkpoint, modules)));
  }
  for (const std::string& wanted : {*prefix, *prefix + "."}) {
    for (StoredModule& module : modules) {
      if (module.prefix == wanted) return std::move(module);
    }
  }
  refuse(fmt::format("no recurrent module has the prefix {}; there {}:{}", quote(*prefix),
                     modules.size() == 1 ? "is" : "are", list(checkpoint, modules)));
}

ModuleInfo describe_readable(const Checkpoint& checkpoint, const StoredModule& module) {
  ModuleInfo info = describe(checkpoint, module);
  if (!info.problem.empty()) {
    throw Error(ErrorCode::format,
                fmt::format("recurrent module {} cannot be read: {}", quote(module.prefix), info.problem));
  }
  return info;
}

std::vector<float> read_values(const Checkpoint& checkpoint, const StoredModule& module,
                               const ParameterKey& key) {
  const auto found = module.parameters.find(key);
  if (found == module.parameters.end()) return {};
  const StoredTensor& tensor = checkpoint.tensors[found->second.values().value()];
  if (!found->second.mask) return decode(tensor);
  const std::vector<bool> kept = decode_mask(checkpoint.tensors[*found->second.mask]);
  return decode(tensor, &kept);
}

Direction read_direction(const Checkpoint& checkpoint, const StoredModule& module, const ModuleInfo& info,
                         const Cell& cell, int layer, bool reverse) {
  const auto values = [&](ParameterKind kind) {
    return read_values(checkpoint, module, {layer, reverse, kind});
  };
  const auto matrix = [&](ParameterKind kind, std::int64_t rows) {
    Matrix result;
    result.values = values(kind);
    if (result.values.empty()) return result;
    result.rows = rows;
    result.cols = static_cast<std::int64_t>(result.values.size()) / rows;
    return result;
  };
  const std::int64_t rows = cell.gates() * info.hidden_size;
  Direction direction;
  direction.cell = cell;
  direction.reverse = reverse;
  direction.w_ih = matrix(ParameterKind::weight_ih, rows);
  direction.w_hh = matrix(ParameterKind::weight_hh, rows);
  direction.w_hr = matrix(ParameterKind::weight_hr, info.projection_size);
  direction.b_ih = values(ParameterKind::bias_ih);
  direction.b_hh = values(ParameterKind::bias_hh);
  return direction;
}

// The values of a parameter; empty if the model does not have it.
const std::vector<float>& values_of(const Direction& direction, ParameterKind kind) {
  switch (kind) {
    case ParameterKind::weight_ih:
      return direction.w_ih.values;
    case ParameterKind::weight_hh:
      return direction.w_hh.values;
    case ParameterKind::bias_ih:
      return direction.b_ih;
    case ParameterKind::bias_hh:
      return direction.b_hh;
    case ParameterKind::weight_hr:
      break;
  }
  return direction.w_hr.values;
}

// Throws unless the model has exactly the tensors of the module, in their shapes.
void check_fits(const Model& model, const ModuleInfo& info) {
  const Direction& first = model.layers.front().directions.front();
  const auto same = [&](std::string_view what, auto ours, auto theirs) {
    if (ours != theirs) {
      refuse(fmt::format("the model does not fit the module {}: {} is {}, the module's is {}",
                         quote(info.prefix), what, ours, theirs));
    }
  };
  same("the cell", to_string(first.cell.kind), to_string(info.cell.kind));
  same("the input size", model.input_size, info.input_size);
  same("the hidden size", model.hidden_size, info.hidden_size);
  same("the projection size", model.projection_size, info.projection_size);
  same("the number of layers", model.num_layers(), info.num_layers);
  same("the number of directions", model.num_directions(), info.bidirectional ? 2 : 1);
  for (const Layer& layer : model.layers) {
    for (const Direction& direction : layer.directions) {
      same("running in reverse", direction.reverse, &direction != layer.directions.data());
      same("having biases", !direction.b_ih.empty(), info.bias);
      same("having peepholes", !direction.peephole.empty(), false);
    }
  }
}

}  // namespace

std::vector<ModuleInfo> find_modules(const Checkpoint& checkpoint) {
  std::vector<ModuleInfo> infos;
  for (const StoredModule& module : collect_modules(checkpoint))
    infos.push_back(describe(checkpoint, module));
  return infos;
}

ModuleInfo find_module(const Checkpoint& checkpoint, const std::optional<std::string>& prefix) {
  return describe(checkpoint, choose(checkpoint, prefix));
}

Model read_model(const Checkpoint& checkpoint, const ReadOptions& options) {
  const StoredModule module = choose(checkpoint, options.prefix);
  const ModuleInfo info = describe_readable(checkpoint, module);
  const Cell cell = options.cell.value_or(info.cell);
  if (cell.kind != info.cell.kind) {
    refuse(fmt::format(
        "cell {} does not fit the module {}: weight_hh would have {} times the hidden size in rows, but "
        "these shapes are of kind {}",
        to_string(cell), quote(module.prefix), cell.gates(), to_string(info.cell.kind)));
  }
  Model model;
  model.dtype = info.dtype;
  model.input_size = info.input_size;
  model.hidden_size = info.hidden_size;
  model.projection_size = info.projection_size;
  for (int l = 0; l < info.num_layers; ++l) {
    Layer layer;
    layer.directions.push_back(read_direction(checkpoint, module, info, cell, l, false));
    if (info.bidirectional)
      layer.directions.push_back(read_direction(checkpoint, module, info, cell, l, true));
    model.layers.push_back(std::move(layer));
  }
  if (options.dtype && *options.dtype != model.dtype) model = convert(model, *options.dtype);
  validate(model);
  return model;
}

void write_model(Checkpoint& checkpoint, const std::string& prefix, const Model& model) {
  validate(model);
  const StoredModule module = choose(checkpoint, prefix);
  check_fits(model, describe_readable(checkpoint, module));

  // Everything that can fail comes before the first change.
  std::vector<std::pair<std::size_t, StoredTensor>> replacements;
  std::vector<bool> removed(checkpoint.tensors.size(), false);
  for (const auto& [key, parameter] : module.parameters) {
    const Layer& layer = model.layers[static_cast<std::size_t>(key.layer)];
    const std::size_t index = parameter.values().value();
    StoredTensor tensor = checkpoint.tensors[index];
    tensor.name = module.name(key);
    encode(values_of(layer.directions[key.reverse ? 1 : 0], key.kind), tensor);
    replacements.emplace_back(index, std::move(tensor));
    if (parameter.mask) removed[*parameter.mask] = true;
  }
  for (auto& [index, tensor] : replacements) checkpoint.tensors[index] = std::move(tensor);
  std::size_t kept = 0;
  for (std::size_t i = 0; i < removed.size(); ++i) {
    if (removed[i]) continue;
    if (kept != i) checkpoint.tensors[kept] = std::move(checkpoint.tensors[i]);
    ++kept;
  }
  checkpoint.tensors.resize(kept);
}

}  // namespace sprnn
