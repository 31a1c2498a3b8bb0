#include "model/module_info.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/quote.hpp"
#include "model/tensor_values.hpp"
#include "sprnn/error.hpp"

namespace sprnn {

namespace {

using Shape = std::vector<std::int64_t>;

[[noreturn]] void refuse(const std::string& problem) { throw Error(ErrorCode::format, problem); }

std::string to_text(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape, ", ")); }

bool is_weight(ParameterKind kind) {
  return kind != ParameterKind::bias_ih && kind != ParameterKind::bias_hh;
}

class Inference {
 public:
  Inference(const Checkpoint& checkpoint, const StoredModule& module, ModuleInfo& info)
      : checkpoint_(checkpoint), module_(module), info_(info) {}

  void run() {
    if (module_.has_cell_names && module_.has_layer_names) {
      refuse("has both names with a layer (weight_ih_l0) and without (weight_ih); rename one module");
    }
    for (const auto& [key, parameter] : module_.parameters) check_parts(key, parameter);
    find_structure();
    check_present();
    check_dtypes();
    infer_sizes();
    check_shapes();
  }

 private:
  const StoredTensor& tensor(const StoredParameter& parameter) const {
    return checkpoint_.tensors[parameter.values().value()];
  }
  const Shape& shape(const ParameterKey& key) const { return tensor(module_.parameters.at(key)).shape; }
  bool has(ParameterKind kind) const {
    return std::any_of(module_.parameters.begin(), module_.parameters.end(),
                       [&](const auto& item) { return item.first.kind == kind; });
  }

  // Either the plain tensor, or the pair of torch.nn.utils.prune.
  void check_parts(const ParameterKey& key, const StoredParameter& parameter) const {
    const std::string name = module_.name(key);
    if (parameter.plain && (parameter.original || parameter.mask)) {
      refuse(fmt::format("{} is there as one tensor and as {}; remove one of them", quote(name),
                         parameter.original ? "'_orig'" : "'_mask'"));
    }
    if (parameter.original && !parameter.mask) refuse(fmt::format("{} is missing", quote(name + "_mask")));
    if (parameter.mask && !parameter.original) refuse(fmt::format("{} is missing", quote(name + "_orig")));
    const Shape& found = tensor(parameter).shape;
    if (found.size() != (is_weight(key.kind) ? 2U : 1U) || std::count(found.begin(), found.end(), 0) > 0) {
      refuse(fmt::format("{} has shape {}, expected a {}", quote(name), to_text(found),
                         is_weight(key.kind) ? "matrix" : "vector"));
    }
    if (!parameter.mask) return;
    const StoredTensor& mask = checkpoint_.tensors[*parameter.mask];
    if (mask.shape != found) {
      refuse(fmt::format("{} has shape {}, expected {} as its '_orig'", quote(mask.name), to_text(mask.shape),
                         to_text(found)));
    }
    if (!is_mask_dtype(mask.dtype)) {
      refuse(fmt::format("{} has dtype {}, expected BOOL, an integer or a floating point type",
                         quote(mask.name), quote(mask.dtype)));
    }
  }

  void find_structure() {
    for (const auto& [key, parameter] : module_.parameters) {
      info_.num_layers = std::max<std::int64_t>(info_.num_layers, key.layer + 1);
      info_.bidirectional |= key.reverse;
    }
    info_.bias = has(ParameterKind::bias_ih) || has(ParameterKind::bias_hh);
  }

  template <class F>
  void for_each_key(F f) const {
    std::vector<ParameterKind> kinds = {ParameterKind::weight_ih, ParameterKind::weight_hh};
    if (info_.bias) kinds.insert(kinds.end(), {ParameterKind::bias_ih, ParameterKind::bias_hh});
    if (has(ParameterKind::weight_hr)) kinds.push_back(ParameterKind::weight_hr);
    for (int layer = 0; layer < info_.num_layers; ++layer) {
      for (const bool reverse : {false, true}) {
        if (reverse && !info_.bidirectional) continue;
        for (const ParameterKind kind : kinds) f(ParameterKey{layer, reverse, kind});
      }
    }
  }

  void check_present() const {
    for_each_key([&](const ParameterKey& key) {
      if (!module_.parameters.contains(key)) refuse(fmt::format("{} is missing", quote(module_.name(key))));
    });
  }

  void check_dtypes() {
    const StoredTensor& first = tensor(module_.parameters.begin()->second);
    for (const auto& [key, parameter] : module_.parameters) {
      const StoredTensor& other = tensor(parameter);
      if (other.dtype != first.dtype) {
        refuse(fmt::format("{} has dtype {}, but {} has {}; all of a module must have one dtype",
                           quote(other.name), quote(other.dtype), quote(first.name), quote(first.dtype)));
      }
    }
    const std::optional<DType> dtype = weight_dtype(first.dtype);
    if (!dtype) {
      refuse(fmt::format(
          "{} has dtype {}, expected F32, F16 or BF16; convert the file with: python -c 'from "
          "safetensors.torch "
          "import load_file, save_file; save_file({{k: v.float() if v.is_floating_point() else v for k, v in "
          "load_file(\"model.safetensors\").items()}}, \"float32.safetensors\")'",
          quote(first.name), quote(first.dtype)));
    }
    info_.dtype = *dtype;
  }

  void infer_sizes() {
    const ParameterKey w_hh{0, false, ParameterKind::weight_hh};
    const ParameterKey w_hr{0, false, ParameterKind::weight_hr};
    const std::int64_t rows = shape(w_hh)[0];
    const std::int64_t cols = shape(w_hh)[1];
    const bool projected = module_.parameters.contains(w_hr);
    info_.hidden_size = projected ? shape(w_hr)[1] : cols;
    info_.projection_size = projected ? shape(w_hr)[0] : 0;
    info_.input_size = shape({0, false, ParameterKind::weight_ih})[1];
    const std::int64_t gates = rows % info_.hidden_size == 0 ? rows / info_.hidden_size : 0;
    if (gates == 1 && !projected) {
      info_.cell = tanh_cell();
    } else if (gates == 3 && !projected) {
      info_.cell = gru_cell();
    } else if (gates == 4) {
      info_.cell = lstm_cell();
    } else if (projected) {
      refuse(
          fmt::format("{} has {} rows, expected 4 times the {} columns of {}: only an lstm has a projection",
                      quote(module_.name(w_hh)), rows, info_.hidden_size, quote(module_.name(w_hr))));
    } else {
      refuse(fmt::format("{} has shape [{}, {}]; rows must be 1 (rnn), 3 (gru) or 4 (lstm) times the columns",
                         quote(module_.name(w_hh)), rows, cols));
    }
    if (projected && info_.projection_size >= info_.hidden_size) {
      refuse(fmt::format("{} has shape {}; a projection must be smaller than the hidden size",
                         quote(module_.name(w_hr)), to_text(shape(w_hr))));
    }
  }

  void check_shapes() const {
    const std::int64_t rows = info_.cell.gates() * info_.hidden_size;
    const std::int64_t state = info_.projection_size > 0 ? info_.projection_size : info_.hidden_size;
    const std::int64_t output = info_.bidirectional ? 2 * state : state;
    for_each_key([&](const ParameterKey& key) {
      Shape expected;
      switch (key.kind) {
        case ParameterKind::weight_ih:
          expected = {rows, key.layer == 0 ? info_.input_size : output};
          break;
        case ParameterKind::weight_hh:
          expected = {rows, state};
          break;
        case ParameterKind::weight_hr:
          expected = {info_.projection_size, info_.hidden_size};
          break;
        default:
          expected = {rows};
      }
      if (shape(key) != expected) {
        refuse(fmt::format("{} has shape {}, expected {}", quote(module_.name(key)), to_text(shape(key)),
                           to_text(expected)));
      }
    });
  }

  const Checkpoint& checkpoint_;
  const StoredModule& module_;
  ModuleInfo& info_;
};

}  // namespace

ModuleInfo describe(const Checkpoint& checkpoint, const StoredModule& module) {
  ModuleInfo info;
  info.prefix = module.prefix;
  try {
    Inference(checkpoint, module, info).run();
  } catch (const Error& error) {
    info.problem = error.what();
  }
  return info;
}

std::string to_text(const ModuleInfo& info) {
  if (!info.problem.empty()) return fmt::format("{} (cannot be read: {})", quote(info.prefix), info.problem);
  std::string text = fmt::format("{} ({}, input {}, hidden {}", quote(info.prefix), to_string(info.cell.kind),
                                 info.input_size, info.hidden_size);
  if (info.projection_size > 0) text += fmt::format(", projection {}", info.projection_size);
  text += fmt::format(", {} layer{}", info.num_layers, info.num_layers == 1 ? "" : "s");
  if (info.bidirectional) text += ", bidirectional";
  return text + fmt::format(", {})", to_string(info.dtype));
}

}  // namespace sprnn
