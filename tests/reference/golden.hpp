// The frozen outputs of other implementations (golden/make.py).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engines/reference/reference.hpp"
#include "sprnn/model.hpp"

namespace sprnn::test {

struct GoldenCase {
  std::string name;
  std::string source;      // "onnxruntime 1.20.1"
  bool is_double = false;  // the source computed in float64; else in float32
  Model model;
  std::int64_t steps = 0, batch = 0;
  bool batch_first = false;  // x and y are [B, T, ...]
  std::vector<float> x;
  std::vector<std::int64_t> lengths;  // empty: all steps
  reference::State initial;           // empty: zeros
  std::vector<double> y, h, c;        // h and c are empty where the source does not give them
};

// "pytorch" or "onnx".
[[nodiscard]] std::vector<GoldenCase> load_golden(const std::string& file);

}  // namespace sprnn::test
