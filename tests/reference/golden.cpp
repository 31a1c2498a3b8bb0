#include "reference/golden.hpp"

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "sprnn/checkpoint.hpp"

namespace sprnn::test {
namespace {

using Json = nlohmann::json;

// The tensors of one case.
class Tensors {
 public:
  Tensors(const Checkpoint& file, std::string name) : file_(file), name_(std::move(name)) {}

  [[nodiscard]] const StoredTensor* find(const std::string& key) const {
    return file_.find(name_ + "/" + key);
  }

  [[nodiscard]] std::vector<std::int64_t> shape(const std::string& key) const {
    const StoredTensor* tensor = find(key);
    if (tensor == nullptr) throw std::runtime_error(name_ + " has no " + key);
    return tensor->shape;
  }

  // Empty if there is no such tensor.
  template <class T>
  [[nodiscard]] std::vector<T> values(const std::string& key) const {
    const StoredTensor* tensor = find(key);
    if (tensor == nullptr) return {};
    if (tensor->dtype == "F32") return converted<float, T>(*tensor);
    if (tensor->dtype == "F64") return converted<double, T>(*tensor);
    if (tensor->dtype == "I64") return converted<std::int64_t, T>(*tensor);
    throw std::runtime_error(name_ + ": " + key + " is " + tensor->dtype);
  }

  [[nodiscard]] Matrix matrix(const std::string& key) const {
    if (find(key) == nullptr) return {};
    return {shape(key).at(0), shape(key).at(1), values<float>(key)};
  }

 private:
  template <class From, class To>
  static std::vector<To> converted(const StoredTensor& tensor) {
    std::vector<From> stored(tensor.data.size() / sizeof(From));
    std::memcpy(stored.data(), tensor.data.data(), tensor.data.size());
    std::vector<To> values;
    for (From value : stored) values.push_back(static_cast<To>(value));
    return values;
  }

  const Checkpoint& file_;
  std::string name_;
};

// Written out here, so that the goldens also stand for the names that ONNX gives them.
ActivationKind activation_kind(const std::string& name) {
  using enum ActivationKind;
  const std::vector<std::pair<std::string, ActivationKind>> kinds = {{"Sigmoid", sigmoid},
                                                                     {"Tanh", tanh},
                                                                     {"Relu", relu},
                                                                     {"Affine", affine},
                                                                     {"LeakyRelu", leaky_relu},
                                                                     {"ThresholdedRelu", thresholded_relu},
                                                                     {"ScaledTanh", scaled_tanh},
                                                                     {"HardSigmoid", hard_sigmoid},
                                                                     {"Elu", elu},
                                                                     {"Softsign", softsign},
                                                                     {"Softplus", softplus}};
  for (const auto& [kind_name, kind] : kinds) {
    if (kind_name == name) return kind;
  }
  throw std::runtime_error("unknown activation " + name);
}

Cell read_cell(const Json& info, const Json& direction) {
  Cell cell;
  const std::string kind = info.at("kind");
  cell.kind = kind == "lstm" ? CellKind::lstm : kind == "gru" ? CellKind::gru : CellKind::rnn;
  std::size_t i = 0;
  for (const Json& activation : direction.at("activations")) {
    cell.activations.at(i++) = {activation_kind(activation.at(0)), activation.at(1), activation.at(2)};
  }
  cell.reset_before_product = info.value("reset_before_product", false);
  cell.input_forget = info.value("input_forget", false);
  if (info.contains("clip")) cell.clip = info.at("clip").get<float>();
  return cell;
}

Direction read_direction(const Tensors& tensors, const std::string& suffix, const Cell& cell) {
  return {.cell = cell,
          .reverse = suffix.ends_with("_reverse"),
          .w_ih = tensors.matrix("weight_ih" + suffix),
          .w_hh = tensors.matrix("weight_hh" + suffix),
          .b_ih = tensors.values<float>("bias_ih" + suffix),
          .b_hh = tensors.values<float>("bias_hh" + suffix),
          .w_hr = tensors.matrix("weight_hr" + suffix),
          .peephole = tensors.values<float>("peephole" + suffix)};
}

Model read_golden_model(const Tensors& tensors, const Json& info) {
  Model model;
  for (int l = 0; l < info.at("layers").get<int>(); ++l) {
    Layer layer;
    for (const std::string& suffix : {"_l" + std::to_string(l), "_l" + std::to_string(l) + "_reverse"}) {
      if (tensors.find("weight_ih" + suffix) == nullptr) continue;
      const Json& direction = info.at("directions").at(layer.directions.size());
      layer.directions.push_back(read_direction(tensors, suffix, read_cell(info, direction)));
    }
    model.layers.push_back(std::move(layer));
  }
  const Direction& first = model.layers.at(0).directions.at(0);
  model.input_size = first.w_ih.cols;
  model.hidden_size = first.w_hh.rows / first.cell.gates();
  model.projection_size = first.w_hr.rows;
  return model;
}

}  // namespace

std::vector<GoldenCase> load_golden(const std::string& file) {
  const std::filesystem::path folder = SPRNN_GOLDEN;
  const Checkpoint checkpoint = load_checkpoint(folder / (file + ".safetensors"));
  std::vector<GoldenCase> cases;
  for (const auto& [name, text] : checkpoint.metadata) {
    const Json info = Json::parse(text);
    const Tensors tensors(checkpoint, name);
    GoldenCase golden;
    golden.name = name;
    golden.source = info.at("source");
    golden.is_double = info.at("dtype") == "float64";
    golden.model = read_golden_model(tensors, info);
    golden.batch_first = info.value("batch_first", false);
    golden.steps = tensors.shape("x").at(golden.batch_first ? 1 : 0);
    golden.batch = tensors.shape("x").at(golden.batch_first ? 0 : 1);
    golden.x = tensors.values<float>("x");
    golden.lengths = tensors.values<std::int64_t>("lengths");
    golden.initial = {tensors.values<double>("h0"), tensors.values<double>("c0")};
    golden.y = tensors.values<double>("y");
    golden.h = tensors.values<double>("h");
    golden.c = tensors.values<double>("c");
    cases.push_back(std::move(golden));
  }
  return cases;
}

}  // namespace sprnn::test
