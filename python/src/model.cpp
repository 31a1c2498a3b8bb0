// Models: from files, from arrays, pruned, and back.
#include "model.hpp"

#include <fmt/format.h>
#include <nanobind/stl/filesystem.h>
#include <nanobind/stl/map.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>

#include "arrays.hpp"
#include "bindings.hpp"
#include "errors.hpp"
#include "sprnn/prune.hpp"

namespace nb = nanobind;
using nb::literals::operator""_a;

namespace sprnn::python {

namespace {

// A Cell as plain data; sprnn/cell.py has the class for people.
using ActivationData = std::tuple<std::string, float, float>;
using CellData = std::tuple<std::string, std::vector<ActivationData>, bool, bool, std::optional<float>>;

CellKind parse_kind(const std::string& name) {
  for (const CellKind kind : {CellKind::rnn, CellKind::gru, CellKind::lstm}) {
    if (to_string(kind) == name) return kind;
  }
  throw Error(ErrorCode::invalid_argument, fmt::format("cell kind '{}': expected rnn, gru or lstm", name));
}

std::size_t activation_count(CellKind kind) {
  return kind == CellKind::rnn ? 1 : kind == CellKind::gru ? 2 : 3;
}

Cell cell_of(const CellData& data) {
  const auto& [kind, activations, reset_before_product, input_forget, clip] = data;
  Cell cell;
  cell.kind = parse_kind(kind);
  if (activations.size() != activation_count(cell.kind)) {
    throw Error(ErrorCode::invalid_argument, fmt::format("cell {}: {} activations, expected {}", kind,
                                                         activations.size(), activation_count(cell.kind)));
  }
  for (std::size_t i = 0; i < activations.size(); ++i) {
    const auto& [name, alpha, beta] = activations[i];
    cell.activations[i] = {parse_activation(name), alpha, beta};
  }
  cell.reset_before_product = reset_before_product;
  cell.input_forget = input_forget;
  cell.clip = clip;
  return cell;
}

CellData data_of(const Cell& cell) {
  std::vector<ActivationData> activations;
  for (std::size_t i = 0; i < activation_count(cell.kind); ++i) {
    const Activation& a = cell.activations[i];
    activations.emplace_back(to_string(a.kind), a.alpha, a.beta);
  }
  return {std::string(to_string(cell.kind)), std::move(activations), cell.reset_before_product,
          cell.input_forget, cell.clip};
}

// ---- From and to arrays

// One direction as Python gives it: layer, reverse, cell, and its tensors by PyTorch's names less the suffix.
using DirectionData = std::tuple<std::int64_t, bool, CellData, nb::dict>;

// The checkpoint that a model came from, for a pickle: the prefix, the tensors (name, dtype, shape, bytes),
// the metadata.
using TensorData = std::tuple<std::string, std::string, std::vector<std::int64_t>, nb::bytes>;
using SourceData = std::tuple<std::string, std::vector<TensorData>, std::map<std::string, std::string>>;

class TensorReader {
 public:
  TensorReader(const nb::dict& tensors, std::string suffix) : tensors_(tensors), suffix_(std::move(suffix)) {}

  std::vector<float> vector(const char* name) const {
    const nb::object object = find(name);
    if (!object.is_valid()) return {};
    const std::string full = name + suffix_;
    const Array array = import_array(object, full.c_str());
    check_rank(array, full, 1);
    return read_floats(array, full.c_str());
  }

  Matrix matrix(const char* name) const {
    const nb::object object = find(name);
    if (!object.is_valid()) return {};
    const std::string full = name + suffix_;
    const Array array = import_array(object, full.c_str());
    check_rank(array, full, 2);
    return {static_cast<std::int64_t>(array.shape(0)), static_cast<std::int64_t>(array.shape(1)),
            read_floats(array, full.c_str())};
  }

 private:
  nb::object find(const char* name) const {
    return tensors_.contains(name) ? nb::object(tensors_[name]) : nb::object();
  }

  static void check_rank(const Array& array, const std::string& name, std::size_t rank) {
    if (array.ndim() == rank) return;
    throw Error(ErrorCode::invalid_argument,
                fmt::format("{} has shape {}: expected {}", name, to_text(shape_of(array)),
                            rank == 1 ? "one axis" : "two axes"));
  }

  const nb::dict& tensors_;
  std::string suffix_;
};

Direction read_direction(const DirectionData& data) {
  const auto& [layer, reverse, cell, tensors] = data;
  const TensorReader read(tensors, parameter_suffix(layer, reverse));
  Direction direction;
  direction.cell = cell_of(cell);
  direction.reverse = reverse;
  direction.w_ih = read.matrix("weight_ih");
  direction.w_hh = read.matrix("weight_hh");
  direction.w_hr = read.matrix("weight_hr");
  direction.b_ih = read.vector("bias_ih");
  direction.b_hh = read.vector("bias_hh");
  direction.peephole = read.vector("peephole");
  return direction;
}

std::optional<SourceData> source_of(const SourcedModel& sourced) {
  if (!sourced.checkpoint) return std::nullopt;
  std::vector<TensorData> tensors;
  for (const StoredTensor& tensor : sourced.checkpoint->tensors) {
    tensors.emplace_back(tensor.name, tensor.dtype, tensor.shape,
                         nb::bytes(tensor.data.data(), tensor.data.size()));
  }
  return SourceData{sourced.prefix, std::move(tensors), sourced.checkpoint->metadata};
}

std::shared_ptr<const Checkpoint> checkpoint_of(const SourceData& source) {
  auto checkpoint = std::make_shared<Checkpoint>();
  checkpoint->metadata = std::get<2>(source);
  for (const auto& [name, dtype, shape, data] : std::get<1>(source)) {
    const auto* const first = static_cast<const std::byte*>(data.data());
    checkpoint->tensors.push_back({name, dtype, shape, {first, first + data.size()}});
  }
  return checkpoint;
}

SourcedModel from_arrays(const std::string& dtype, const std::vector<DirectionData>& directions,
                         const std::optional<SourceData>& source) {
  Model model;
  for (const DirectionData& data : directions) {
    if (static_cast<std::size_t>(std::get<0>(data)) == model.layers.size()) model.layers.emplace_back();
    model.layers.back().directions.push_back(read_direction(data));
  }
  const Direction& first = model.layers.front().directions.front();
  model.input_size = first.w_ih.cols;
  model.hidden_size = first.w_hr.empty() ? first.w_hh.cols : first.w_hr.cols;
  model.projection_size = first.w_hr.rows;
  const DType wanted = parse_dtype(dtype);
  if (wanted != DType::fp32) model = convert(model, wanted);
  validate(model);
  if (source) return {std::move(model), checkpoint_of(*source), std::get<0>(*source)};
  return {std::move(model), nullptr, ""};
}

// Views of the weights, alive as long as `owner`, the model they are in.
nb::dict arrays(const SourcedModel& sourced, nb::handle owner) {
  using View = nb::ndarray<nb::numpy, const float, nb::ro>;
  nb::dict all;
  const auto vector = [&](const std::string& name, const std::vector<float>& values) {
    if (!values.empty()) all[name.c_str()] = nb::cast(View(values.data(), {values.size()}, owner));
  };
  const auto matrix = [&](const std::string& name, const Matrix& m) {
    if (m.empty()) return;
    const auto rows = static_cast<std::size_t>(m.rows), cols = static_cast<std::size_t>(m.cols);
    all[name.c_str()] = nb::cast(View(m.values.data(), {rows, cols}, owner));
  };
  for (std::int64_t l = 0; l < sourced.model.num_layers(); ++l) {
    for (const Direction& direction : sourced.model.layers[static_cast<std::size_t>(l)].directions) {
      const std::string suffix = parameter_suffix(l, direction.reverse);
      matrix("weight_ih" + suffix, direction.w_ih);
      matrix("weight_hh" + suffix, direction.w_hh);
      vector("bias_ih" + suffix, direction.b_ih);
      vector("bias_hh" + suffix, direction.b_hh);
      matrix("weight_hr" + suffix, direction.w_hr);
      vector("peephole" + suffix, direction.peephole);
    }
  }
  return all;
}

// ---- From and to checkpoints

SourcedModel load(const std::filesystem::path& path, const std::optional<std::string>& prefix,
                  const std::optional<CellData>& cell, const std::optional<std::string>& dtype) {
  check_exists(path);
  ReadOptions options;
  options.prefix = prefix;
  if (cell) options.cell = cell_of(*cell);
  if (dtype) options.dtype = parse_dtype(*dtype);
  auto checkpoint = std::make_shared<const Checkpoint>(load_checkpoint(path));
  try {
    Model model = read_model(*checkpoint, options);
    std::string module = find_module(*checkpoint, prefix).prefix;
    return {std::move(model), std::move(checkpoint), std::move(module)};
  } catch (const Error& error) {
    throw Error(error.code(), fmt::format("{}: {}", path.string(), error.what()));
  }
}

StoredTensor stored(std::string name, DType dtype, Shape shape, const std::vector<float>& values) {
  StoredTensor tensor{std::move(name),
                      dtype == DType::fp32   ? "F32"
                      : dtype == DType::fp16 ? "F16"
                                             : "BF16",
                      std::move(shape),
                      {}};
  const std::size_t bytes = size_of(dtype);
  tensor.data.resize(values.size() * bytes);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint32_t bits = to_bits(dtype, values[i]);
    for (std::size_t b = 0; b < bytes; ++b)
      tensor.data[i * bytes + b] = static_cast<std::byte>(bits >> (8 * b));
  }
  return tensor;
}

// Why a checkpoint under PyTorch's names has no place for a model; empty if it has.
std::string checkpoint_refusal(const SourcedModel& sourced) {
  const Direction& first = sourced.model.layers.front().directions.front();
  for (const Layer& layer : sourced.model.layers) {
    for (const Direction& direction : layer.directions) {
      const std::string what = !direction.cell.is_standard()     ? to_string(direction.cell)
                               : !direction.peephole.empty()     ? "peepholes"
                               : !(direction.cell == first.cell) ? "directions or layers of different cells"
                               : direction.reverse && layer.directions.size() == 1
                                   ? "a layer that runs in reverse alone"
                                   : "";
      if (!what.empty())
        return fmt::format("a checkpoint under PyTorch's names has no place for {}: save as .sprnn", what);
    }
  }
  return "";
}

// Appends a model that was made from arrays.
void add_model(Checkpoint& checkpoint, const std::string& prefix, const SourcedModel& sourced) {
  const std::string refusal = checkpoint_refusal(sourced);
  if (!refusal.empty()) throw Error(ErrorCode::unsupported, refusal);
  const Model& model = sourced.model;
  for (std::int64_t l = 0; l < model.num_layers(); ++l) {
    for (const Direction& direction : model.layers[static_cast<std::size_t>(l)].directions) {
      const auto add = [&](const char* name, Shape shape, const std::vector<float>& values) {
        if (values.empty()) return;
        checkpoint.tensors.push_back(stored(prefix + name + parameter_suffix(l, direction.reverse),
                                            model.dtype, std::move(shape), values));
      };
      add("weight_ih", {direction.w_ih.rows, direction.w_ih.cols}, direction.w_ih.values);
      add("weight_hh", {direction.w_hh.rows, direction.w_hh.cols}, direction.w_hh.values);
      add("bias_ih", {std::ssize(direction.b_ih)}, direction.b_ih);
      add("bias_hh", {std::ssize(direction.b_hh)}, direction.b_hh);
      add("weight_hr", {direction.w_hr.rows, direction.w_hr.cols}, direction.w_hr.values);
    }
  }
}

// Several models by their prefixes in one file.
void save_modules(const std::filesystem::path& path, const nb::dict& modules,
                  std::map<std::string, std::string> metadata) {
  Checkpoint checkpoint;
  checkpoint.metadata = std::move(metadata);
  for (const auto& [prefix, model] : modules)
    add_model(checkpoint, nb::cast<std::string>(prefix), nb::cast<const SourcedModel&>(model));
  save_checkpoint(checkpoint, path);
}

void save(const SourcedModel& sourced, const std::filesystem::path& path) {
  if (!sourced.checkpoint) {
    Checkpoint alone;
    add_model(alone, "", sourced);
    save_checkpoint(alone, path);
    return;
  }
  Checkpoint checkpoint = *sourced.checkpoint;
  write_model(checkpoint, sourced.prefix, sourced.model);
  save_checkpoint(checkpoint, path);
}

// ---- Pruning

using ReportData =
    std::tuple<std::string, std::int64_t, std::int64_t, double, double, std::int64_t, std::int64_t, double>;

std::pair<SourcedModel, std::vector<ReportData>> pruned(const SourcedModel& sourced,
                                                        const std::string& pattern,
                                                        const std::vector<double>& density,
                                                        const std::vector<double>& input_density) {
  PruneOptions options;
  options.pattern = parse_pattern(pattern);
  if (density.size() == 1) {
    options.density = density.front();
  } else {
    options.layer_density = density;
  }
  if (input_density.size() == 1) {
    options.input_density = input_density.front();
  } else {
    options.layer_input_density = input_density;
  }
  SourcedModel result = sourced;
  std::vector<ReportData> reports;
  for (MatrixReport& r : prune(result.model, options)) {
    reports.emplace_back(std::move(r.name), r.rows, r.cols, r.wanted, r.reached, r.min_row, r.max_row,
                         r.norm_lost);
  }
  return {std::move(result), std::move(reports)};
}

nb::object mask_of(nb::handle matrix, double density, const std::string& pattern, int gates) {
  const Array array = import_array(matrix, "matrix");
  if (array.ndim() != 2) {
    throw Error(ErrorCode::invalid_argument,
                fmt::format("matrix has shape {}: expected two axes", to_text(shape_of(array))));
  }
  const std::size_t rows = array.shape(0), cols = array.shape(1);
  const Matrix values{static_cast<std::int64_t>(rows), static_cast<std::int64_t>(cols),
                      read_floats(array, "matrix")};
  auto kept =
      std::make_unique<std::vector<std::uint8_t>>(prune_mask(values, gates, parse_pattern(pattern), density));
  auto* const data = reinterpret_cast<bool*>(kept->data());
  const nb::capsule owner(kept.release(),
                          [](void* p) noexcept { delete static_cast<std::vector<std::uint8_t>*>(p); });
  return nb::cast(nb::ndarray<nb::numpy, bool>(data, {rows, cols}, owner));
}

}  // namespace

void bind_model(nb::module_& module) {
  nb::class_<SourcedModel>(module, "Model")
      .def_static("load", &load, "path"_a, "prefix"_a.none(), "cell"_a.none(), "dtype"_a.none(),
                  nb::call_guard<nb::gil_scoped_release>())
      .def_static("from_arrays", &from_arrays, "dtype"_a, "directions"_a, "source"_a.none() = nb::none())
      .def_prop_ro("dtype", [](const SourcedModel& m) { return std::string(to_string(m.model.dtype)); })
      .def_prop_ro("input_size", [](const SourcedModel& m) { return m.model.input_size; })
      .def_prop_ro("hidden_size", [](const SourcedModel& m) { return m.model.hidden_size; })
      .def_prop_ro("projection_size", [](const SourcedModel& m) { return m.model.projection_size; })
      .def_prop_ro("num_layers", [](const SourcedModel& m) { return m.model.num_layers(); })
      .def_prop_ro("num_directions", [](const SourcedModel& m) { return m.model.num_directions(); })
      .def_prop_ro("prefix", [](const SourcedModel& m) { return m.prefix; })
      .def_prop_ro("source", &source_of)
      .def_prop_ro("cells",
                   [](const SourcedModel& m) {
                     std::vector<CellData> cells;
                     for (const Layer& layer : m.model.layers)
                       for (const Direction& direction : layer.directions)
                         cells.push_back(data_of(direction.cell));
                     return cells;
                   })
      .def("arrays", [](nb::handle self) { return arrays(nb::cast<const SourcedModel&>(self), self); })
      .def(
          "convert",
          [](const SourcedModel& m, const std::string& dtype) {
            return SourcedModel{convert(m.model, parse_dtype(dtype)), m.checkpoint, m.prefix};
          },
          "dtype"_a)
      .def("prune", &pruned, "pattern"_a, "density"_a, "input_density"_a,
           nb::call_guard<nb::gil_scoped_release>())
      .def("save", &save, "path"_a, nb::call_guard<nb::gil_scoped_release>());
  module.def(
      "parse_cell", [](const std::string& name) { return data_of(parse_cell(name)); }, "name"_a);
  module.def(
      "cell_text", [](const CellData& data) { return to_string(cell_of(data)); }, "cell"_a);
  module.def("checkpoint_refusal", &checkpoint_refusal, "model"_a);
  module.def("save_modules", &save_modules, "path"_a, "modules"_a, "metadata"_a);
  module.def("prune_mask", &mask_of, "matrix"_a.none(), "density"_a, "pattern"_a, "gates"_a);
}

}  // namespace sprnn::python
