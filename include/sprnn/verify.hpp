// Running an engine against the float64 reference on random input, by the project's own tolerance.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "sprnn/engine.hpp"

namespace sprnn {

struct VerifyOptions {
  std::string engine = "auto";
  int batch = 1;
  std::int64_t steps = 256;
  std::uint64_t seed = 0;
  int threads = 0;
  std::string isa{};
  double deadline_seconds = 0.0;  // this and the next as in SessionOptions
  std::filesystem::path code_dir{};
};

struct VerifyResult {
  std::string engine;  // that ran
  // ||out - ref|| / ||ref|| and its bound, of that of y, the final h and the final c which is nearest to its
  // bound.
  double rel_error = 0.0;
  double bound = 0.0;
  // Where the model's values leave its dtype's range, in that naive loop: then no engine can pass.
  std::optional<std::int64_t> overflow_step;
  bool passed = false;  // rel_error <= bound (so of the others too), and every output was written
};

// The larger of a fixed figure (fp32 1e-5, fp16 2e-3, bf16 1.5e-2) and twice the error of a naive loop in
// the model's own precision on the same data: chaotic weights amplify any rounding. `packed` is not null.
// Throws Error(invalid_argument) for steps below 1, and as find_engine, Engine::session and Session::run do;
// a result that is not within the bound is no error.
[[nodiscard]] VerifyResult verify(std::shared_ptr<const Packed> packed, const VerifyOptions& options);

}  // namespace sprnn
