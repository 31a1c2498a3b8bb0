#include "support/checkpoint_of.hpp"

#include <cstring>
#include <utility>

namespace sprnn::test {

namespace {

StoredTensor tensor(std::string name, DType dtype, std::vector<std::int64_t> shape,
                    const std::vector<float>& values) {
  const char* const stored = dtype == DType::fp32 ? "F32" : dtype == DType::fp16 ? "F16" : "BF16";
  const std::size_t size = size_of(dtype);
  std::vector<std::byte> data(values.size() * size);
  for (std::size_t i = 0; i < values.size(); ++i) {
    const std::uint32_t bits = to_bits(dtype, values[i]);  // low half first, as the file wants it
    std::memcpy(data.data() + i * size, &bits, size);
  }
  return {std::move(name), stored, std::move(shape), std::move(data)};
}

}  // namespace

void append(Checkpoint& checkpoint, const std::string& prefix, const Model& model) {
  for (std::int64_t l = 0; l < model.num_layers(); ++l) {
    for (const Direction& d : model.layers[static_cast<std::size_t>(l)].directions) {
      const auto add = [&](const std::string& name, std::vector<std::int64_t> shape,
                           const std::vector<float>& values) {
        if (values.empty()) return;
        const std::string full = prefix + name + parameter_suffix(l, d.reverse);
        checkpoint.tensors.push_back(tensor(full, model.dtype, std::move(shape), values));
      };
      add("weight_ih", {d.w_ih.rows, d.w_ih.cols}, d.w_ih.values);
      add("weight_hh", {d.w_hh.rows, d.w_hh.cols}, d.w_hh.values);
      add("bias_ih", {std::ssize(d.b_ih)}, d.b_ih);
      add("bias_hh", {std::ssize(d.b_hh)}, d.b_hh);
      add("weight_hr", {d.w_hr.rows, d.w_hr.cols}, d.w_hr.values);
    }
  }
}

Checkpoint checkpoint_of(const Model& model, const std::string& prefix) {
  Checkpoint checkpoint;
  append(checkpoint, prefix, model);
  return checkpoint;
}

}  // namespace sprnn::test
